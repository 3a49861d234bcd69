"""Disks that can't be written though nothing but trying says so, and disks on which no further file can be made."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest
from filled_disk import SIZE
from flushes import flushes
from power_cuts import reason_to_skip
from power_cuts.disk import Disk, mount
from program import Program, eventually
from sticky_pi_uploader.models import Destination, DestinationState
from sticky_pi_uploader.state_dir.disk import DiskSpace, disk_space, trial_problem

READ_ONLY_ON_ERRORS = ("-e", "remount-ro")
FEW_INODES = ("-N", "64")
TRY = """
import sys
from sticky_pi_uploader.state_dir.disk import trial
print("begin", flush=True)
trial(sys.argv[1])
"""


@pytest.fixture(scope="module")
def why_no_disk(tmp_path_factory):
    return reason_to_skip(tmp_path_factory.mktemp("disks"))


@pytest.fixture
def make_disk(tmp_path, why_no_disk):
    """Make and mount disks; each is unmounted at the end."""
    if why_no_disk is not None:
        pytest.skip(why_no_disk)
    disks = []

    def make(name, *options):
        folder = tmp_path / name
        folder.mkdir()
        disks.append(Disk(folder, size=SIZE, options=options))
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def use_up_inodes(folder):
    """Make files until no further one can be made."""
    (folder / ".filler").mkdir(exist_ok=True)
    while disk_space(str(folder)).free_inodes:
        (folder / ".filler" / str(time.time_ns())).touch()


@contextmanager
def service(trap, *flags):
    """Run the service beside the test, and give what it wrote to its log."""
    log = trap.folder / "log"
    with Program(*(flags or trap.flags)).service(log):
        yield log.read_text


def test_a_trial_leaves_nothing_behind(tmp_path):
    assert trial_problem(str(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_trial_asks_the_disk_for_the_bytes_and_for_the_name(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    calls = flushes(tmp_path / "log", TRY, folder)
    assert [(call, os.path.dirname(path)) for call, path in calls] == [
        ("flush", str(folder)),
        ("unlink", str(folder)),
        ("flush", str(tmp_path)),
    ]


def test_what_a_killed_trial_left_goes_with_a_later_one(tmp_path):
    old, new, other = (
        tmp_path / name for name in (".trial-0123456789abcdef", ".trial-1123456789abcdef", ".trial-notes")
    )
    for file in (old, new, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (1, 1))
    assert trial_problem(str(tmp_path)) is None
    assert set(tmp_path.iterdir()) == {new, other}


def test_a_trial_follows_no_link_and_waits_for_no_pipe(tmp_path, monkeypatch):
    monkeypatch.setattr("os.urandom", bytes)
    (tmp_path / f".trial-{'00' * 8}").symlink_to(tmp_path / "target")
    assert trial_problem(str(tmp_path)) is not None
    assert not (tmp_path / "target").exists()
    (tmp_path / f".trial-{'00' * 8}").unlink()
    os.mkfifo(tmp_path / f".trial-{'00' * 8}")
    assert trial_problem(str(tmp_path)) is not None
    assert (tmp_path / f".trial-{'00' * 8}").is_fifo()


def test_a_trial_in_a_folder_of_somebody_else_says_so(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    assert "permission denied" in trial_problem(str(tmp_path))


def test_a_disk_that_an_error_made_read_only_is_found_out(make_disk, trap):
    disk = make_disk("card", *READ_ONLY_ON_ERRORS)
    folder = str(disk.mount)
    assert trial_problem(folder) is None
    disk.fail()
    assert os.access(folder, os.W_OK)
    assert not os.statvfs(folder).f_flag & os.ST_RDONLY
    assert trial_problem(folder) == "its file system is read-only"
    for flags in (
        ["--image-dir", folder, "--api-url", trap.url],
        ["--image-dir", str(trap.images), "--state-dir", f"{folder}/state", "--api-url", trap.url],
        ["--image-dir", str(trap.images), "--state-dir", str(trap.state), "--api-url", f"file://{folder}/store"],
    ):
        done = trap.run("check", flags=flags)
        assert done.returncode == 1, done.stdout
        assert b"read-only" in done.stdout
        assert done.stderr == b""


def test_status_says_of_a_card_and_of_a_store_that_they_became_read_only(make_disk, trap, make_trap_picture):
    card, usb = make_disk("card", *READ_ONLY_ON_ERRORS), make_disk("usb", *READ_ONLY_ON_ERRORS)
    images, store = card.mount / "pictures", usb.mount / "store"
    images.mkdir()
    make_trap_picture(images)
    flags = ["--image-dir", str(images), "--api-url", store.as_uri()]
    assert trap.run("drain", flags=flags).returncode == 0
    assert trap.run("status", flags=flags).stdout.startswith(b"All is well")
    usb.fail()
    first = trap.run("status", flags=flags).stdout.decode().splitlines()[0]
    assert (
        first == f"Attention: the store {store} can't be written: its file system is read-only; no picture to be sent."
    )
    card.fail()
    first = trap.run("status", flags=flags).stdout.decode().splitlines()[0]
    assert first == f"Attention: the disk of {images} was made read-only after an error on it; no picture to be sent."
    elsewhere = ["--image-dir", str(trap.images), "--state-dir", str(images / ".sticky-pi-uploader")]
    first = trap.run("status", flags=elsewhere).stdout.decode().splitlines()[0]
    assert first.endswith(".sticky-pi-uploader can't be written: its file system is read-only; no picture to be sent.")


def test_the_service_waits_for_a_card_that_an_error_made_read_only_and_goes_on_once_it_is_mended(
    make_disk, trap, make_trap_picture
):
    disk = make_disk("card", *READ_ONLY_ON_ERRORS)
    make_trap_picture(disk.mount)
    os.sync()
    disk.fail()
    with service(trap, "--image-dir", str(disk.mount), "--api-url", trap.url) as said:
        eventually(lambda: "its file system is read-only; waiting for it" in said())
        subprocess.run(["umount", disk.mount], check=True)
        subprocess.run(["fsck.ext4", "-fy", disk.file], check=False, capture_output=True)
        mount(disk.file, disk.mount)
        eventually(lambda: list(trap.store.glob("raw_images/*/*.jpg")))


def test_the_service_tries_the_store_as_it_starts_and_status_tells_of_it(make_disk, trap):
    usb = make_disk("usb", *READ_ONLY_ON_ERRORS)
    store = usb.mount / "store"
    store.mkdir()
    usb.fail()
    flags = ["--image-dir", str(trap.images), "--state-dir", str(trap.state), "--api-url", store.as_uri()]
    with service(trap, *flags) as said:
        eventually(lambda: "the destination is unreachable" in said())
    status = trap.run("status", flags=flags).stdout.decode()
    assert "its file system is read-only" in status
    assert not status.startswith(("All is well", "Nothing yet"))


def test_a_store_that_the_service_could_not_open_is_not_all_is_well_with_nothing_left_to_send(trap, taken):
    with trap.open() as outbox:
        outbox.catalog.record([taken("5c173ff2.2020-06-20_00-00-00.jpg")])
        [picture] = outbox.queue.claim(1)
        outbox.queue.confirm(picture, picture.md5, "stored")
        outbox.destinations.update(Destination(trap.url, DestinationState.UNREACHABLE, "it is damaged", time.time(), 1))
    first = trap.run("status").stdout.decode().splitlines()[0]
    assert first == "Waiting: the destination couldn't be reached when it was last tried; no picture to be sent."


def test_a_store_that_works_again_is_told_at_the_next_start(trap):
    with trap.open() as outbox:
        outbox.destinations.update(Destination(trap.url, DestinationState.UNREACHABLE, "its disk is full", None, 3))
    trap.store.mkdir()
    with service(trap) as said:
        eventually(lambda: "the destination works again" in said())
    assert trap.json("status")["destination"]["state"] == "ok"


@pytest.mark.parametrize("harm", ["damaged", "newer", "a folder", "denied"])
def test_check_opens_the_store(trap, make_trap_picture, harm):
    make_trap_picture(trap.images)
    assert trap.run("drain").returncode == 0
    database = trap.store / "database.db"
    if harm == "damaged":
        database.write_bytes(os.urandom(20_000))
    elif harm == "newer":
        import sqlite3

        connection = sqlite3.connect(database)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    elif harm == "a folder":
        database.unlink()
        database.mkdir()
    elif os.geteuid() == 0:
        pytest.skip("root may open everything")
    else:
        database.chmod(0)
    [found] = [each for each in trap.json("check", status=1) if each["about"] == "destination"]
    assert found["level"] == "problem"
    assert str(trap.store) in found["what"]


def test_check_makes_nothing_in_a_store_that_it_opens(trap, make_trap_picture):
    make_trap_picture(trap.images)
    assert trap.run("drain").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in trap.store.rglob("*") if path.is_file()}
    assert trap.run("check").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in trap.store.rglob("*") if path.is_file()} == before


def test_a_disk_without_an_inode_left_is_a_problem(make_disk, trap):
    disk = make_disk("card", *FEW_INODES)
    use_up_inodes(disk.mount)
    found = disk_space(str(disk.mount))
    assert (found.free_inodes, found.inodes) == (0, 112)
    flags = ["--image-dir", str(disk.mount), "--api-url", trap.url]
    done = trap.run("check", flags=flags)
    assert done.returncode == 1
    assert b"0 of 112 inodes" in done.stdout
    first = trap.run("status", flags=flags).stdout.decode().splitlines()[0]
    assert first.startswith("Attention: no further file can be made on the disk")


def test_a_file_system_that_counts_no_inodes_has_room(tmp_path):
    # The numbers of btrfs and FAT.
    found = DiskSpace(free=10, total=100, free_inodes=None, inodes=None)
    assert not found.is_under(lambda total: total * 5 // 100)
    assert found.is_under(lambda total: total * 15 // 100)


@pytest.mark.parametrize(("free", "is_short"), [(20, False), (10, True)])
def test_inodes_are_to_be_free_in_the_share_that_bytes_are(free, is_short):
    found = DiskSpace(free=50, total=100, free_inodes=free, inodes=100)
    assert found.is_under(lambda total: total * 15 // 100) is is_short


def test_a_few_inodes_are_warned_about(make_disk, trap):
    disk = make_disk("card", "-N", "1024")
    (disk.mount / "many").mkdir()
    for number in range(disk_space(str(disk.mount)).free_inodes - 100):
        (disk.mount / "many" / str(number)).touch()
    found = trap.run("check", flags=["--image-dir", str(disk.mount), "--api-url", trap.url])
    assert found.returncode == 0
    assert b"100 of 1,008 inodes (9 %)" in found.stdout, found.stdout.decode()


def test_without_inodes_retention_makes_room(make_disk, trap, make_trap_picture):
    """The outbox can be opened all the same, as some are put by."""
    disk = make_disk("card", "-N", "128")
    images = disk.mount / "pictures"
    images.mkdir()
    for _ in range(8):
        make_trap_picture(images)
    config = trap.folder / "config.toml"
    config.write_text(f'image_dir = "{images}"\n[api]\nurl = "{trap.url}"\n[retention]\nkeep_days = 30\n', "ascii")
    flags = ["--config", str(config)]
    assert trap.run("drain", flags=flags).returncode == 0
    assert len(list(images.glob("*.jpg"))) == 8
    use_up_inodes(disk.mount)
    done = trap.run("drain", flags=flags)
    assert done.returncode == 0, done.stderr
    assert list(images.glob("*.jpg")) == []
    shutil.rmtree(disk.mount / ".filler")
    assert b"8 confirmed" in trap.run("audit", "--verify", flags=flags).stdout
