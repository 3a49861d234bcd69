import os
import pwd
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing

import pytest
from mounted import remount, tmpfs
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.state_dir.folder import MARK
from tracing import traced

NOBODY = "nobody"
PATH = os.pathsep.join(filter(None, sys.path))

EXCHANGE = """if True:
    import os, sys, time
    images, victim = sys.argv[1:]
    os.chdir(images)
    os.setgroups([])
    os.setresgid(65001, 65001, 65001)
    os.setresuid(65001, 65001, 65001)
    number = 0
    while True:
        number += 1
        if number % 200 == 0:
            time.sleep(0.001)  # else a state folder would hardly ever be made
        try:
            os.rename("state", f"gone-{number}")
            if number % 3 == 1:
                os.symlink(victim, "state")
                os.unlink("state")
            elif number % 3 == 2:
                os.rename("private", "state")
                os.rename("state", "private")
        except OSError:
            pass
    """
"""Puts something else in the place of the state folder, as the image folder's user"""

MANY_TIMES = """if True:
    import os
    from sticky_pi_uploader.cli.commands.service import prepare
    from sticky_pi_uploader.exceptions import StateError
    from sticky_pi_uploader.ownership.handover import give
    from sticky_pi_uploader.state_dir.mounts import prepare_state_dir

    state = os.path.join({images!r}, "state")
    seen = set()
    for number in range(20 * {tries}):
        if number >= {tries} and len(seen) == 2:
            break
        try:
            prepare_state_dir(state, {images!r})
            give(state, {images!r}, prepare.find_owner("nobody"))
            outcome = "made"
        except StateError:
            outcome = "refused"
        seen.add(outcome)
        print(outcome)
    """
"""Does what the command does once nothing is missing, without a start of Python each time"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def trap(open_trap):
    return open_trap


@pytest.fixture
def run(trap):
    """Run the command to its end."""

    def run(*arguments):
        done = trap.run("prepare", *map(str, arguments), text=True)
        return done.returncode, done.stderr

    return run


def owners(folder):
    """Map each path in a folder, and itself, to the name of its owner."""
    return {
        path.relative_to(folder).as_posix(): pwd.getpwuid(path.lstat().st_uid).pw_name
        for path in (folder, *folder.rglob("*"))
    }


def test_the_state_folder_is_made_and_nothing_in_it(trap, run):
    assert run() == (0, "")
    assert list(trap.state.iterdir()) == []
    assert stat.S_IMODE(trap.state.stat().st_mode) == 0o755
    assert run() == (0, "")


@needs_root
def test_the_folder_and_what_is_in_it_belong_to_the_user_afterwards(trap, run, taken):
    trap.record(taken("a.jpg"))
    (trap.state / "lock").touch()
    deep = trap.state / "thumbnails" / "5c"
    deep.mkdir(parents=True)
    (deep / "one").touch()
    assert run("--user", NOBODY) == (0, "")
    assert set(owners(trap.state).values()) == {NOBODY}
    assert len(owners(trap.state)) == 6
    assert trap.images.stat().st_uid == 0


@needs_root
def test_what_lies_in_a_folder_that_is_the_users_already_is_neither_opened_nor_changed(trap, run):
    assert run("--user", NOBODY) == (0, "")
    (trap.state / "new").touch()
    (trap.state / "folder").mkdir()
    log = trap.folder / "log"
    command = [sys.executable, "-m", "sticky_pi_uploader", *trap.flags, "prepare", "--user", NOBODY]
    calls = "trace=open,openat,openat2,creat,chown,fchown,fchownat,chmod,fchmod,fchmodat,ftruncate,fallocate,unlink"
    done = traced(["-y", "-e", calls, "-o", log], command, env={"PATH": os.environ["PATH"], "PYTHONPATH": PATH})
    assert (done.returncode, done.stderr) == (0, "")
    assert owners(trap.state) == {".": NOBODY, "new": "root", "folder": "root"}
    there = [line for line in log.read_text().splitlines() if str(trap.state) in line or '"state"' in line]
    # The folder itself, and nothing else, is opened, and nothing is changed.
    assert len(there) > 0
    assert {line.partition(" ")[2].lstrip().partition("(")[0] for line in there} == {"openat"}
    assert {line.rpartition("<")[2] for line in there} == {f"{trap.state}>"}


@needs_root
def test_no_link_is_followed_and_no_file_with_another_name_is_given_away(trap, run):
    elsewhere = trap.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "passwd").touch()
    (elsewhere / "shadow").touch()
    trap.record()
    (trap.state / "file").symlink_to(elsewhere / "passwd")
    (trap.state / "folder").symlink_to(elsewhere)
    os.link(elsewhere / "shadow", trap.state / "shadow")
    os.mkfifo(trap.state / "pipe")
    assert run("--user", NOBODY) == (0, "")
    assert set(owners(elsewhere).values()) == {"root"}
    stay = {"file": "root", "folder": "root", "shadow": "root", "pipe": "root"}
    assert owners(trap.state) == {".": NOBODY, "outbox.db": NOBODY} | stay


@needs_root
def test_another_file_system_in_the_folder_is_left_as_it_is(trap, run):
    trap.record()
    with tmpfs(trap.state / "disk") as disk:
        (disk / "file").touch()
        assert run("--user", NOBODY) == (0, "")
        assert owners(disk) == {".": "root", "file": "root"}
    assert trap.state.stat().st_uid != 0


@needs_root
@pytest.mark.parametrize("name", ["important", "lock", "outbox.db", "reserve"])
def test_a_folder_full_of_other_things_is_named_and_stays_as_it_is(trap, run, name):
    trap.state.mkdir()
    (trap.state / name).touch()
    status, said = run("--user", NOBODY)
    assert status == 74
    assert f"the state folder {trap.state} holds other things: it was not given to nobody" in said
    assert set(owners(trap.state).values()) == {"root"}


@needs_root
def test_a_database_of_something_else_makes_no_state_folder(trap, run):
    trap.state.mkdir()
    with closing(sqlite3.connect(trap.outbox)) as connection:
        connection.execute("CREATE TABLE packages (name)")
    assert run("--user", NOBODY)[0] == 74
    assert set(owners(trap.state).values()) == {"root"}


@needs_root
def test_a_folder_that_was_used_is_known_by_its_mark_whatever_became_of_the_outbox(trap, run):
    assert trap.run("drain").returncode == 0
    trap.outbox.unlink()
    assert run("--user", NOBODY) == (0, "")
    assert set(owners(trap.state).values()) == {NOBODY}
    assert (trap.state / MARK).read_text().startswith("By this file, ")


@needs_root
def test_a_folder_of_an_earlier_release_gets_the_mark_from_the_service(trap, run):
    trap.record()
    assert run("--user", NOBODY) == (0, "")
    assert not (trap.state / MARK).exists()
    assert trap.run("drain").returncode == 0
    assert owners(trap.state)[MARK] == NOBODY


@needs_root
@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_of_a_user_that_had_another_number_is_given_and_what_is_in_it_stays(trap, run, marked):
    """As after the system was installed anew. The folder's mark, or its outbox, is looked at as that user."""
    trap.record()
    if marked:
        (trap.state / MARK).touch()
        trap.outbox.unlink()
    for path in (trap.state, *trap.state.iterdir()):
        os.chown(path, 65001, 65001)
    before = {path: path.stat() for path in trap.state.iterdir()}
    assert run("--user", NOBODY) == (0, "")
    assert trap.state.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    assert {path: path.stat().st_uid for path in before} == dict.fromkeys(before, 65001)


@needs_root
@pytest.mark.parametrize("kind", ["link", "pipe", "mark is a link", "nothing"])
def test_what_another_user_passes_off_as_a_state_folder_stays_that_users(trap, run, kind):
    trap.state.mkdir()
    if kind == "link":
        root_s = trap.folder / "root's"
        root_s.mkdir()
        with Outbox(str(root_s / "outbox.db"), longest_wait=1800):
            pass
        root_s.chmod(0o700)
        trap.outbox.symlink_to(root_s / "outbox.db")
    elif kind == "pipe":
        os.mkfifo(trap.outbox)
    elif kind == "mark is a link":
        (trap.state / MARK).symlink_to("/etc/passwd")
    os.chown(trap.state, 65001, 65001)
    status, said = run("--user", NOBODY)
    assert (status, "holds other things" in said) == (74, True)
    assert trap.state.stat().st_uid == 65001


@needs_root
def test_root_is_given_nothing_of_another_users_and_nobody_a_folder_in_which_all_may_write(trap, run):
    trap.record()
    os.chown(trap.state, 65001, 65001)
    assert "is another user's: it was not given to root" in run("--user", "root")[1]
    os.chown(trap.state, 0, 0)
    (trap.state / MARK).touch()
    trap.state.chmod(0o777)
    assert "holds other things" in run("--user", NOBODY)[1]


@needs_root
def test_a_state_folder_that_is_a_link_below_the_image_folder_gives_nothing_away(trap, run):
    """Whether its target is empty, or could pass for a state folder."""
    target = trap.folder / "dpkg"
    target.mkdir()
    link = trap.images / "state"
    link.symlink_to(target)
    for name in (None, "lock", MARK):
        if name is not None:
            (target / name).touch()
        status, said = run("--user", NOBODY, "--state-dir", link)
        assert status == 74
        assert f"{link} is a link, which root doesn't follow there" in said
        assert set(owners(target).values()) == {"root"}


@needs_root
def test_links_that_only_root_can_have_made_stay_good(trap, run):
    (trap.folder / "card").symlink_to("pictures")
    (trap.folder / "data").symlink_to(trap.folder / "card")
    flags = ["--image-dir", trap.folder / "data", "--state-dir", trap.folder / "data" / ".sticky-pi-uploader"]
    assert run("--user", NOBODY, *flags) == (0, "")
    assert owners(trap.images) == {".": "root", ".sticky-pi-uploader": NOBODY}


@needs_root
def test_a_state_folder_is_made_in_a_users_image_folder_and_a_link_in_it_leads_nowhere(trap, run):
    os.chown(trap.images, 65001, 65001)
    state = trap.images / "deep" / "state"
    assert run("--user", NOBODY, "--state-dir", state) == (0, "")
    assert state.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    assert state.parent.stat().st_uid == 0
    (trap.images / "up").symlink_to(trap.folder)
    assert run("--user", NOBODY, "--state-dir", trap.images / "up" / "made")[0] == 74
    assert not (trap.folder / "made").exists()


@needs_root
def test_no_link_that_comes_in_between_gets_root_to_give_or_change_anything(trap):
    """The camera's user exchanges the new state folder for links and for root's own folders, as fast as it can."""
    images, victim = trap.images, trap.folder / "victim"
    victim.mkdir(mode=0o700)
    (victim / MARK).touch()
    private = images / "private"
    private.mkdir(mode=0o700)
    (private / "pictures").touch()
    os.chown(images, 65001, 65001)
    attacker = subprocess.Popen([sys.executable, "-c", EXCHANGE, images, victim])
    script = MANY_TIMES.format(images=str(images), tries=400)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PATH}
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100, check=False
        )
    finally:
        attacker.kill()
        attacker.wait()
    assert done.returncode == 0, done.stderr
    outcomes = Counter(done.stdout.split())
    print(outcomes)
    assert outcomes["made"] > 0
    assert outcomes["refused"] > 0
    status = victim.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)
    assert os.listdir(victim) == [MARK]
    (kept,) = (path for path in images.iterdir() if path.is_dir() and (path / "pictures").exists())
    status = kept.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)


@needs_root
def test_what_lies_very_deep_is_given_too(trap, run):
    trap.record()
    depth = 1500
    folder = os.open(trap.state, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    try:
        assert run("--user", NOBODY) == (0, "")
        uid = pwd.getpwnam(NOBODY).pw_uid
        assert os.fstat(folder).st_uid == os.stat("file", dir_fd=folder).st_uid == uid
    finally:
        os.close(folder)
        subprocess.run(["rm", "-rf", trap.state], check=True)


@pytest.fixture
def stick(tmp_path):
    """A disk that is mounted at a folder."""
    stick = tmp_path / "stick"
    stick.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", stick], check=True)
    yield stick
    subprocess.run(["umount", "-l", stick], check=True)


@needs_root
def test_a_stores_folder_is_made_on_a_disk_that_is_mounted_there_and_given_to_the_user(run, stick):
    store = stick / "store"
    for _ in range(2):
        assert run("--user", NOBODY, "--api-url", f"file://{store}") == (0, "")
        assert owners(stick) == {".": "root", "store": NOBODY}
        assert stat.S_IMODE(store.stat().st_mode) == 0o755
    assert run("--user", NOBODY, "--api-url", f"file://{stick}/not/there/store") == (0, "")
    assert not (stick / "not").exists()


@needs_root
@pytest.mark.parametrize("what", ["folder", "link"])
def test_what_is_in_a_stores_place_stays_as_it_is(run, stick, tmp_path, what):
    store, outside = stick / "store", tmp_path / "outside"
    outside.mkdir()
    if what == "link":
        store.symlink_to(outside / "made")
    else:
        store.mkdir()
    assert run("--user", NOBODY, "--api-url", f"file://{store}") == (0, "")
    assert set(owners(stick).values()) == {"root"}
    assert list(outside.iterdir()) == []


@needs_root
def test_a_link_of_another_users_on_the_way_to_a_store_leads_root_nowhere(run, stick, tmp_path):
    os.chown(stick, pwd.getpwnam(NOBODY).pw_uid, -1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (stick / "link").symlink_to(outside)
    assert run("--user", NOBODY, "--api-url", f"file://{stick}/link/store") == (0, "")
    assert list(outside.iterdir()) == []


@needs_root
def test_no_stores_folder_is_made_on_the_systems_own_disk(run):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        if os.stat(place).st_dev != os.stat("/").st_dev:
            pytest.skip("/var/tmp is a disk of its own")
        assert run("--user", NOBODY, "--api-url", f"file://{place}/store") == (0, "")
        assert os.listdir(place) == []


def test_an_unknown_user_is_wrong_usage(run):
    status, said = run("--user", "nobody-of-that-name")
    assert status == 2
    assert said.startswith("sticky-pi-uploader: there is no user 'nobody-of-that-name'; see `")


def test_an_image_folder_that_is_not_there_ends_it_at_once_with_75_and_nothing_is_made_above_it(trap, run):
    trap.images.rmdir()
    assert run() == (75, f"sticky-pi-uploader: the image folder {trap.images} isn't there\n")
    assert not trap.images.exists()
    assert not trap.state.exists()
    trap.images.mkdir()
    assert run() == (0, "")
    assert trap.state.is_dir()


def test_the_journal_is_not_told_of_a_missing_folder_as_the_service_is_started_next_and_waits_for_it(trap):
    trap.images.rmdir()
    log = trap.folder / "journal"
    with log.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}", "PYTHONPATH": PATH}
        command = [sys.executable, "-m", "sticky_pi_uploader", "prepare", *trap.flags]
        assert subprocess.run(command, stderr=stderr, env=environment, check=False).returncode == 75
    assert log.read_bytes() == b""


def test_a_destination_that_is_still_to_be_set_is_no_hindrance(trap):
    file = trap.folder / "config.toml"
    file.write_text(f'image_dir = "{trap.images}"\nstate_dir = "{trap.state}"\n[api]\nurl = ""\n')
    done = trap.run("prepare", flags=["--config", str(file)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert trap.state.is_dir()


def test_a_wrong_configuration_is_78_and_nothing_is_made(trap):
    done = trap.run("prepare", "--api-url", "gopher://x")
    assert done.returncode == 78
    assert not trap.state.exists()


@needs_root
def test_a_card_that_is_read_only_ends_it_at_once_with_74(trap):
    state = trap.images / ".sticky-pi-uploader"
    flags = ["--image-dir", str(trap.images), "--api-url", trap.url]
    with tmpfs(trap.images, "ro"):
        done = trap.run("prepare", flags=flags)
        why = f"the state folder {state} can't be written: its file system is read-only"
        assert (done.returncode, done.stderr.decode()) == (74, f"sticky-pi-uploader: {why}\n")
        remount(trap.images, "rw")
        assert trap.run("prepare", flags=flags).returncode == 0
        assert state.is_dir()
