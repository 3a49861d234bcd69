"""What failed in a store's folder, said as its owner needs it: the one place where lower errors become StoreError."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sticky_pi_api.exceptions import StoreError, printable
from sticky_pi_api.filesystem.safe_open import lacks_inodes, lacks_space
from sticky_pi_api.sqlite.connection import NewerSchemaError
from sticky_pi_api.sqlite.journal import UnfitError, explained

_DISK_FULL = "the disk is full: make room on it"
_NO_INODES = "no further file can be made on its disk, as all of its inodes are used: remove files"
_READ_ONLY = "it can't be written to: the file system is read-only"
_DENIED = "permission denied: the user that runs this must be allowed to write there"

_BY_ERRNO = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: "the disk quota is used up: make room",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: "the disk fails (input/output error)",
}

_DAMAGED = "its database.db is damaged or isn't a database: put it aside, and the store starts anew"
# SQLite says the same where one read has failed.
_DAMAGED_OR_NOT = f"{_DAMAGED}; but first see whether it stays so: the disk may just have failed to read it"
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_READONLY: "its database.db can't be written to: see to its permissions",
    sqlite3.SQLITE_CANTOPEN: "its database.db can't be opened: see to its permissions",
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_IOERR: "the disk fails (input/output error)",
    sqlite3.SQLITE_BUSY: "its database.db is locked by another process for too long",
    sqlite3.SQLITE_LOCKED: "its database.db is locked by another process for too long",
    sqlite3.SQLITE_CORRUPT: _DAMAGED_OR_NOT,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

# What SQLite says where it can't make a file, be it the database or one beside it.
_SQLITE_WITHOUT_INODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN})

# What it says on a full disk, but for "full".
_SQLITE_WITHOUT_SPACE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})

# What is wrong with one file or folder in the store may leave the others alone.
_LOCAL = frozenset(
    {errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ELOOP}
)


@contextmanager
def blaming_the_store(local_dir: str) -> Iterator[None]:
    """Raise StoreError for what the file system and the database raise; sqlite3.IntegrityError passes."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise StoreError(_message(local_dir, _say_sqlite(error, local_dir))) from error
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema repeats it, and then Python can't read that.
        raise StoreError(_message(local_dir, _BY_SQLITE_CODE[sqlite3.SQLITE_CORRUPT])) from error
    except OSError as error:
        whole = error.errno not in _LOCAL
        raise StoreError(_message(local_dir, _say_os(error, local_dir)), whole_store=whole) from error


def _message(local_dir: str, what: str) -> str:
    return f"the store in {printable(local_dir)} can't be used: {what}"


def _say_sqlite(error: sqlite3.Error, local_dir: str) -> str:
    if isinstance(error, NewerSchemaError):
        return "a newer release of this program made it: install that release"
    if (plain := explained(error, "database.db")) != str(error) or isinstance(error, UnfitError):
        return plain
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code & 0xFF in _SQLITE_WITHOUT_INODES and lacks_inodes(_nearest(local_dir)):
        return _NO_INODES
    if code & 0xFF in _SQLITE_WITHOUT_SPACE and lacks_space(_nearest(local_dir)):
        return _DISK_FULL
    return _BY_SQLITE_CODE.get(code & 0xFF, f"its database.db answers: {error}")


def _say_os(error: OSError, local_dir: str) -> str:
    if error.errno == errno.ENOSPC and lacks_inodes(_nearest(local_dir)):
        return _NO_INODES
    what = _BY_ERRNO.get(error.errno or 0, error.strerror or str(error))
    return what if error.filename is None else f"{what} ({printable(os.fsdecode(error.filename))})"


def _nearest(folder: str) -> str:
    """Return a folder, or the one above where it is still to be made."""
    while folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder
