"""What SQLite raises about the outbox's file, told apart: damage, a full disk, and what may pass by itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..exceptions import OutboxDamagedError, StateError

ENOUGH: Final = 1 << 17
"""Bytes that have to be free for SQLite to open the outbox: its WAL index and a few pages"""

_DAMAGE: Final = ("malformed", "not a database", "encrypted", "no such table", "no such column", "disk image", "decode")
_MISSING_SPACE: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Turn what SQLite raises about the file at `path` into a StateError that says what to do.

    A broken constraint and a misused connection pass: they are bugs, which waiting and trying again would only hide.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        raise _told_apart(error, path) from error


def damaged(path: str, why: object) -> OutboxDamagedError:
    """Make the error that says that the outbox at `path` is damaged, and how that shows."""
    return OutboxDamagedError(f"the outbox {path} is damaged: {why}")


def _told_apart(error: sqlite3.Error, path: str) -> StateError:
    text = str(error)
    if any(sign in text for sign in _DAMAGE):
        return damaged(path, text)
    # The kind of error; errors of Python's own have none.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind == sqlite3.SQLITE_FULL or (kind in _MISSING_SPACE and _is_full(path)):
        return StateError(f"no space left for the outbox {path}: free some on that disk")
    if kind == sqlite3.SQLITE_IOERR and not _is_readable(path):
        return damaged(path, f"the disk can't read it ({text})")
    return StateError(f"the outbox {path} can't be used: {text}")


def _is_full(path: str) -> bool:
    """Tell whether the disk has no space; SQLite's own message is no more than an I/O error, mostly."""
    try:
        disk = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < ENOUGH


def _is_readable(path: str) -> bool:
    """Tell whether every byte can be read; True as well where the file can't be opened: that is another matter."""
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError:
        return True
    with file:
        try:
            while file.read(1 << 20):
                pass
        except OSError:
            return False
    return True
