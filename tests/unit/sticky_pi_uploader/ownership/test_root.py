"""Where root works on as root, and where it doesn't: what somebody else can change must lead it nowhere."""

import os
import signal
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import datetime

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has root's rights to lose")

OTHER = 65534
"""The user whose folders root comes to; the system knows it as `nobody`"""

FIRST = datetime(2020, 6, 20, 21, 33)  # noqa: DTZ001  # UTC, as in the file names

_MAGIC = bytes.fromhex("d9d505f920a163d7")
_PAGE = 4096

EXCHANGE = """if True:
    import ctypes, os, sys
    ours, theirs = (os.fsencode(path) for path in sys.argv[1:])
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    exchange = ctypes.CDLL(None).renameat2
    print("ready", flush=True)
    while True:
        exchange(-100, ours, -100, theirs, 2)
    """
"""Exchanges two folders, each in one step, for ever"""


@pytest.fixture
def trap(open_trap, make_trap_picture):
    """A trap of root's alone, with a picture."""
    make_trap_picture(open_trap.images, "5c173ff2", FIRST)
    return open_trap


@pytest.fixture
def victim(trap):
    """A file that only root can reach, and that has to stay as it is."""
    (trap.folder / "root's").mkdir(mode=0o700)
    victim = trap.folder / "root's" / "victim"
    victim.write_text("root's own")
    yield victim
    assert victim.read_text() == "root's own"
    assert list(victim.parent.iterdir()) == [victim]


def give(*paths, to=OTHER):
    for path in paths:
        for each in (path, *path.rglob("*")):
            os.chown(each, to, to, follow_symlinks=False)


def owners(folder):
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def make_hot(database, victim):
    """Leave beside a database the journal of a change that broke off, which says that `victim` is a part of it.

    SQLite rolls the change back when it next opens the database, and then removes that part.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS anything (number)")
        connection.commit()
    pages = os.path.getsize(database) // _PAGE
    header = _MAGIC + struct.pack(">IIIII", 0, 0, pages, 512, _PAGE)
    name = os.fsencode(victim)
    part = struct.pack(">I", (0x40000000 // _PAGE) + 1) + name + struct.pack(">II", len(name), sum(name)) + _MAGIC
    with open(f"{database}-journal", "wb") as journal:
        journal.write(header.ljust(512, b"\0") + part)


def test_such_a_journal_has_sqlite_remove_the_file(tmp_path):
    """Without this, the tests below would show nothing."""
    victim = tmp_path / "victim"
    victim.write_text("anything")
    make_hot(tmp_path / "database.db", victim)
    with closing(sqlite3.connect(tmp_path / "database.db")) as connection:
        connection.execute("SELECT * FROM anything").fetchall()
    assert not victim.exists()


COMMANDS = (("check",), ("drain", "--deadline", "5"), ("audit", "--verify"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_nothing_of_another_users_store_is_opened_by_root(trap, victim, command):
    assert trap.run("drain").returncode == 0
    make_hot(trap.store / "database.db", victim)
    before = (trap.store / "database.db-journal").read_bytes()
    give(trap.store)
    done = trap.run(*command, text=True)
    assert done.returncode == (0 if command[0] == "drain" else 1), done.stderr
    assert (trap.store / "database.db-journal").read_bytes() == before
    if command[0] != "drain":  # which has nothing left to send
        assert f"{trap.store} belongs to the user {OTHER} (nobody)" in done.stdout + done.stderr
        assert "run this as that user, or make it root's: chown -R root: " in done.stdout + done.stderr


def test_pictures_are_kept_until_the_store_is_roots_and_status_says_why(trap, victim):
    trap.store.mkdir()
    make_hot(trap.store / "database.db", victim)
    (trap.store / "raw_images").symlink_to(victim.parent)
    give(trap.store)
    assert trap.run("drain", "--deadline", "5").returncode == 75
    assert f"{trap.store} belongs to the user {OTHER} (nobody)" in trap.run("status", text=True).stdout
    assert trap.json("list")[0]["state"] == "pending"
    for path in (trap.store / "raw_images", trap.store / "database.db-journal"):
        path.unlink()
    give(trap.store, to=0)
    assert trap.run("retry", "--all").returncode == 0
    assert trap.run("drain").returncode == 0
    assert trap.json("list")[0]["state"] == "uploaded"


@pytest.mark.parametrize("name", ["database.db-journal", "raw_images", "raw_images/5c173ff2", "passwords.db"])
def test_a_part_of_roots_store_that_is_another_users_is_named(trap, victim, name):
    assert trap.run("drain").returncode == 0
    if name == "database.db-journal":
        make_hot(trap.store / "database.db", victim)
    part = trap.store / name
    if name == "passwords.db":
        part.touch()
    give(part)
    said = trap.run("check", text=True).stdout
    assert f"{part} belongs to the user {OTHER} (nobody)" in said


def test_a_store_in_another_users_folder_is_not_opened_nor_made(trap, victim):
    usb = trap.folder / "usb"
    usb.mkdir()
    flags = ["--image-dir", str(trap.images), "--state-dir", str(trap.state), "--api-url", f"file://{usb}/store"]
    os.chown(usb, OTHER, OTHER)
    for _ in range(2):
        done = trap.run("drain", "--deadline", "5", flags=flags, text=True)
        assert done.returncode == 75, done.stderr
        assert f"{usb} belongs to the user {OTHER} (nobody)" in done.stderr
        assert trap.run("check", flags=flags).returncode == 1
        if not (usb / "store").exists():
            (usb / "store").mkdir()
            make_hot(usb / "store" / "database.db", victim)
    assert sorted(path.name for path in (usb / "store").iterdir()) == ["database.db", "database.db-journal"]


def test_a_store_in_a_folder_in_which_all_may_write_is_not_opened_but_below_a_sticky_one_it_is(trap):
    around = trap.folder / "around"
    around.mkdir()
    flags = ["--image-dir", str(trap.images), "--state-dir", str(trap.state), "--api-url", f"file://{around}/store"]
    around.chmod(0o777)
    done = trap.run("drain", "--deadline", "5", flags=flags, text=True)
    assert done.returncode == 75
    assert f"others can write in {around}: chmod go-w {around}" in done.stderr
    around.chmod(0o1777)
    trap.run("retry", "--all", flags=flags)
    assert trap.run("drain", flags=flags).returncode == 0
    assert (around / "store" / "database.db").exists()


def test_state_is_made_in_another_users_folder_as_that_user(trap):
    give(trap.images)
    state = trap.images / ".sticky-pi-uploader"
    flags = ["--image-dir", str(trap.images), "--state-dir", str(state), "--api-url", f"file://{state}/store"]
    for command in ("drain", "check", "status"):
        done = trap.run(command, flags=flags, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert owners(state) == {OTHER}
    assert (state / "store" / "database.db").exists()


@contextmanager
def exchanging(one, two):
    command = [sys.executable, "-c", EXCHANGE, str(one), str(two)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def test_state_that_root_made_in_another_users_folder_is_given_to_that_user_and_goes_on(trap):
    """An earlier release of this, run as root, left it so."""
    state = trap.images / ".sticky-pi-uploader"
    flags = ["--image-dir", str(trap.images), "--state-dir", str(state), "--api-url", f"file://{state}/store"]
    assert trap.run("drain", flags=flags).returncode == 0
    assert owners(state) == {0}
    os.chown(trap.images, OTHER, OTHER)
    assert trap.run("status", flags=flags).returncode == 0
    assert owners(state) == {0}
    done = trap.run("drain", flags=flags, text=True)
    assert done.returncode == 0, done.stderr
    line = f"the state folder {state} belongs to the user {OTHER} (nobody) now, as it lies in {trap.images}, which is"
    assert done.stderr.count(line) == 1
    assert owners(state) == {OTHER}
    assert line not in trap.run("drain", flags=flags, text=True).stderr


def test_what_is_no_state_folder_is_not_given(trap):
    state = trap.images / ".sticky-pi-uploader"
    state.mkdir()
    (state / "thesis.txt").touch()
    os.chown(trap.images, OTHER, OTHER)
    done = trap.run("drain", "--state-dir", str(state), text=True)
    assert done.returncode == 74
    assert f"the state folder {state} holds other things" in done.stderr
    assert owners(state) == {0}


def test_no_exchange_of_the_state_folder_leads_root_anywhere(trap, victim):
    state, evil = trap.images / ".sticky-pi-uploader", trap.images / ".evil"
    evil.mkdir()
    (evil / "outbox.db").symlink_to(victim.parent / "new.db")
    (evil / "store").mkdir()
    (evil / "store" / "raw_images").symlink_to(victim.parent)
    (evil / "thumbnails").symlink_to(victim.parent)
    give(evil)
    flags = ["--image-dir", str(trap.images), "--state-dir", str(state), "--api-url", f"file://{state}/store"]
    assert trap.run("drain", flags=flags).returncode == 0
    os.chown(trap.images, OTHER, OTHER)
    with exchanging(state, evil):
        for _ in range(5):
            done = trap.run("drain", "--deadline", "2", flags=flags, text=True)
            assert done.returncode != 70, done.stderr
            assert "an error of its own" not in done.stderr


def test_a_folder_of_roots_in_which_others_may_write_is_named(trap):
    around = trap.folder / "around"
    state = around / "state"
    state.mkdir(parents=True)
    for folder in (around, state):
        folder.chmod(0o777)
        for command in ("drain", "status"):
            done = trap.run(command, "--state-dir", str(state), text=True)
            assert done.returncode == 74
            assert f"others can write in {folder}: chmod go-w {folder}" in done.stderr
        assert "chmod go-w" in trap.run("check", "--state-dir", str(state), text=True).stdout
        assert list(state.iterdir()) == []
        folder.chmod(0o755)
    around.chmod(0o1777)
    assert trap.run("drain", "--state-dir", str(state)).returncode == 0


@pytest.mark.parametrize("name", ["outbox.db-journal", "thumbnails"])
def test_what_is_another_users_in_roots_state_folder_is_named(trap, victim, name):
    assert trap.run("drain").returncode == 0
    part = trap.state / name
    if name == "outbox.db-journal":
        make_hot(trap.outbox, victim)
    give(part)
    for command in ("drain", "status"):
        done = trap.run(command, text=True)
        assert done.returncode == 74
        assert f"{part} belongs to the user {OTHER} (nobody)" in done.stderr


def test_what_root_makes_is_for_root_alone_to_change_whatever_the_umask(trap):
    flags = ["--image-dir", str(trap.images), "--state-dir", str(trap.state), "--api-url", f"file://{trap.state}/store"]
    before = os.umask(0o002)
    try:
        assert trap.run("drain", flags=flags).returncode == 0
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o022 for path in (trap.state, *trap.state.rglob("*"))} == {0}
    assert trap.run("prepare", "--user", "nobody", flags=flags).returncode == 0
    assert owners(trap.state) == {OTHER}
    assert trap.run("drain", flags=flags).returncode == 0


def test_prepare_says_what_stays_roots_as_others_may_write_there(trap):
    assert trap.run("drain").returncode == 0
    folder = trap.state / "thumbnails"
    folder.chmod(0o775)
    done = trap.run("prepare", "--user", "nobody", text=True)
    assert done.returncode == 0
    assert f"{folder} stays root's" in done.stderr
    assert folder.stat().st_uid == 0


def test_the_demo_is_made_where_only_root_writes_and_leads_root_nowhere(trap, victim):
    home = trap.folder / "home"
    demo, evil = home / "demo", home / "evil"
    evil.mkdir(parents=True)
    for name in (".made-by-sticky-pi-uploader-demo", "config.toml"):
        (evil / name).symlink_to(victim)
    demo.mkdir()
    give(home)
    os.chown(demo, 0, 0)
    (demo / ".made-by-sticky-pi-uploader-demo").touch()
    with exchanging(demo, evil):
        for _ in range(3):
            assert trap.run("demo", str(demo), flags=()).returncode in (2, 74, 75)
    around = trap.folder / "sticky"
    around.mkdir()
    around.chmod(0o1777)
    assert trap.run("demo", str(around / "demo"), flags=()).returncode == 0
    assert owners(around / "demo") == {0}
    (around / "demo" / "config.toml").unlink()
    (around / "demo" / "config.toml").symlink_to(victim)
    assert trap.run("demo", str(around / "demo"), flags=()).returncode == 74
    around.chmod(0o777)
    assert "chmod go-w" in trap.run("demo", str(around / "new"), flags=(), text=True).stderr
    assert not (around / "new").exists()
