"""Databases on file systems without shared memory maps, or without locks: failing calls stand in for those."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import sticky_pi_api
from program import python
from sticky_pi_api.client import LocalClient
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import UnfitError
from tracing import traced

SOURCE = str(Path(sticky_pi_api.__file__).parents[1])
PUT = """if True:
    import sys
    from sticky_pi_api.client import LocalClient
    with LocalClient(sys.argv[1]) as client:
        print(len(client.put_images(sys.argv[2:])), len(client.get_images([])))
"""
REFUSED = """if True:
    import sys
    from sticky_pi_api.client import LocalClient
    from sticky_pi_api.exceptions import StoreError
    try:
        LocalClient(sys.argv[1])
    except StoreError as error:
        print(error)
"""
ROLLBACK, LOG = b"\x01\x01", b"\x02\x02"


def journal(path):
    """Return how a database's header says that it is written."""
    return Path(path).read_bytes()[18:20]


def failing(path, call, error, script, *arguments):
    """Run a script while a system call on a file fails, as it would on another file system."""
    options = ["-qq", "-o", "/dev/null", "-P", path, "-e", f"inject={call}:error={error}"]
    command = [sys.executable, "-c", script, *arguments]
    return traced(map(str, options), command, env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]})


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize("error", ["ENODEV", "EINVAL", "EACCES"])
def test_a_new_store_without_shared_maps_has_no_log(store, make_trap_picture, error):
    files = [make_trap_picture() for _ in range(2)]
    for file in files:
        done = failing(store / "database.db-shm", "mmap", error, PUT, store, file)
        assert (done.stdout, done.stderr) == ("1 0\n", "")
        assert journal(store / "database.db") == ROLLBACK
        assert not (store / "database.db-wal").exists()
    with LocalClient(store) as client:
        assert client.put_images(files) == []
    assert journal(store / "database.db") == ROLLBACK, "where it came from it can still be read"


def test_a_store_with_a_log_goes_on_where_there_are_no_shared_maps(store, make_trap_picture):
    first, second = make_trap_picture(), make_trap_picture()
    with LocalClient(store) as client:
        client.put_images([first])
    assert journal(store / "database.db") == LOG
    done = failing(store / "database.db-shm", "mmap", "ENODEV", PUT, store, first, second)
    assert (done.stdout, done.stderr) == ("1 0\n", "")
    assert journal(store / "database.db") == ROLLBACK


def test_a_log_that_a_crash_left_is_taken_along(store, make_trap_picture):
    crash = PUT.replace("print(", "import os; client.put_images(sys.argv[2:]); os._exit(0); print(")
    first, second = make_trap_picture(), make_trap_picture()
    python(crash, store, first, check=True)
    assert (store / "database.db-wal").stat().st_size > 0
    done = failing(store / "database.db-shm", "mmap", "ENODEV", PUT, store, first, second)
    assert (done.stdout, done.stderr) == ("1 0\n", "")
    with LocalClient(store) as client:
        assert client.put_images([first, second]) == []


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "EINVAL", "ENOSYS"])
def test_a_store_without_locks_is_refused_at_once_and_says_why(store, error):
    before = time.monotonic()
    done = failing(store / "database.db", "fcntl", error, REFUSED, store)
    assert done.stdout == (
        f"the store in {store} can't be used: the file system of database.db can't hold a database, "
        "as it has no locks: name a folder on another one\n"
    )
    assert time.monotonic() - before < sqlite.BUSY_TIMEOUT


def test_a_database_that_is_really_locked_is_waited_for_and_not_called_unfit(tmp_path):
    path = tmp_path / "some.db"
    sqlite.connect(str(path)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as raised:
            sqlite.connect(str(path), timeout=0.3)
        assert not isinstance(raised.value, UnfitError)
        other.execute("ROLLBACK")


@pytest.mark.parametrize(("kind", "mode"), [("nfs4", ROLLBACK), ("cifs", ROLLBACK), ("9p", ROLLBACK), ("ext4", LOG)])
def test_on_network_file_systems_the_first_write_is_without_a_log(tmp_path, kind, mode):
    """Their maps aren't the same for two machines, though they can be made."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {tmp_path} rw - {kind} server:/x rw\n", "utf-8")
    path = str(tmp_path / "some.db")
    for _ in range(2):
        with closing(sqlite.connect(path, mountinfo=str(table))) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS numbers (number)")
            with sqlite.transaction(connection):
                connection.execute("INSERT INTO numbers VALUES (1)")
            assert sorted(tmp_path.glob("some.db-*")) == (
                [] if mode == ROLLBACK else sorted(tmp_path.glob("some.db-[ws]*"))
            )
        assert journal(path) == mode


def test_a_log_is_left_where_a_store_came_to_a_network_file_system(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text("1 0 0:1 / / rw - nfs server:/x rw\n", "utf-8")
    path = str(tmp_path / "some.db")
    with closing(sqlite.connect(path)) as connection:
        connection.execute("CREATE TABLE numbers (number)")
    assert journal(path) == LOG
    sqlite.connect(path, mountinfo=str(table)).close()
    assert journal(path) == ROLLBACK


def test_many_processes_may_open_a_new_store_without_shared_maps_at_once(store):
    script = "import sys\nfrom sticky_pi_api.client import LocalClient\nLocalClient(sys.argv[1]).close()\n"
    options = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        store / "database.db-shm",
        "-e",
        "inject=mmap:error=ENODEV",
    ]
    command = [*map(str, options), sys.executable, "-c", script, store]
    failing(store / "database.db-shm", "mmap", "ENODEV", "pass")  # skips where nobody can trace
    environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
    processes = [subprocess.Popen(command, env=environment) for _ in range(5)]
    assert [process.wait(60) for process in processes] == [0] * 5
    assert journal(store / "database.db") == ROLLBACK


def test_a_transaction_without_a_log_is_durable_down_to_the_end_of_its_journal(tmp_path):
    """The folder is flushed after the journal is gone: else a power cut would bring it back, and undo the commit."""
    table = tmp_path / "mountinfo"
    table.write_text("1 0 0:1 / / rw - nfs server:/x rw\n", "utf-8")
    with closing(sqlite.connect(str(tmp_path / "some.db"), mountinfo=str(table))) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 3
