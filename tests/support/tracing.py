"""A command under strace, where that can be had."""

import shutil
import subprocess

import pytest


def traced(options, command, **more):
    """Run a command under strace with these options, and return how it ended; where nobody can trace, skip the test."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here: apt-get install strace")
    if (tried := subprocess.run([strace, "-f", "true"], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"strace doesn't work here: {tried.stderr}")
    return subprocess.run(
        [strace, "-f", *options, *map(str, command)], capture_output=True, text=True, check=False, timeout=120, **more
    )
