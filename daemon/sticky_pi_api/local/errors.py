"""Translate the errors of SQLite and the file system into StoreError, in words for the store's owner."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sticky_pi_api.exceptions import StoreError, printable
from sticky_pi_api.sqlite.errors import Fault, NewerSchemaError, classify, explain, lacks_inodes

_DISK_FULL = "the disk is full: make room on it"
_NO_INODES = "no further file can be made on its disk, as all of its inodes are used: remove files"
_READ_ONLY = "it can't be written to: the file system is read-only"
_DISK_FAILS = "the disk fails (input/output error)"
_DENIED = "permission denied: the user that runs this must be allowed to write there"

_BY_ERRNO = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: "the disk quota is used up: make room",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: _DISK_FAILS,
}

_DAMAGED = "its database.db is damaged or isn't a database: put it aside, and the store starts anew"
# SQLite says the same where one read has failed.
_DAMAGED_OR_NOT = f"{_DAMAGED}; but first see whether it stays so: the disk may just have failed to read it"
_BY_FAULT = {
    Fault.NO_SPACE: _DISK_FULL,
    Fault.NO_INODES: _NO_INODES,
    Fault.READ_ONLY: "its database.db can't be written to: check its permissions",
    Fault.NOT_OPENED: "its database.db can't be opened: check its permissions",
    Fault.DENIED: _DENIED,
    Fault.FAILED_READ: _DISK_FAILS,
    Fault.FAILED_IO: _DISK_FAILS,
    Fault.BUSY: "its database.db is locked by another process for too long",
    Fault.DAMAGED: _DAMAGED_OR_NOT,
    Fault.NO_DATABASE: _DAMAGED,
}

# Errors about one file or folder of the store; the others may still be usable.
_LOCAL = frozenset(
    {errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ELOOP}
)


@contextmanager
def blaming_the_store(local_dir: str) -> Iterator[None]:
    """Raise StoreError for errors of the file system and of SQLite; sqlite3.IntegrityError passes."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(_message(local_dir, _say_sqlite(error, os.path.join(local_dir, "database.db")))) from error
    except OSError as error:
        whole = error.errno not in _LOCAL
        raise StoreError(_message(local_dir, _say_os(error, local_dir)), whole_store=whole) from error


def _message(local_dir: str, what: str) -> str:
    return f"the store in {printable(local_dir)} can't be used: {what}"


def _say_sqlite(error: sqlite3.Error | UnicodeDecodeError, path: str) -> str:
    if isinstance(error, NewerSchemaError):
        return "a newer release of this program made it: install that release"
    fault = classify(error, path)
    if fault is Fault.NO_LOCKS:
        return explain(error, path)
    return _BY_FAULT.get(fault, f"its database.db answers: {error}")


def _say_os(error: OSError, local_dir: str) -> str:
    if error.errno == errno.ENOSPC and lacks_inodes(local_dir):
        return _NO_INODES
    what = _BY_ERRNO.get(error.errno or 0, error.strerror or str(error))
    if not isinstance(error.filename, str | bytes):  # none, or the number of something open
        return what
    return f"{what} ({printable(os.fsdecode(error.filename))})"
