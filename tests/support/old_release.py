"""The release that the first traps had, out of this project's history, for tests of an upgrade from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMIT = "7a49a78"
PROJECT = Path(__file__).resolve().parents[2]


def unpack(folder):
    """Unpack that release's files in a folder; where the history doesn't reach back to it, skip the test."""
    archive = ["git", "-C", PROJECT, "archive", COMMIT]
    try:
        done = subprocess.run(archive, capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no git here to get the earlier release with: apt-get install git")
    if done.returncode:
        pytest.skip(f"the history here doesn't have the earlier release: {done.stderr.decode().strip()}")
    subprocess.run(["tar", "--extract", "--directory", folder], input=done.stdout, check=True, timeout=60)
    return folder


def run(source, *arguments):
    """Run a command of the program whose source is in a folder, with this Python; raises where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPI_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(source / "daemon"), *filter(None, sys.path)])
    command = [sys.executable, "-m", "sticky_pi_uploader", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
