import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from mounted import tmpfs
from small_files import small_files_only
from sticky_pi_uploader.demo.pictures import picture_bytes
from sticky_pi_uploader.intake.intake import BATCH_SIZE, Intake
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from tracing import traced

FIRST = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
SMALL = (64, 48)


def name(number=0, device="1b74105a"):
    return f"{device}.{FIRST + timedelta(minutes=20 * number):%Y-%m-%d_%H-%M-%S}.jpg"


def blob(seed=0):
    return picture_bytes("1b74105a", FIRST, size=SMALL, seed=seed)


class CountingReader(PictureReader):
    """The real one, which also keeps the paths that it read, and those that it only hashed."""

    reads = hashes = ()

    def fingerprint_if_unchanged(self, candidate):
        self.hashes = (*self.hashes, candidate.path)
        return super().fingerprint_if_unchanged(candidate)

    def read(self, candidate, file_system):
        self.reads = (*self.reads, candidate.path)
        return super().read(candidate, file_system)


class Trap:
    """An image dir with the real parts around an intake, and a clock that stands still unless it is moved."""

    def __init__(self, folder):
        self.image_dir = folder / "images"
        self.image_dir.mkdir()
        (folder / "state").mkdir()
        self.now = 1000.0
        self.told = 0
        self.stopping = lambda: False
        self.scan_requests = ScanRequests()
        self.outbox = Outbox(os.fspath(folder / "state" / "outbox.db"), longest_wait=3600.0)
        self.reader = CountingReader(
            os.fspath(self.image_dir), ThumbnailFolder(os.fspath(folder / "state" / "thumbnails")), lambda: 1.8e9
        )
        self.intake = Intake(
            Scanner(os.fspath(self.image_dir)),
            self.reader,
            self.outbox.catalog,
            self.outbox.folders,
            self.scan_requests,
            recorded=self._tell,
            stopping=lambda: self.stopping(),  # noqa: PLW0108  # tests replace it later
            monotonic=lambda: self.now,
        )

    def _tell(self):
        self.told += 1

    def put(self, path, content=None):
        full = self.image_dir / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(blob() if content is None else content)
        return path

    def scan(self):
        self.scan_requests.everything()
        return self.finish()

    def finish(self):
        """Work, and let the time pass, until nothing is left to look at."""
        for _ in range(1000):
            pause = self.intake.step()
            if self.intake.idle:
                return
            self.now += pause
        raise AssertionError("the intake finds no end")

    def states(self):
        return {picture.path: str(picture.state) for picture in self.outbox.pictures()}

    def story(self, path):
        return [(str(event.state), event.why) for event in self.outbox.history(self.outbox.at(path))]

    def upload(self, *paths):
        for picture in self.outbox.queue.claim(1000):
            if picture.path in paths:
                assert self.outbox.queue.confirm(picture, picture.md5, "stored")
            else:
                assert self.outbox.queue.release(picture)


@pytest.fixture
def trap(tmp_path):
    trap = Trap(tmp_path)
    yield trap
    trap.outbox.close()


# Settling


def test_a_whole_file_is_recorded_in_one_step_with_all_that_is_known(trap):
    path = trap.put(f"1b74105a/2020-07-05/{name()}")
    trap.scan_requests.file(path)
    assert trap.intake.step() is None
    (picture,) = trap.outbox.pictures()
    assert (picture.path, picture.state, picture.datetime) == (path, State.PENDING, "2020-07-05T10:07:16Z")
    assert picture.metadata["width"] == SMALL[0]
    assert picture.fingerprint.size == len(blob())
    assert (trap.told, trap.intake.recorded) == (1, 1)
    assert trap.intake.idle


@pytest.mark.parametrize("year", [1902, 2262, 2400])
def test_a_file_is_recorded_once_whatever_year_it_is_said_to_be_of(trap, year):
    """From April 2262 on, the nanoseconds since 1970 are more than SQLite can count; ext4 goes to 2446."""
    path = trap.put(name())
    seconds = (year - 1970) * 365 * 86400 + 200 * 86400
    os.utime(trap.image_dir / path, (seconds, seconds))
    trap.scan()
    assert trap.states() == {path: "pending"}
    trap.scan()
    assert trap.reader.reads == (path,)


def test_a_file_that_is_no_picture_is_rejected_after_a_second_look_a_second_later(trap):
    path = trap.put(name(), blob()[:-500])
    trap.scan_requests.file(path)
    assert trap.intake.step() == 1.0
    assert (trap.states(), trap.intake.unsettled, trap.intake.idle) == ({}, 1, False)
    trap.now += 0.9
    assert trap.intake.step() == pytest.approx(0.1)
    assert trap.states() == {}
    trap.now += 0.1
    assert trap.intake.step() is None
    assert trap.story(path) == [("rejected", "it is cut short: the end of the picture is missing")]
    assert (trap.intake.unsettled, trap.intake.idle, len(trap.reader.reads)) == (0, True, 2)


@pytest.mark.parametrize("change", ["longer", "touched"])
def test_a_file_that_goes_on_changing_is_never_rejected_and_looked_at_less_and_less_often(trap, change):
    path = trap.put(name(), b"\xff\xd8")
    trap.scan_requests.file(path)
    pauses = []
    for _ in range(12):
        pauses.append(trap.intake.step())
        trap.now += pauses[-1]
        if change == "longer":
            with open(trap.image_dir / path, "ab") as file:
                file.write(b"more")
        else:
            os.utime(trap.image_dir / path, (trap.now, trap.now))
    assert trap.states() == {}
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 6]
    assert trap.intake.idle
    assert trap.intake.unsettled == 1


def test_a_file_that_becomes_whole_is_taken_in_when_it_is_hinted_at_or_at_the_next_look(trap):
    for hinted, path in ((True, name(0)), (False, name(1))):
        trap.put(path, blob()[:900])
        trap.scan_requests.file(path)
        trap.intake.step()
        trap.put(path)
        if hinted:
            trap.scan_requests.file(path)
        else:
            trap.now += 1
        trap.intake.step()
        assert trap.states()[path] == "pending"
        assert trap.intake.unsettled == 0


def test_a_file_that_vanishes_before_its_second_look_leaves_nothing(trap):
    path = trap.put(name(), b"")
    trap.scan_requests.file(path)
    trap.intake.step()
    os.unlink(trap.image_dir / path)
    trap.finish()
    assert (trap.states(), trap.intake.unsettled) == ({}, 0)


def test_a_file_that_was_rejected_and_is_mended_becomes_pending(trap):
    path = trap.put(name(), blob()[:900])
    trap.scan()
    trap.put(path)
    trap.scan()
    assert [state for state, _ in trap.story(path)] == ["rejected", "pending"]


# Taking turns


def test_a_hundred_second_looks_keep_neither_a_hinted_file_nor_a_scan_waiting(trap):
    for number in range(100):
        trap.put(f"bad/{name(number)}", b"\xff\xd8")
    trap.scan_requests.everything()
    while trap.intake.step() == 0:
        pass
    assert trap.intake.unsettled == 100
    trap.now += 1
    trap.scan_requests.file(trap.put(name(200)))
    trap.intake.step()
    assert trap.states()[name(200)] == "pending"
    for number in range(300, 300 + BATCH_SIZE):
        trap.put(f"good/{name(number)}")
    trap.scan_requests.everything()
    for _ in range(2):
        trap.intake.step()
    assert Counter(trap.states().values())["pending"] == 1 + BATCH_SIZE


def test_a_file_hinted_at_in_the_middle_of_a_scan_does_not_wait_for_its_end(trap):
    for number in range(3 * BATCH_SIZE):
        trap.put(name(number))
    trap.scan_requests.everything()
    assert trap.intake.step() == 0
    trap.scan_requests.file(trap.put(f"1b74105a/{name(100)}"))
    trap.intake.step()
    assert trap.states()[f"1b74105a/{name(100)}"] == "pending"
    assert len(trap.states()) == 2 * BATCH_SIZE
    trap.finish()
    assert len(trap.states()) == 3 * BATCH_SIZE + 1


def test_a_scan_takes_the_newest_first(trap):
    for number in range(3 * BATCH_SIZE):
        trap.put(name(number))
    trap.scan_requests.everything()
    trap.intake.step()
    assert set(trap.states()) == {name(number) for number in range(2 * BATCH_SIZE, 3 * BATCH_SIZE)}


def test_a_file_that_is_hinted_at_several_times_at_once_is_read_once(trap):
    path = trap.put(f"1b74105a/2020-07-05/{name()}")
    trap.scan_requests.file(path)
    trap.scan_requests.folder("1b74105a")
    trap.scan_requests.folder("1b74105a/2020-07-05")
    trap.scan_requests.everything()
    trap.finish()
    assert trap.reader.reads == (path,)


def test_a_file_taken_in_by_a_hint_is_not_read_again_by_the_scan_that_listed_it_before(trap):
    for number in range(3 * BATCH_SIZE):
        trap.put(name(number))
    trap.scan_requests.everything()
    trap.intake.step()
    trap.scan_requests.file(name(0))
    trap.finish()
    assert max(Counter(trap.reader.reads).values()) == 1


def test_a_folder_that_is_hinted_at_is_looked_at_with_all_below_it(trap):
    trap.put(f"a/2020-07-05/{name(0)}")
    trap.put(f"b/{name(1)}")
    trap.scan_requests.folder("a")
    trap.finish()
    assert list(trap.states()) == [f"a/2020-07-05/{name(0)}"]


def test_hints_at_what_is_not_there_lead_to_nothing(trap):
    trap.scan_requests.file("gone.jpg")
    trap.scan_requests.file("not-a-picture.txt")
    trap.scan_requests.folder("gone")
    trap.finish()
    assert trap.states() == {}
    assert trap.told == 0


def test_once_stopping_no_further_file_is_read_but_what_was_read_is_recorded(trap):
    for number in range(BATCH_SIZE):
        trap.put(name(number))
    trap.stopping = lambda: len(trap.reader.reads) == 3
    trap.scan_requests.everything()
    trap.intake.step()
    assert len(trap.reader.reads) == len(trap.states()) == 3


# What is known already


def test_known_unchanged_files_are_not_opened_again(trap):
    paths = [trap.put(name(number)) for number in range(5)] + [trap.put("bad.jpg", b"")]
    trap.scan()
    reads, told = trap.reader.reads, trap.told
    for path in paths:
        trap.scan_requests.file(path)
    trap.scan()
    assert (trap.reader.reads, trap.told) == (reads, told)


def test_a_file_that_was_only_touched_keeps_its_row_as_it_is(trap, caplog):
    path = trap.put(name())
    trap.scan()
    story = trap.story(path)
    trap.upload(path)
    os.utime(trap.image_dir / path, (1, 1))
    caplog.clear()
    trap.scan()
    assert trap.states() == {path: "uploaded"}
    assert trap.story(path)[:-1] == story
    assert caplog.records == []
    reads = trap.reader.reads
    trap.scan()
    assert trap.reader.reads == reads


def test_a_file_that_changed_before_it_was_sent_is_taken_in_again(trap):
    path = trap.put(name())
    trap.scan()
    trap.put(path, blob(seed=1))
    trap.scan()
    (picture,) = trap.outbox.pictures()
    assert picture.md5 != ""
    assert [why for _, why in trap.story(path)] == ["taken in", "the file changed: taken in again"]


def test_a_name_that_is_not_utf8_is_one_row_over_many_scans(trap):
    path = os.fsdecode(b"caf\xe9/1b74105\xe9.2020-07-05_10-07-16.jpg")
    trap.put(path)
    trap.scan()
    trap.scan()
    assert trap.states() == {path: "rejected"}
    os.unlink(trap.image_dir / path)
    trap.scan()
    trap.scan()
    assert [why for _, why in trap.story(path)][1:] == ["gone from the card"]


# Renamed, copied, deleted


@pytest.mark.parametrize("how", ["scan", "both are hinted at", "only the new one is"])
@pytest.mark.parametrize(("old", "new"), [("a", "b"), ("b", "a"), ("", "a/2020-07-05"), ("a/2020-07-05", "")])
def test_a_file_moved_between_folders_stays_one_row_and_is_not_called_lost(trap, how, old, new):
    before, after = os.path.join(old, name()), os.path.join(new, name())
    trap.put(before)
    trap.scan()
    (trap.image_dir / after).parent.mkdir(parents=True, exist_ok=True)
    os.rename(trap.image_dir / before, trap.image_dir / after)
    if how == "scan":
        trap.scan()
    else:
        trap.scan_requests.file(after)
        if how == "both are hinted at":
            trap.scan_requests.file(before)
        trap.finish()
    trap.scan()
    assert trap.states() == {after: "pending"}
    assert [state for state, _ in trap.story(after)] == ["pending", "pending"]
    assert trap.story(after)[1][1].startswith("renamed from")


UNSET = "1b74105a.1970-01-01_00-00-10.jpg"


@pytest.mark.parametrize(
    ("old", "new"), [(name(0), name(5)), (name(0), "1b74105a-old.jpg"), (UNSET, name(5)), (name(0), UNSET)]
)
@pytest.mark.parametrize("how", ["scan", "the old one first", "the new one first"])
def test_a_file_that_gets_another_name_stays_one_row_and_is_not_called_lost(trap, caplog, how, old, new):
    trap.put(old)
    trap.scan()
    inode = os.stat(trap.image_dir / old).st_ino
    os.rename(trap.image_dir / old, trap.image_dir / new)
    for path in {"scan": (), "the old one first": (old, new), "the new one first": (new, old)}[how]:
        trap.scan_requests.file(path)
        trap.finish()
    trap.scan()
    (picture,) = trap.outbox.pictures()
    assert (picture.path, picture.fingerprint.inode) == (new, inode)
    assert trap.states() == {new: "pending" if new == name(5) else "rejected"}
    assert any(why.startswith(f"renamed from '{old}'") for _, why in trap.story(new))
    if new == name(5) and how != "the old one first":
        assert "gone from the card" not in caplog.text


def test_a_picture_that_got_a_name_that_cannot_be_sent_is_lost_once_it_is_gone(trap):
    trap.put(name())
    trap.scan()
    os.rename(trap.image_dir / name(), trap.image_dir / "holiday.jpg")
    trap.scan()
    os.unlink(trap.image_dir / "holiday.jpg")
    trap.scan()
    trap.scan()
    assert trap.states() == {"holiday.jpg": "lost"}


def test_pictures_that_are_all_renamed_to_the_time_of_the_next_are_none_lost(trap):
    for number in range(3):
        trap.put(name(number), blob(number))
    trap.scan()
    md5s = [trap.outbox.at(name(number)).md5 for number in range(3)]
    for number in (2, 1, 0):
        os.rename(trap.image_dir / name(number), trap.image_dir / name(number + 1))
    trap.scan()
    trap.scan()
    assert trap.states() == {name(number + 1): "pending" for number in range(3)}
    assert [trap.outbox.at(name(number + 1)).md5 for number in range(3)] == md5s


def test_a_picture_that_was_sent_keeps_its_receipt_when_it_gets_another_name(trap):
    trap.put(name())
    trap.scan()
    trap.upload(name())
    sent = trap.outbox.at(name())
    os.rename(trap.image_dir / name(), trap.image_dir / name(5))
    trap.scan()
    trap.scan()
    assert trap.outbox.at(name()) == sent
    assert trap.states() == {name(): "uploaded", name(5): "pending"}


def test_a_picture_that_is_renamed_while_it_is_sent_is_not_called_lost(trap):
    trap.put(name())
    trap.scan()
    [claimed] = trap.outbox.queue.claim(1)
    os.rename(trap.image_dir / name(), trap.image_dir / name(5))
    trap.scan()
    trap.outbox.queue.release(claimed)
    trap.scan()
    assert trap.states() == {name(5): "pending"}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_file_with_the_inode_of_a_deleted_one_makes_up_for_it_only_with_the_same_bytes(trap, seed):
    trap.put(name())
    trap.scan()
    os.unlink(trap.image_dir / name())
    trap.put(name(5), blob(seed))
    # A file system may give the number of a deleted file to the next one.
    inode = os.stat(trap.image_dir / name(5)).st_ino
    trap.outbox.database.connection.execute("UPDATE pictures SET inode = ?", (inode,))
    trap.scan()
    trap.scan()
    assert trap.states() == ({name(5): "pending"} if seed == 0 else {name(): "lost", name(5): "pending"})


def test_a_copy_that_was_written_over_makes_up_for_no_picture(trap):
    for folder in ("a", "b"):
        trap.put(f"{folder}/{name()}")
        trap.scan()
    os.unlink(trap.image_dir / "a" / name())
    trap.put(f"b/{name()}", blob(1))
    trap.scan_requests.file(f"a/{name()}")
    trap.finish()
    assert trap.states()[f"a/{name()}"] == "lost"


def test_a_copy_whose_first_file_is_deleted_is_not_called_lost(trap):
    for folder in ("a", "b"):
        trap.put(f"{folder}/{name()}")
        trap.scan()
    os.unlink(trap.image_dir / "a" / name())
    trap.scan()
    assert trap.states() == {f"b/{name()}": "pending"}


def test_of_two_copies_that_are_both_deleted_one_is_lost(trap):
    for folder in ("a", "b"):
        trap.put(f"{folder}/{name()}")
        trap.scan()
    for folder in ("a", "b"):
        os.unlink(trap.image_dir / folder / name())
    trap.scan()
    assert "lost" in trap.states().values()


def test_many_pictures_in_a_renamed_folder_keep_their_rows(trap):
    for number in range(3 * BATCH_SIZE):
        trap.put(f"a/{name(number)}")
    trap.scan()
    os.rename(trap.image_dir / "a", trap.image_dir / "b")
    trap.scan()
    assert set(trap.states()) == {f"b/{name(number)}" for number in range(3 * BATCH_SIZE)}
    assert set(trap.states().values()) == {"pending"}
    assert "lost" not in [state for path in trap.states() for state, _ in trap.story(path)]


def test_a_moved_picture_that_was_uploaded_keeps_its_receipt(trap):
    trap.put(f"a/{name()}")
    trap.scan()
    trap.upload(f"a/{name()}")
    os.rename(trap.image_dir / "a", trap.image_dir / "b")
    trap.scan()
    (picture,) = trap.outbox.pictures()
    assert (picture.path, picture.state, picture.receipt_md5) == (f"b/{name()}", State.UPLOADED, picture.md5)


def test_a_copy_is_a_row_of_its_own(trap):
    for folder in ("a", "b"):
        trap.put(f"{folder}/{name()}")
        trap.scan()
    assert trap.states() == {f"a/{name()}": "pending", f"b/{name()}": "pending"}
    trap.upload(f"a/{name()}")
    trap.upload(f"b/{name()}")
    assert set(trap.states().values()) == {"uploaded"}


@pytest.mark.parametrize("how", ["scan", "request", "folder request"])
def test_a_file_deleted_before_it_was_sent_is_lost_and_said_to_be_once(trap, caplog, how):
    path = trap.put(f"a/{name()}")
    trap.scan()
    os.unlink(trap.image_dir / path)
    {
        "scan": trap.scan_requests.everything,
        "request": lambda: trap.scan_requests.file(path),
        "folder request": lambda: trap.scan_requests.folder("a"),
    }[how]()
    trap.finish()
    trap.scan()
    assert trap.states() == {path: "lost"}
    lost = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in lost] == [f"{path}: gone from the card before it was sent"]
    assert lost[0].STICKY_PI_STATE == "lost"


@pytest.mark.parametrize("level", ["1b74105a/2020-07-05", "1b74105a"])
def test_what_lay_in_a_deleted_folder_is_lost_but_what_was_sent_is_not(trap, level):
    paths = [trap.put(f"1b74105a/2020-07-05/{name(number)}") for number in range(3 * BATCH_SIZE)]
    trap.scan()
    trap.upload(paths[0])
    shutil.rmtree(trap.image_dir / level)
    trap.scan()
    assert trap.states() == dict.fromkeys(paths, "lost") | {paths[0]: "uploaded"}


def test_a_lost_file_that_comes_back_is_pending_again(trap):
    path = trap.put(name())
    trap.scan()
    os.unlink(trap.image_dir / path)
    trap.scan()
    trap.put(path)
    trap.scan()
    assert [state for state, _ in trap.story(path)] == ["pending", "lost", "pending"]
    assert [picture.path for picture in trap.outbox.queue.claim(9)] == [path]


def test_a_folder_or_link_in_the_place_of_a_picture_means_that_it_is_lost(trap):
    paths = [trap.put(name(number)) for number in range(2)]
    trap.scan()
    for path in paths:
        os.unlink(trap.image_dir / path)
    (trap.image_dir / paths[0]).mkdir()
    os.symlink("/etc/hostname", trap.image_dir / paths[1])
    trap.scan()
    assert trap.states() == dict.fromkeys(paths, "lost")


# Disks that go and come


@pytest.fixture
def other_file_system():
    if not os.path.isdir("/dev/shm"):
        pytest.skip("needs a second file system, on /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield folder


def swap(trap, aside, empty):
    """Put an empty folder of another file system in the place of the image dir, as an unmount does."""
    os.rename(trap.image_dir, aside)
    os.symlink(empty, trap.image_dir)


def test_an_image_dir_that_is_not_mounted_loses_nothing_and_is_complete_when_it_is_back(
    tmp_path, trap, other_file_system, caplog
):
    paths = [trap.put(f"1b74105a/2020-07-05/{name(number)}") for number in range(20)] + [trap.put(name(30))]
    trap.scan()
    before = {path: trap.story(path) for path in paths}
    swap(trap, tmp_path / "aside", other_file_system)
    trap.scan()
    assert trap.states() == dict.fromkeys(paths, "pending")
    assert trap.outbox.queue.claim(99) == []
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "21 pictures" in warnings[0]
    trap.scan()
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    os.unlink(trap.image_dir)
    os.rename(tmp_path / "aside", trap.image_dir)
    reads, told = trap.reader.reads, trap.told
    trap.scan()
    assert {path: trap.story(path) for path in paths} == before
    assert trap.reader.reads == reads
    assert trap.told > told
    assert len(trap.outbox.queue.claim(99)) == 21


def test_a_picture_that_is_back_with_another_ctime_is_sent_after_the_first_scan(
    tmp_path, trap, other_file_system, caplog
):
    """As after `chmod -R`, which makes a folder readable again; requests for pictures that are back count alike."""
    caplog.set_level(logging.INFO)
    scanned, hinted = (trap.put(f"1b74105a/2020-07-05/{name(number)}") for number in range(2))
    trap.scan()
    swap(trap, tmp_path / "aside", other_file_system)
    trap.scan()
    assert trap.outbox.queue.claim(99) == []
    os.unlink(trap.image_dir)
    os.rename(tmp_path / "aside", trap.image_dir)
    for path in (scanned, hinted):
        restamp(trap, path)
    reads, told = trap.reader.reads, trap.told
    trap.scan_requests.file(hinted)
    trap.finish()
    assert trap.told == told + 1
    assert [picture.path for picture in trap.outbox.queue.claim(99)] == [hinted]
    trap.scan()
    assert trap.told == told + 2
    assert [picture.path for picture in trap.outbox.queue.claim(99)] == [scanned]
    assert trap.reader.reads == reads
    assert caplog.text.count("1 picture can be seen again") == 2


def test_an_image_dir_that_is_gone_altogether_loses_nothing(tmp_path, trap):
    path = trap.put(f"a/{name()}")
    trap.scan()
    os.rename(trap.image_dir, tmp_path / "aside")
    trap.scan()
    trap.scan_requests.file(path)
    trap.finish()
    assert trap.states() == {path: "pending"}


def test_a_disk_mounted_below_the_image_dir_may_go_as_well(trap):
    with tmpfs(trap.image_dir / "disk"):
        there, here = trap.put(f"disk/1b74105a/{name(0)}"), trap.put(f"1b74105a/{name(1)}")
        trap.scan()
    os.unlink(trap.image_dir / here)
    trap.scan()
    assert trap.states() == {there: "pending", here: "lost"}


@contextmanager
def as_nobody(trap, tmp_path):
    """Give up root's rights for a while."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent, trap.image_dir):
        os.chmod(folder, 0o755)
    os.chown(tmp_path / "state", 65534, 65534)
    for path, folders, files in os.walk(tmp_path / "state"):
        for each in (*folders, *files):
            os.chown(os.path.join(path, each), 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o700, 0o744])
@pytest.mark.parametrize("how", ["scan", "request"])
def test_what_lies_in_a_folder_that_became_unreadable_is_not_lost(tmp_path, trap, mode, how):
    path = trap.put(f"a/b/{name()}")
    trap.scan()
    for folder in ("a", "a/b"):
        os.chmod(trap.image_dir / folder, mode)
        with as_nobody(trap, tmp_path):
            trap.scan_requests.file(path) if how == "request" else trap.scan_requests.everything()
            trap.finish()
        assert trap.states() == {path: "pending"}
        os.chmod(trap.image_dir / folder, 0o755)
        trap.scan()
        assert trap.states() == {path: "pending"}
        assert trap.outbox.queue.next_due() == 0


def test_an_unreadable_file_is_rejected_once_and_taken_in_when_it_can_be_read(tmp_path, trap, caplog):
    path = trap.put(name())
    os.chmod(trap.image_dir / path, 0o600)
    with as_nobody(trap, tmp_path):
        for _ in range(3):
            trap.scan()
    assert trap.story(path) == [("rejected", "can't be read: Permission denied")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: can't be sent: can't be read: Permission denied"
    ]
    trap.scan()
    assert trap.states() == {path: "pending"}


# Trouble


def test_a_picture_that_is_being_sent_is_not_overwritten_and_read_less_and_less_often(trap):
    path = trap.put(name())
    trap.scan()
    (picture,) = trap.outbox.queue.claim(1)
    trap.put(path, blob(seed=1))
    trap.scan_requests.everything()
    reads = len(trap.reader.reads)
    until = trap.now + 60
    while trap.now < until:
        trap.now += max(0.1, trap.intake.step() or 0)
    assert trap.states() == {path: "uploading"}
    assert len(trap.reader.reads) - reads <= 7
    assert trap.outbox.queue.release(picture)
    trap.now += 60
    trap.finish()
    assert trap.states() == {path: "pending"}
    assert trap.outbox.at(path).md5 != picture.md5


def test_a_file_that_stays_rejected_gets_no_new_history_from_scans_and_touches(trap, caplog):
    path = trap.put(name(), b"\x89PNG\r\n\x1a\n")
    for round_ in range(4):
        os.utime(trap.image_dir / path, (round_, round_))
        trap.scan()
    assert trap.story(path) == [("rejected", "it isn't a JPEG picture: it is a PNG picture")]
    assert [(record.levelname, record.STICKY_PI_STATE) for record in caplog.records] == [("WARNING", "rejected")]


@pytest.mark.parametrize("other", [f"b/{name()}", name(device="1B74105A")])
def test_another_picture_under_the_same_key_is_a_conflict_and_said_to_be(trap, caplog, other):
    trap.put(f"a/{name()}")
    trap.scan()
    caplog.clear()
    trap.put(other, blob(seed=1))
    trap.scan()
    assert trap.states() == {f"a/{name()}": "pending", other: "conflict"}
    (record,) = caplog.records
    assert (record.levelname, record.STICKY_PI_STATE) == ("WARNING", "conflict")
    assert f"a/{name()} has the same device and time but other contents" in record.getMessage()


def test_two_names_that_differ_only_in_case_with_the_same_contents_are_two_rows(trap):
    for path in (name(), name(device="1B74105A"), name().replace(".jpg", ".JPG")):
        trap.put(path)
    trap.scan()
    assert list(trap.states().values()) == ["pending"] * 3


def test_a_suspect_picture_is_taken_in_with_a_warning_whose_name_is_fit_for_a_log(trap, caplog):
    path = trap.put("odd\x1b[31m/1b74105a.2099-01-01_00-00-00.jpg")
    trap.scan()
    assert trap.states() == {path: "pending"}
    (record,) = caplog.records
    assert record.getMessage().startswith(
        r"odd\x1b[31m/1b74105a.2099-01-01_00-00-00.jpg: taken in, but suspect: dated in the future"
    )


def test_a_picture_of_which_there_is_a_mere_note_is_taken_in_without_a_warning(trap, caplog):
    caplog.set_level("INFO")
    path = trap.put(name())
    full = trap.image_dir / path
    full.write_bytes(full.read_bytes() + bytes(100))
    os.utime(full, (0, 0))
    trap.scan()
    assert trap.states() == {path: "pending"}
    (record,) = [record for record in caplog.records if path in record.getMessage()]
    assert (record.levelname, record.STICKY_PI_EVENT) == ("INFO", "taken_in")
    assert record.getMessage() == f"{path}: taken in; note: 100 bytes behind the end"


def test_thumbnails_that_cannot_be_written_are_an_error_that_leaves_nothing_half_recorded(trap):
    for number in range(3):
        trap.put(name(number))
    trap.scan_requests.everything()
    with small_files_only(), pytest.raises(OSError, match="thumbnails"):
        trap.intake.step()
    assert trap.states() == {}
    assert not trap.intake.idle
    assert trap.scan_requests.take().everything
    trap.scan()
    assert set(trap.states().values()) == {"pending"}
    assert len(trap.states()) == 3


def test_a_folder_that_vanishes_between_read_and_record_takes_only_its_own_pictures_along(trap):
    first = trap.put(name(2))
    trap.scan()
    trap.put(f"a/{name(1)}")
    trap.put(f"b/{name(0)}")

    def remove_after_next_read():
        if len(trap.reader.reads) == 2:
            shutil.rmtree(trap.image_dir / os.path.dirname(trap.reader.reads[1]), ignore_errors=True)
        return False

    trap.stopping = remove_after_next_read
    trap.scan()
    assert len(trap.reader.reads) == 3
    assert trap.states() == {first: "pending", trap.reader.reads[2]: "pending"}


def test_the_first_picture_is_recorded_before_another_is_read(trap):
    for number in range(3):
        trap.put(name(number))
    told_by = []
    trap.stopping = lambda: told_by.append((len(trap.reader.reads), trap.told)) or False
    trap.scan()
    assert told_by[:3] == [(0, 0), (1, 1), (2, 1)]


def test_a_hundred_wrong_files_do_not_keep_the_right_ones(trap):
    for number in range(100):
        trap.put(f"wrong/{name(number)}", blob()[: 10 * number])
    for number in range(10):
        trap.put(f"right/{name(1000 + number)}")
    trap.scan()
    assert Counter(trap.states().values()) == {"rejected": 100, "pending": 10}


RECORD_ONE = """
import sys
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.intake import Intake
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
image_dir, state_dir = sys.argv[1:]
outbox, scan_requests = Outbox(state_dir + "/outbox.db", longest_wait=3600.0), ScanRequests()
reader = PictureReader(image_dir, ThumbnailFolder(state_dir + "/thumbnails"), lambda: 1.8e9)
parts = (outbox.catalog, outbox.folders, scan_requests)
intake = Intake(Scanner(image_dir), reader, *parts, recorded=lambda: None, stopping=lambda: False)
scan_requests.everything()
print("begin", flush=True)
intake.step()
assert len(list(outbox.pictures())) == 1
outbox.close()
"""


def test_the_file_its_folder_and_those_above_are_on_the_disk_before_the_row_is(tmp_path):
    image_dir, state_dir, log = tmp_path / "images", tmp_path / "state", tmp_path / "log"
    folder = image_dir / "1b74105a" / "2020-07-05"
    for each in (folder, state_dir):
        each.mkdir(parents=True)
    (folder / name()).write_bytes(blob())
    options = ["-y", "-s", "5", "-o", log, "-e", "trace=fsync,fdatasync,write"]
    done = traced(options, [sys.executable, "-c", RECORD_ONE, image_dir, state_dir])
    assert done.returncode == 0, done.stderr
    calls = log.read_text(encoding="utf-8").partition('"begin"')[2]
    flushed = re.findall(r"f(?:data)?sync\(\d+<([^>]*)>", calls)
    row = flushed.index(os.fspath(state_dir / "outbox.db-wal"))
    assert flushed[0] == os.fspath(folder / name())
    assert set(flushed[1:row]) == {os.fspath(each) for each in (folder, folder.parent, image_dir)}


# What a file's status tells


def refill(trap, path, content):
    """Write other bytes into a file, which then has the size, the mtime and the inode that it had."""
    full = trap.image_dir / path
    before = full.stat()
    assert len(content) == before.st_size
    with open(full, "r+b") as file:
        file.write(content)
    restamp(trap, path, before.st_mtime_ns)
    after = full.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def restamp(trap, path, mtime_ns=None):
    """Change a file's ctime, which the kernel counts in milliseconds, and nothing else that a scan looks at."""
    full = trap.image_dir / path
    before = full.stat()
    while full.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns if mtime_ns is None else mtime_ns))


@pytest.mark.parametrize("how", ["request", "scan"])
def test_a_rejected_file_that_is_filled_under_the_same_size_mtime_and_inode_is_taken_in(trap, how):
    path = trap.put(name(), bytes(len(blob())))
    trap.scan()
    assert trap.states() == {path: "rejected"}
    refill(trap, path, blob())
    if how == "request":
        trap.scan_requests.touched(path)
        trap.finish()
    else:
        trap.scan()
    (picture,) = trap.outbox.pictures()
    assert (picture.state, picture.suspect) == (State.PENDING, None)


@pytest.mark.parametrize("state", ["pending", "uploaded", "rejected"])
def test_a_file_whose_ctime_alone_changed_is_hashed_once_and_stays_as_it_was(trap, state):
    """As after `chmod`, or after it was renamed there and back: nothing is decoded, recorded or sent anew."""
    path = trap.put(name(), bytes(9) if state == "rejected" else blob())
    trap.scan()
    if state == "uploaded":
        trap.upload(path)
    story, before, recorded = trap.story(path), trap.outbox.at(path), trap.intake.recorded
    trap.reader.reads = ()
    for _ in range(2):
        restamp(trap, path)
        trap.scan()
        assert trap.outbox.at(path).fingerprint.ctime_ns == (trap.image_dir / path).stat().st_ctime_ns
    hashed = trap.reader.hashes
    trap.scan()
    assert (trap.reader.reads, hashed, trap.reader.hashes) == ((), (path, path), (path, path))
    assert (trap.story(path), trap.intake.recorded) == (story, recorded)
    assert trap.outbox.at(path)._replace(fingerprint=None) == before._replace(fingerprint=None)


def test_a_known_folder_is_known_again_once_the_files_in_it_were_hashed(trap):
    path = trap.put(f"1b74105a/2020-07-05/{name()}")
    trap.scan()
    restamp(trap, path)
    trap.scan()
    assert trap.outbox.catalog.at(path).known_fingerprint.ctime_ns == (trap.image_dir / path).stat().st_ctime_ns
    assert trap.intake.idle


@pytest.mark.parametrize("state", ["pending", "uploaded"])
@pytest.mark.parametrize("behind", [b"", b"more"], ids=["", "with a mere note"])
def test_a_picture_whose_bytes_changed_under_the_same_mtime_is_marked_and_warned_of(trap, caplog, state, behind):
    one, other = (picture_bytes("1b74105a", FIRST, size=SMALL, temp=temp) + behind for temp in (20.5, 21.5))
    path = trap.put(name(), one)
    trap.scan()
    if state == "uploaded":
        trap.upload(path)
    caplog.clear()
    refill(trap, path, other)
    trap.scan()
    picture = trap.outbox.at(path)
    assert picture.state is State.PENDING
    assert picture.suspect.startswith("its bytes changed, but neither its size nor its time did")
    assert [(record.levelname, path in record.getMessage()) for record in caplog.records] == [("WARNING", True)]
    restamp(trap, path)
    trap.scan()
    assert trap.outbox.at(path).suspect == picture.suspect


def test_a_picture_whose_bytes_changed_with_its_mtime_is_not_marked(trap):
    path = trap.put(name(), blob(1))
    trap.scan()
    trap.put(path, blob(2))
    trap.scan()
    assert trap.outbox.at(path).suspect is None


def test_a_row_of_an_earlier_release_gains_its_ctime_at_the_next_look_and_nothing_is_read(trap):
    paths = [trap.put(f"1b74105a/2020-07-05/{name(number)}", blob(number)) for number in range(20)]
    paths.append(trap.put(name(30), b"no picture"))
    trap.scan()
    trap.upload(*paths[:5])
    trap.outbox.database.connection.execute("UPDATE pictures SET ctime_ns = NULL")
    before = [picture._replace(fingerprint=None) for picture in trap.outbox.pictures()]
    trap.reader.reads = ()
    trap.outbox.folders.forget()
    trap.scan()
    assert (trap.reader.reads, trap.reader.hashes) == ((), ())
    assert [picture._replace(fingerprint=None) for picture in trap.outbox.pictures()] == before
    times = {picture.path: picture.fingerprint.ctime_ns for picture in trap.outbox.pictures()}
    assert times == {path: (trap.image_dir / path).stat().st_ctime_ns for path in paths}


def test_a_file_with_another_mtime_is_read_though_its_row_is_of_an_earlier_release(trap):
    path = trap.put(name(), blob(1))
    trap.scan()
    trap.outbox.database.connection.execute("UPDATE pictures SET ctime_ns = NULL")
    trap.put(path, blob(2))
    trap.scan()
    assert trap.outbox.at(path).md5 == hashlib.md5(blob(2), usedforsecurity=False).hexdigest()


def test_a_change_of_attributes_of_what_isnt_rejected_is_left_to_the_scan(trap):
    path = trap.put(name())
    trap.scan()
    restamp(trap, path)
    trap.scan_requests.touched(path)
    trap.scan_requests.touched(name(7))
    trap.finish()
    assert (trap.reader.hashes, trap.states()) == ((), {path: "pending"})
