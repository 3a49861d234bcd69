"""Classify SQLite's errors by their codes, such as damage, a full disk, missing locks, or a busy database."""

from __future__ import annotations

import os
import sqlite3
from enum import Enum
from typing import Final

NO_LOCKS: Final = "can't hold a database, as it has no locks"

LEAST_FREE: Final = 1 << 18
"""Free bytes without which a database can't be opened and written to"""

_NO_LOCKS: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    }
)
_FAILED_READS: Final = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA})


class Fault(Enum):
    """The cause of an error that SQLite raises."""

    DAMAGED = "the file is damaged, or one read of it failed"
    NO_DATABASE = "the file isn't a database"
    NO_SPACE = "the disk is full"
    NO_INODES = "the disk has no inode left for a new file"
    NO_LOCKS = "the file system has no locks"
    BUSY = "another process holds the database"
    READ_ONLY = "the database can't be written to"
    NOT_OPENED = "the database can't be opened"
    DENIED = "the user may not use the database"
    FAILED_READ = "the disk can't read the file"
    FAILED_IO = "the disk fails otherwise"
    QUERY = "the query is wrong, or a table or column that it needs is missing"
    OTHER = "anything else"


_BY_KIND: Final = {
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.NO_DATABASE,
    sqlite3.SQLITE_FULL: Fault.NO_SPACE,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Fault.NOT_OPENED,
    sqlite3.SQLITE_PERM: Fault.DENIED,
    sqlite3.SQLITE_IOERR: Fault.FAILED_IO,
    sqlite3.SQLITE_ERROR: Fault.QUERY,
}

_MAY_LACK_SPACE: Final = frozenset({Fault.NO_SPACE, Fault.FAILED_IO, Fault.NOT_OPENED, Fault.READ_ONLY})
"""SQLite reports a full disk mostly as an I/O error, or as a file beside the database that can't be made"""


class OwnError(sqlite3.OperationalError):
    """An error that this package raises, without a code of SQLite."""

    fault = Fault.OTHER


class NewerSchemaError(OwnError):
    """A newer release than this one wrote the file."""


class FileReplacedError(OwnError):
    """The file was removed or replaced while it was in use; SQLite would continue with the nameless old one."""


class UnfitError(OwnError):
    """The file system can't hold a database."""

    fault = Fault.NO_LOCKS

    def __init__(self, path: str) -> None:
        super().__init__(f"the file system of {os.path.basename(path)} {NO_LOCKS}: name a folder on another one")


def classify(error: sqlite3.Error | UnicodeDecodeError, path: str) -> Fault:
    """Return the cause of an error about the database at `path`, by SQLite's code.

    Where the code may stand for a full disk, the disk's free space and inodes decide.
    """
    if isinstance(error, OwnError):
        return error.fault
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Python couldn't decode text of the file, or a message of SQLite that repeats a damaged schema.
        return Fault.DAMAGED if isinstance(error, sqlite3.OperationalError | UnicodeDecodeError) else Fault.OTHER
    if code in _NO_LOCKS:
        return Fault.NO_LOCKS
    fault = _BY_KIND.get(code & 0xFF, Fault.OTHER)
    if fault in _MAY_LACK_SPACE:
        folder = os.path.dirname(path)
        if lacks_inodes(folder):
            return Fault.NO_INODES
        if _lacks_space(folder):
            return Fault.NO_SPACE
    return Fault.FAILED_READ if code in _FAILED_READS else fault


def explain(error: sqlite3.Error | UnicodeDecodeError, path: str) -> str:
    """Return SQLite's text for an error, or a clearer one where locks are missing."""
    is_unfit = getattr(error, "sqlite_errorcode", None) in _NO_LOCKS
    return str(UnfitError(path)) if is_unfit else str(error)


def _lacks_space(folder: str) -> bool:
    """Return whether less than `LEAST_FREE` is free on the disk of a folder, which may not exist; False if unknown."""
    found = _disk_of(folder)
    return found is not None and found.f_bavail * found.f_frsize < LEAST_FREE


def lacks_inodes(folder: str) -> bool:
    """Return whether the disk of a folder, which may not exist, has no inode left; False where it counts none."""
    found = _disk_of(folder)
    return found is not None and found.f_files > 0 and found.f_favail == 0


def _disk_of(folder: str) -> os.statvfs_result | None:
    while folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        return os.statvfs(folder)
    except OSError:
        return None
