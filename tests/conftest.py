"""What every test gets: trap pictures, real ones and made ones, a time limit, and a look for what was left behind."""

import os
import shutil
import signal
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sticky_pi_uploader.demo import pictures

PATIENCE = 5.0
"""Seconds that a thread or child process gets to finish after its test has."""

LONGEST = int(os.environ.get("STICKY_PI_LONGEST_TEST") or 600)
"""Seconds after which a test has failed, as what it waits for never comes; attacks have limits of their own"""

ROOM = 1_000_000_000
"""Bytes that all tests together may need at a time for their files, with some to spare"""

_HAS_FAILED = pytest.StashKey[bool]()


def pytest_configure(config):
    """Begin nothing that ends in the middle on a full disk: /tmp may lie in memory."""
    folder = config.option.basetemp or tempfile.gettempdir()
    folder = folder if os.path.isdir(folder) else os.path.dirname(os.path.abspath(folder))
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise pytest.UsageError(
            f"{folder} has {free // 1_000_000} MB free, and the tests need {ROOM // 1_000_000} MB for their files:"
            " make room there, or name a folder that has it in the environment variable TMPDIR"
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Keep in mind which tests have failed."""
    report = (yield).get_result()
    item.stash[_HAS_FAILED] = item.stash.get(_HAS_FAILED, default=False) or report.failed


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
def files_only_of_failures(request):
    """Remove the folder of a test that is over, unless it has failed: together they would fill a small disk."""
    yield
    folder = request.node.funcargs.get("tmp_path")
    if folder is not None and not request.node.stash[_HAS_FAILED]:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_hangs(request):
    """Fail a test that waits for what never comes."""

    def give_up(*_):
        pytest.fail(f"it isn't over after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, give_up)
    longest = max(LONGEST, getattr(request.module, "LONGEST", 0))
    signal.alarm(0 if "attacks" in request.path.parts else longest)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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
