"""Which folders a scan reads again, told by what it finds: bytes written into a file in place show in no folder."""

import contextlib
import errno
import os
import subprocess
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from sticky_pi_uploader.intake.folder_cache import REREAD_INTERVAL, REREADS_PER_SCAN, TIMESTAMP_RESOLUTION
from sticky_pi_uploader.intake.intake import Intake
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import NOT_SEEN, Outbox
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.state_dir.mounts import keeps_times
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder

DAY = "5c173ff2/2020-06-20"
TAKEN = datetime(2020, 6, 20, 21, 33)  # noqa: DTZ001 - naive datetimes are UTC
SECOND = timedelta(seconds=1)


BELIEVED = {"bcachefs", "btrfs", "ext2/ext3", "f2fs", "overlayfs", "tmpfs", "xfs"}
"""File systems that keep a folder's times, as coreutils calls them"""


def _file_system(folder):
    asked = ["stat", "--file-system", "--format=%T", folder]
    return subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Trap:
    """An image dir with the real parts around an intake, and clocks that can be moved on."""

    def __init__(self, folder, make_trap_picture):
        self.images, self.state = folder / "images", folder / "state"
        self.images.mkdir()
        self.state.mkdir()
        if (kind := _file_system(folder)) not in BELIEVED:
            pytest.skip(f"folders' times aren't believed on {kind}: let TMPDIR name a folder on another file system")
        self._make = make_trap_picture
        self.wall = self.uptime = 0.0
        self.start()

    def start(self, *ignored):
        self.outbox = Outbox(os.fspath(self.state / "outbox.db"), longest_wait=3600.0)
        self.scan_requests = ScanRequests()
        scanner = Scanner(os.fspath(self.images), [os.fspath(each) for each in ignored])
        self.intake = Intake(
            scanner,
            PictureReader(scanner.image_dir, ThumbnailFolder(os.fspath(self.state / "thumbnails")), time.time),
            self.outbox.catalog,
            self.outbox.folders,
            self.scan_requests,
            recorded=lambda: None,
            stopping=lambda: False,
            clock=lambda: time.time() + self.wall,
            monotonic=lambda: time.monotonic() + self.uptime,
        )

    def stop(self):
        self.outbox.close()

    def restart(self, *ignored):
        self.stop()
        self.start(*ignored)

    def wait(self, seconds):
        self.wall += seconds
        self.uptime += seconds

    def put(self, folder=DAY, number=0):
        return os.path.relpath(self._make(self.images / folder, "5c173ff2", TAKEN + number * SECOND), self.images)

    def scan(self):
        self.scan_requests.everything()
        while self.intake.step() is not None:
            self.uptime += 1
            self.wall += 1

    def settle(self):
        """Have everything known, and its folders' times old enough to be believed."""
        self.wait(60)
        self.scan()

    def spoil(self, path):
        """Write into a file in place: no folder changes."""
        with open(self.images / path, "r+b") as file:
            file.write(b"spoiled")

    def is_noticed(self, path):
        self.scan()
        return self.outbox.at(path).state is State.REJECTED


@pytest.fixture
def trap(tmp_path, make_trap_picture):
    trap = Trap(tmp_path, make_trap_picture)
    yield trap
    trap.stop()


class FailingDisk:
    """What the system says of names on a disk that fails for some of them; root can read all that is only forbidden."""

    def __init__(self, trap, monkeypatch):
        self._images, self._failing, self._scandir = os.fspath(trap.images), set(), os.scandir
        monkeypatch.setattr(os, "scandir", self.scandir)

    def fail(self, *paths):
        """Have just these folders and files give errors."""
        self._failing = {os.path.join(self._images, path) for path in paths}

    @contextlib.contextmanager
    def scandir(self, folder):
        self._check(folder)
        with self._scandir(folder) as entries:
            yield [
                SimpleNamespace(
                    name=each.name, is_dir=each.is_dir, stat=lambda each=each, **more: self._stat(each, more)
                )
                for each in entries
            ]

    def _stat(self, entry, more):
        self._check(entry.path)
        return entry.stat(**more)

    def _check(self, path):
        if path in self._failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)


@pytest.fixture
def disk(trap, monkeypatch):
    return FailingDisk(trap, monkeypatch)


def test_a_folder_that_looks_as_it_did_is_not_read_again_not_even_after_a_restart(trap):
    path = trap.put()
    trap.settle()
    trap.spoil(path)
    assert not trap.is_noticed(path)
    trap.restart()
    assert not trap.is_noticed(path)


def test_one_that_went_while_it_was_being_sent_is_lost_in_the_end(trap):
    path = trap.put()
    trap.settle()
    (picture,) = trap.outbox.queue.claim(1)
    (trap.images / path).unlink()
    trap.settle()
    assert trap.outbox.at(path).state is State.UPLOADING
    trap.outbox.queue.clash(picture, "the destination holds another picture with this device and time")
    trap.scan()
    assert trap.outbox.at(path).state is State.LOST


def test_it_is_read_again_once_a_day_so_that_files_written_in_place_are_found(trap):
    path = trap.put()
    trap.settle()
    trap.spoil(path)
    trap.wait(REREAD_INTERVAL - 60)
    assert not trap.is_noticed(path)
    trap.wait(61)
    assert trap.is_noticed(path)


@pytest.mark.parametrize("lacking", ["all of it", "the end"])
def test_a_rejected_file_that_is_filled_or_completed_in_place_is_found_and_nothing_else_is_read_for_it(trap, lacking):
    beside, path = trap.put(), trap.put(number=1)
    file = trap.images / path
    whole, status = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(whole)) if lacking == "all of it" else whole[:900])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    for _ in range(2):
        trap.settle()
    assert trap.outbox.at(path).state is State.REJECTED
    trap.restart()
    trap.spoil(beside)
    with file.open("r+b") as stream:
        stream.write(whole)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    trap.scan()
    assert (trap.outbox.at(path).state, trap.outbox.at(beside).state) == (State.PENDING, State.PENDING)


def test_of_many_folders_a_few_are_checked_in_each_scan_until_all_are(trap):
    paths = [trap.put(f"5c173ff2/{number:02}", number) for number in range(2 * REREADS_PER_SCAN)]
    trap.settle()
    for path in paths:
        trap.spoil(path)
    trap.wait(REREAD_INTERVAL + 1)
    noticed = []
    for _ in range(4):
        trap.scan()
        noticed.append(sum(trap.outbox.at(path).state is State.REJECTED for path in paths))
    assert noticed == sorted(noticed)
    assert 0 < noticed[0] <= REREADS_PER_SCAN
    assert noticed[-1] == len(paths)


def test_times_that_are_not_two_seconds_old_yet_are_not_believed(trap):
    path = trap.put()
    trap.wait(-60)
    trap.scan()  # as if the folder had changed just now
    trap.spoil(path)
    assert trap.is_noticed(path)


@pytest.mark.parametrize("by", [-3600, 86400, 2 * TIMESTAMP_RESOLUTION])
def test_no_times_are_believed_any_more_once_the_clock_was_set(trap, by):
    path = trap.put()
    trap.settle()
    trap.spoil(path)
    trap.wall += by
    assert trap.is_noticed(path)


def test_no_times_from_the_future_are_believed_after_a_restart(trap):
    path = trap.put()
    trap.settle()
    trap.spoil(path)
    trap.wall -= 600
    trap.restart()
    assert trap.is_noticed(path)


def test_a_folder_that_could_not_be_read_once_is_read_again_and_then_no_more(trap, disk):
    known, failing = trap.put(), trap.put("5c173ff2/2020-06-21", 1)
    disk.fail(os.path.dirname(failing))
    trap.settle()
    assert trap.outbox.at(known)
    assert trap.outbox.at(failing) is None
    assert trap.intake.missed
    disk.fail()
    trap.settle()
    assert trap.outbox.at(failing)
    assert not trap.intake.missed
    for path in (known, failing):
        trap.spoil(path)
    trap.scan()
    assert [trap.outbox.at(path).state for path in (known, failing)] == [State.PENDING, State.PENDING]


def test_a_folder_that_can_never_be_read_has_no_other_read_again(trap, disk):
    """A folder of root's only, say."""
    known, failing = trap.put(), trap.put("5c173ff2/2020-06-19", 1)
    disk.fail(os.path.dirname(failing))
    for _ in range(2):
        trap.settle()
    trap.spoil(known)
    trap.scan()
    assert trap.outbox.at(known).state is State.PENDING
    assert trap.intake.missed


def test_a_file_that_cant_be_looked_at_has_its_folder_read_again_and_no_other(trap, disk):
    known, failing, beside = trap.put(), trap.put("5c173ff2/2020-06-21", 1), trap.put("5c173ff2/2020-06-21", 2)
    disk.fail(failing)
    trap.settle()
    for path in (known, beside):
        trap.spoil(path)
    trap.scan()
    assert [trap.outbox.at(path).state for path in (known, beside)] == [State.PENDING, State.REJECTED]


def test_what_comes_and_goes_in_a_known_folder_is_found(trap):
    gone, path = trap.put(number=1), trap.put(number=2)
    trap.settle()
    (trap.images / gone).unlink()
    new = trap.put(number=3)
    deeper = trap.put(f"{DAY}/deeper/still", 4)
    trap.scan()
    states = {each: trap.outbox.at(each).state for each in (gone, path, new, deeper)}
    assert states == {gone: State.LOST, path: State.PENDING, new: State.PENDING, deeper: State.PENDING}


def test_pictures_of_a_folder_that_is_renamed_or_removed_are_followed_and_missed(trap):
    path, other = trap.put(number=1), trap.put("5c173ff2/2020-06-21", 2)
    trap.settle()
    os.rename(trap.images / DAY, trap.images / "5c173ff2/moved")
    (trap.images / other).unlink()
    (trap.images / other).parent.rmdir()
    trap.scan()
    assert trap.outbox.at(path) is None
    assert trap.outbox.at("5c173ff2/moved/" + os.path.basename(path)).state is State.PENDING
    assert trap.outbox.at(other).state is State.LOST
    trap.wait(60)
    os.rename(trap.images / "5c173ff2/moved", trap.images / DAY)
    trap.scan()
    assert trap.outbox.at(path).state is State.PENDING


def test_a_folder_with_a_picture_that_is_asked_for_again_is_read(trap):
    path = trap.put()
    trap.settle()
    trap.spoil(path)
    with trap.outbox.database.writing() as connection:
        connection.execute("UPDATE pictures SET state = 'rejected', reason = 'refused' WHERE name LIKE '%.jpg'")
    assert trap.outbox.queue.retry(trap.outbox.at(path))
    trap.scan()
    assert trap.outbox.at(path).reason != "refused"


@pytest.mark.parametrize("answer", ["unconfirm", "contradict"])
def test_a_picture_that_the_destination_lost_after_its_file_was_deleted_is_missed(trap, answer):
    path, other = trap.put(), trap.put(number=1)
    trap.settle()
    for picture in trap.outbox.queue.claim(2):
        trap.outbox.queue.confirm(picture, picture.md5, "stored")
    (trap.images / path).unlink()
    trap.settle()
    for each in (path, other):
        getattr(trap.outbox.retention, answer)(trap.outbox.at(each), "the destination lost it")
    trap.scan()
    assert (trap.outbox.at(path).state, trap.outbox.at(other).state) == (State.LOST, State.PENDING)


def test_a_folder_that_was_left_out_is_found_once_it_no_longer_is(trap):
    path = trap.put("5c173ff2/store")
    trap.put()
    trap.restart(trap.images / "5c173ff2/store")
    trap.settle()
    assert trap.outbox.at(path) is None
    trap.restart()
    trap.scan()
    assert trap.outbox.at(path).state is State.PENDING


def test_a_folder_is_known_as_soon_as_the_last_picture_in_it_is(trap):
    paths = [trap.put(number=number) for number in range(20)]
    trap.wait(60)
    trap.scan()
    trap.spoil(paths[0])
    assert not trap.is_noticed(paths[0])


def test_a_folder_with_a_picture_that_is_still_being_written_is_read_again(trap):
    whole = (trap.images / trap.put(number=1)).read_bytes()
    (trap.images / DAY / "5c173ff2.2020-06-20_21-33-02.jpg").write_bytes(whole[:-100])
    trap.wait(60)
    trap.scan_requests.everything()
    trap.intake.step()
    trap.intake.step()
    seen = trap.outbox.folders.seen()
    assert {folder for folder in seen if seen[folder] != NOT_SEEN} == {"", "5c173ff2"}


@pytest.mark.parametrize(("kind", "believed"), [("ext4", True), ("tmpfs", True), ("vfat", False), ("exfat", False)])
def test_times_are_believed_only_where_the_file_system_keeps_them(tmp_path, kind, believed):
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 8:1 / / rw - {kind} /dev/sda1 rw\n")
    assert keeps_times("/", str(mountinfo)) is believed
