"""SQLite's errors, told apart by their codes; real ones where a test can bring them about."""

import os
import sqlite3
from contextlib import closing

import pytest
from sticky_pi_api.sqlite import errors
from sticky_pi_api.sqlite.errors import Fault, FileReplacedError, NewerSchemaError, UnfitError, classify, explain


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "database.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE numbers (number, UNIQUE (number))")
    return str(path)


def read(connection):
    connection.execute("SELECT * FROM numbers")


def raised(work, path, options="mode=rw"):
    """Return the error that some work with a database raises."""
    with closing(sqlite3.connect(f"file:{path}?{options}", uri=True, timeout=0)) as connection:
        with pytest.raises((sqlite3.Error, UnicodeDecodeError)) as caught:
            work(connection)
        return caught.value


def coded(code):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


def test_what_was_overwritten_is_no_database(path):
    with open(path, "r+b") as file:
        file.write(b"no database")
    assert classify(raised(read, path), path) is Fault.NO_DATABASE


def test_a_page_of_rubbish_is_damage(path):
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(os.urandom(3000))
    assert classify(raised(read, path), path) is Fault.DAMAGED


def test_text_that_is_no_utf_8_is_damage_though_sqlite_gives_no_code(path):
    error = raised(lambda connection: connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall(), path)
    assert not hasattr(error, "sqlite_errorcode")
    assert classify(error, path) is Fault.DAMAGED


def test_a_database_that_another_holds_is_busy(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = raised(read, path)
    assert classify(error, path) is Fault.BUSY


def test_a_database_opened_for_reading_is_read_only(path):
    error = raised(lambda connection: connection.execute("DROP TABLE numbers"), path, "mode=ro")
    assert classify(error, path) is Fault.READ_ONLY


def test_a_missing_table_is_the_querys_fault_and_a_row_that_is_there_is_nobodys(path):
    assert classify(raised(lambda connection: connection.execute("SELECT * FROM words"), path), path) is Fault.QUERY
    twice = "INSERT INTO numbers VALUES (1), (1)"
    assert classify(raised(lambda connection: connection.execute(twice), path), path) is Fault.OTHER


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (sqlite3.SQLITE_FULL, Fault.NO_SPACE),
        (sqlite3.SQLITE_CANTOPEN, Fault.NOT_OPENED),
        (sqlite3.SQLITE_PERM, Fault.DENIED),
        (sqlite3.SQLITE_IOERR_READ, Fault.FAILED_READ),
        (sqlite3.SQLITE_IOERR_WRITE, Fault.FAILED_IO),
        (sqlite3.SQLITE_IOERR_SHMLOCK, Fault.NO_LOCKS),
    ],
)
def test_a_code_decides(path, code, fault):
    assert classify(coded(code), path) is fault


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY])
def test_on_a_full_disk_an_io_error_is_missing_space(path, code, monkeypatch):
    # More than any other test can free meanwhile.
    disk = os.statvfs(path)
    monkeypatch.setattr(errors, "LEAST_FREE", (disk.f_blocks + 1) * disk.f_frsize)
    assert classify(coded(code), path) is Fault.NO_SPACE
    # Damage stays damage, and a folder that is still to be made is on the disk of the one above.
    assert classify(coded(sqlite3.SQLITE_CORRUPT), path) is Fault.DAMAGED
    assert classify(coded(code), os.path.join(os.path.dirname(path), "a", "b", "database.db")) is Fault.NO_SPACE


def test_errors_of_our_own_have_no_code_and_are_told_apart_all_the_same(path):
    assert classify(NewerSchemaError("schema 9"), path) is Fault.OTHER
    assert classify(FileReplacedError("it was removed"), path) is Fault.OTHER
    assert classify(UnfitError(path), path) is Fault.NO_LOCKS


def test_missing_locks_are_explained_and_other_errors_left_as_sqlite_says_them(path):
    expected = "the file system of database.db can't hold a database, as it has no locks: name a folder on another one"
    assert explain(coded(sqlite3.SQLITE_IOERR_LOCK), path) == explain(UnfitError(path), path) == expected
    assert explain(coded(sqlite3.SQLITE_IOERR_WRITE), path) == "disk I/O error"
