"""File systems that are mounted for the time of a test."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(place, *how):
    """Mount at a folder for a while, as `mount`'s arguments say; skip the test where nothing can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *how, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here, as it needs root and a kernel that allows it: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def tmpfs(place, options="defaults"):
    """Mount an empty file system in memory."""
    return mounted(place, "-t", "tmpfs", "-o", options, "tmpfs")


def bound(source, place):
    """Mount a folder at another place, too."""
    return mounted(place, "--bind", source)


def remount(place, options):
    """Change the options of what is mounted there."""
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
