"""What every test gets: trap pictures, real ones and made ones, and a look for what was left running."""

import os
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sticky_pi_uploader import pictures

PATIENCE = 5.0
"""Seconds that a thread or child process gets to finish after its test has."""


@pytest.fixture(scope="session")
def samples():
    """The folder of the real trap pictures."""
    beside = Path(__file__).parents[2] / "shared" / "samples"
    folder = Path(os.environ.get("STICKY_PI_SAMPLES") or beside)
    if not any(folder.glob("*.jpg")):
        pytest.skip(f"no real trap pictures in {folder}; STICKY_PI_SAMPLES may name another folder")
    return folder


@pytest.fixture
def make_trap_picture(tmp_path):
    """Make a picture in tmp_path: each call's is another one, 20 minutes later, unless the arguments say otherwise."""
    taken = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names

    def make(folder=tmp_path, device="1b74105a", when=None, *, size=(160, 120), **more):
        nonlocal taken
        if when is None:
            when, taken = taken, taken + timedelta(minutes=20)
        return Path(pictures.make_picture(folder, device, when, size=size, **more))

    return make


@pytest.fixture(autouse=True)
def nothing_left_running():
    """Fail a test whose threads or child processes outlive it."""
    before = _running()
    yield
    deadline = time.monotonic() + PATIENCE
    while (left := _running() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"left running: {', '.join(sorted(name for _, name in left))}"


def _running():
    """Return the live threads and the child processes, zombies too: each was somebody's to wait for."""
    threads = {(thread, f"thread {thread.name}") for thread in threading.enumerate()}
    children = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text(encoding="ascii").split()
        except OSError:  # the thread has just ended, or the kernel doesn't list children
            continue
        children |= {(pid, f"process {pid}") for pid in pids}
    return threads | children
