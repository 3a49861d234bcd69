"""A command under strace, where that can be had."""

import shutil
import subprocess

import pytest


def traced(options, command, **more):
    """Run a command under strace with these options, and return how it ended; where nobody can trace, skip the test."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    done = subprocess.run(
        [strace, "-f", *options, *map(str, command)], capture_output=True, text=True, check=False, timeout=120, **more
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace doesn't work here: {done.stderr}")
    return done
