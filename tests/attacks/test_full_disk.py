"""Fills the card to the last byte at every stage of a picture's life; once there is space again, all goes on.

A test run takes a few fillings. The long run takes one for every 4 KiB, as far as they make a difference:

    STICKY_PI_FULL_DISK=1 tests/run -k full_disk
"""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sticky_pi_uploader
from filled_disk import FilledDisk
from power_cuts import reason_to_skip

SOURCE = Path(sticky_pi_uploader.__file__).parents[1]
LONG = bool(os.environ.get("STICKY_PI_FULL_DISK"))
FILLINGS = list(range(0, 640 * 1024, 4096)) if LONG else [0, 4096, 40_960, 98_304, 300_000]
"""Bytes that are left; at the most all goes well"""
PATIENCE = 60.0
YESTERDAY = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(days=1)
FULL, LEFT = os.EX_IOERR, os.EX_TEMPFAIL


class Trap:
    """A trap whose card is a disk of its own, with a store on another one."""

    def __init__(self, folder, make_trap_picture):
        self.folder, self._make = folder, make_trap_picture
        self.disk = FilledDisk(folder)
        self.images = self.disk.mount / "pictures"
        self.images.mkdir()
        self.store = folder / "store"
        self.config = folder / "config.toml"
        self.configure()
        self.pictures = {}

    def configure(self, more=""):
        self.config.write_text(f"picture_interval = 31622400\n{more}", "ascii")

    def take(self, count):
        """Take pictures as the camera does; returns their names."""
        folder, first = self.images / "1b74105a" / "days", len(self.pictures)
        times = [YESTERDAY + timedelta(minutes=20 * number) for number in range(first, first + count)]
        made = [self._make(folder, when=when, size=(320, 240)) for when in times]
        self.pictures |= {file.name: file.read_bytes() for file in made}
        return [file.name for file in made]

    def command(self, *arguments):
        flags = ["--config", self.config, "--image-dir", self.images, "--api-url", self.store.as_uri()]
        return [sys.executable, "-m", "sticky_pi_uploader", *map(str, flags), *arguments]

    @property
    def environment(self):
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}

    def run(self, *arguments):
        """Run a command; whatever is full, it says what is wrong in words."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self):
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self.command("run"), stderr=log, env=self.environment)

    def said(self):
        return (self.folder / "log").read_text()

    def stored(self):
        return {file.name: file.read_bytes() for file in self.store.glob("raw_images/*/*.jpg")}

    def assert_nothing_lost(self):
        """Have everything sent, see that each picture is stored as it was, and that all adds up."""
        done = self.run("drain")
        assert done.returncode == 0, done.stderr
        assert self.stored() == self.pictures
        done = self.run("audit", "--verify", "--deep")
        assert done.returncode == 0, done.stdout


@pytest.fixture
def trap(tmp_path, make_trap_picture):
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    trap = Trap(tmp_path, make_trap_picture)
    yield trap
    trap.disk.close()


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@pytest.mark.parametrize("left", FILLINGS)
def test_a_round_on_a_full_disk_loses_nothing_and_the_next_one_goes_on(trap, left):
    """Both with nothing recorded yet, and with a record."""
    for _ in range(2):
        trap.take(6)
        trap.disk.fill(left=left)
        done = trap.run("drain")
        assert done.returncode in (0, FULL, LEFT)
        assert done.returncode == 0 or "no space left" in done.stderr.lower(), done.stderr
        assert trap.run("status").returncode == 0
        assert trap.run("list").returncode == 0
        trap.disk.empty()
        trap.assert_nothing_lost()


def test_a_service_that_meets_a_full_disk_waits_and_goes_on_by_itself(trap):
    trap.take(2)
    service = trap.start()
    try:
        eventually(lambda: len(trap.stored()) == 2)
        trap.take(30)
        trap.disk.fill()
        eventually(lambda: "no space left" in trap.said().lower())
        assert trap.run("status").returncode == 0
        trap.disk.empty()
        eventually(lambda: trap.stored() == trap.pictures)
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE) == 0
    finally:
        service.kill()
        service.wait()
    assert "Traceback" not in trap.said()
    trap.assert_nothing_lost()


@pytest.mark.parametrize("state", ["new", "closed", "killed"])
def test_a_service_that_is_started_on_a_full_disk_waits_for_space(trap, state):
    names = trap.take(3)
    if state != "new":
        service = trap.start()
        eventually(lambda: len(trap.stored()) == 3)
        service.send_signal(signal.SIGTERM if state == "closed" else signal.SIGKILL)
        service.wait(PATIENCE)
        # Without the reserve, as where the disk was filled before there was one.
        reserve = trap.images / ".sticky-pi-uploader" / "reserve"
        eventually(lambda: reserve.exists() or state == "killed")
        reserve.unlink(missing_ok=True)
        (trap.images / ".sticky-pi-uploader" / "outbox.db-shm").unlink(missing_ok=True)
    trap.disk.fill()
    service = trap.start()
    try:
        eventually(lambda: "no space left" in trap.said().lower())
        assert service.poll() is None
        done = trap.run("status", "--json")
        assert done.returncode == 0
        trap.disk.empty()
        eventually(lambda: trap.said().count("watching ") == 1 + (state != "new"))
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE) == 0
    finally:
        service.kill()
        service.wait()
    assert set(names) == set(trap.pictures)
    trap.assert_nothing_lost()


def test_on_a_card_without_a_byte_left_retention_makes_room_by_itself(trap):
    trap.take(6)
    trap.assert_nothing_lost()
    trap.configure("[retention]\nkeep_days = 30\n")
    trap.disk.fill()
    done = trap.run("drain")
    assert done.returncode == 0, done.stderr
    assert list(trap.images.rglob("*.jpg")) == []
    assert trap.stored() == trap.pictures
    trap.disk.empty()
    trap.assert_nothing_lost()
