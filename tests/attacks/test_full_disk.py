"""Fills the card to the last byte at every stage of a picture's life; once there is space again, all goes on.

A test run takes a few fillings. The long run takes one for every 4 KiB, as far as they make a difference:

    STICKY_PI_FULL_DISK=1 tests/run -k full_disk
"""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
from filled_disk import FilledDisk
from power_cuts import reason_to_skip
from program import Program, eventually

LONG = bool(os.environ.get("STICKY_PI_FULL_DISK"))
FILLINGS = list(range(0, 640 * 1024, 4096)) if LONG else [0, 4096, 40_960, 98_304, 300_000]
"""Bytes that are left; at the most all goes well"""
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
        self.config, self.log = folder / "config.toml", folder / "log"
        flags = ("--config", self.config, "--image-dir", self.images, "--api-url", self.store.as_uri())
        self._program = Program(*flags)
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

    def run(self, *arguments):
        """Run a command; whatever is full, it says what is wrong in words."""
        done = self._program.run(*arguments)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def service(self):
        return self._program.service(self.log)

    def said(self):
        return self.log.read_text()

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
    with trap.service():
        eventually(lambda: len(trap.stored()) == 2)
        trap.take(30)
        trap.disk.fill()
        eventually(lambda: "no space left" in trap.said().lower())
        assert trap.run("status").returncode == 0
        trap.disk.empty()
        eventually(lambda: trap.stored() == trap.pictures)
    assert "Traceback" not in trap.said()
    trap.assert_nothing_lost()


@pytest.mark.parametrize("state", ["new", "closed", "killed"])
def test_a_service_that_is_started_on_a_full_disk_waits_for_space(trap, state):
    names = trap.take(3)
    if state != "new":
        with trap.service() as service:
            eventually(lambda: len(trap.stored()) == 3)
            service.send_signal(signal.SIGTERM if state == "closed" else signal.SIGKILL)
            service.wait()
        # Without the reserve, as where the disk was filled before there was one.
        reserve = trap.images / ".sticky-pi-uploader" / "reserve"
        eventually(lambda: reserve.exists() or state == "killed")
        reserve.unlink(missing_ok=True)
        (trap.images / ".sticky-pi-uploader" / "outbox.db-shm").unlink(missing_ok=True)
    trap.disk.fill()
    with trap.service() as service:
        eventually(lambda: "no space left" in trap.said().lower())
        assert service.poll() is None
        done = trap.run("status", "--json")
        assert done.returncode == 0
        trap.disk.empty()
        eventually(lambda: trap.said().count("watching ") == 1 + (state != "new"))
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
