"""State folders and stores on file systems without shared memory maps, or without locks: failing calls stand in."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sticky_pi_uploader
from sticky_pi_uploader.exceptions import OutboxDamagedError
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import Outbox, OutboxReader, earlier_ones, put_aside
from tracing import traced

SOURCE = str(Path(sticky_pi_uploader.__file__).parents[1])


def without(call, error, path, trap, *command):
    """Run a command while a system call on a file fails, as it would on another file system."""
    options = ["-qq", "-o", "/dev/null", "-P", str(path), "-e", f"inject={call}:error={error}"]
    program = [sys.executable, "-m", "sticky_pi_uploader", *trap.flags, *command]
    return traced(options, program, env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]})


def has_log(path):
    return path.read_bytes()[18:19] == b"\x02"


def without_log(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


@pytest.mark.parametrize("where", ["state", "store"])
def test_a_round_without_shared_maps_takes_in_and_sends(trap, make_trap_picture, where):
    path = trap.outbox if where == "state" else trap.store / "database.db"
    for _ in range(2):
        make_trap_picture(trap.images)
        done = without("mmap", "ENODEV", f"{path}-shm", trap, "drain")
        assert done.returncode == 0, done.stderr
        assert not has_log(path)
    assert len(list(trap.store.glob("raw_images/*/*.jpg"))) == 2
    for command in ("status", "check"):
        done = without("mmap", "ENODEV", f"{path}-shm", trap, command)
        assert (done.returncode, done.stdout.startswith("All is well")) == (0, True), done.stdout
    assert trap.run("audit", "--verify", "--json").returncode in (0, 1)
    assert trap.json("status")["counts"]["uploaded"] == 2


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_state_folder_without_locks_is_named(trap, make_trap_picture, error):
    make_trap_picture(trap.images)
    assert trap.run("drain").returncode == 0
    done = without("fcntl", error, trap.outbox, trap, "drain")
    assert done.returncode == os.EX_IOERR
    assert "the file system of outbox.db can't hold a database, as it has no locks" in done.stderr
    assert earlier_ones(str(trap.outbox)) == [], "it is no damage"
    done = without("fcntl", error, trap.outbox, trap, "check")
    assert done.returncode == 1
    assert f"the file system of {trap.state} can't hold a database, as it has no locks" in done.stdout


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_store_without_locks_is_named(trap, make_trap_picture, error):
    make_trap_picture(trap.images)
    assert trap.run("drain").returncode == 0
    make_trap_picture(trap.images)
    done = without("fcntl", error, trap.store / "database.db", trap, "drain", "--deadline", "3")
    assert done.returncode == os.EX_TEMPFAIL
    assert "the file system of database.db can't hold a database, as it has no locks" in done.stderr
    assert "can't hold a database, as it has no locks" in trap.run("status").stdout.decode()
    done = without("fcntl", error, trap.store / "database.db", trap, "check")
    assert done.returncode == 1
    assert "can't hold a database, as it has no locks" in done.stdout


def test_an_outbox_without_a_log_is_read_with_regard_to_its_writer(trap, taken):
    trap.record(taken("5c173ff2.2020-06-20_00-00-00.jpg"))
    without_log(trap.outbox)
    with OutboxReader.open_readonly(str(trap.outbox)) as reader:
        assert reader.counts()[State.PENDING] == 1
        with Outbox(str(trap.outbox), longest_wait=1800) as outbox:
            assert outbox.database.connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
            outbox.catalog.record([taken("5c173ff2.2020-06-20_00-00-01.jpg", 1)])
            assert reader.counts()[State.PENDING] == 2


def test_a_journal_that_a_crash_left_goes_aside_with_its_outbox_and_not_into_the_next_one(trap, taken):
    trap.record(taken("5c173ff2.2020-06-20_00-00-00.jpg"))
    without_log(trap.outbox)
    journal = Path(f"{trap.outbox}-journal")
    journal.write_bytes(os.urandom(2000))
    with_journal = put_aside(str(trap.outbox), OutboxDamagedError("it is damaged"))
    assert not journal.exists()
    assert Path(f"{with_journal.path}-journal").stat().st_size == 2000
    assert earlier_ones(str(trap.outbox)) == [with_journal.path]


def test_an_outbox_that_was_left_in_the_middle_of_a_step_is_inspected(trap, taken):
    trap.record(taken("5c173ff2.2020-06-20_00-00-00.jpg"))
    without_log(trap.outbox)
    Path(f"{trap.outbox}-journal").write_bytes(b"\0" * 512)
    with Outbox(str(trap.outbox), longest_wait=1800) as outbox:
        assert outbox.recovery.was_left_open
        assert outbox.counts()[State.PENDING] == 1
