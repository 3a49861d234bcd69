"""What SQLite raises about the outbox's file, told apart: damage, a full disk, and what may pass by itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from sticky_pi_api.filesystem.safe_open import lacks_inodes, lacks_space
from sticky_pi_api.sqlite.connection import migrate, uri
from sticky_pi_api.sqlite.errors import UnfitError, explain

from ..exceptions import NoSpaceError, OutboxDamagedError, StateError
from .schema import MIGRATIONS

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FAILED_READS: Final = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA)
_MISSING_SPACE: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Turn what SQLite raises about the file at `path` into a StateError that says what to do.

    A broken constraint, a misused connection and a query that a sound outbox can't answer pass: they are bugs, which
    waiting and trying again would only hide.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        told = _told_apart(error, path)
        if told is None:
            raise
        raise told from error
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema repeats it, and then Python can't read that.
        raise damaged(path, "its schema is no text") from error


def damaged(path: str, why: object) -> OutboxDamagedError:
    """Make the error that says that the outbox at `path` is damaged, and how that shows."""
    return OutboxDamagedError(f"the outbox {path} is damaged: {why}")


def _told_apart(error: sqlite3.Error, path: str) -> StateError | None:
    """Give the error that says what is wrong with the file; None where nothing is, but with what it was asked."""
    text = str(error)
    kind = _kind(error)
    if kind == sqlite3.SQLITE_CORRUPT and _is_sound(path):
        return StateError(f"the outbox {path} can't be used: the disk failed to read it, and then read it well")
    if kind in _DAMAGE or _is_of_python(error):
        return damaged(path, text)
    if kind == sqlite3.SQLITE_ERROR:
        return _compared(text, path)
    if kind == sqlite3.SQLITE_FULL or (kind in _MISSING_SPACE and _is_full(path)):
        return NoSpaceError(f"no space left for the outbox {path}: free some on that disk")
    if _is_failed_read(error) and not _is_readable(path):
        return damaged(path, f"the disk can't read it ({text})")
    return StateError(f"the outbox {path} can't be used: {explain(error, path)}")


def _is_of_python(error: sqlite3.Error) -> bool:
    """Tell whether it was Python that couldn't read what SQLite had read: text that isn't UTF-8."""
    is_without_number = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    return is_without_number and not isinstance(error, UnfitError)


def _compared(text: str, path: str) -> StateError | None:
    """Tell by the tables and indices themselves why SQLite could make nothing of a query; `text` is its message."""
    try:
        steps, found = _schema_in(path)
    except UnicodeDecodeError:
        return damaged(path, text)
    except sqlite3.Error as error:
        unreadable = _kind(error) in (sqlite3.SQLITE_ERROR, *_DAMAGE)
        return damaged(path, text) if unreadable else StateError(f"the outbox {path} can't be used: {text}")
    if steps > len(MIGRATIONS):
        return StateError(f"the outbox {path} was written by a newer release: {text}")
    ours = _schema_after(len(MIGRATIONS)).keys()
    if steps == 0 or {name: sql for name, sql in found.items() if name in ours} != _schema_after(steps):
        return damaged(path, text)
    if steps < len(MIGRATIONS):
        return StateError(
            f"the outbox {path} is an earlier release's; the next start of the service brings it up to date"
        )
    return None


def _schema_in(path: str) -> tuple[int, dict[str, str]]:
    """Read how many steps of the schema were made, and the statement behind each table and index."""
    try:
        return _schema_by(uri(path, "mode=ro"))
    except sqlite3.OperationalError:
        # A user without the right to write there can't make the index of its log; without a log, it isn't needed.
        if os.path.exists(path + "-wal"):
            raise
        return _schema_by(uri(path, "immutable=1"))


def _schema_by(address: str) -> tuple[int, dict[str, str]]:
    with closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("BEGIN")
        return int(connection.execute("PRAGMA user_version").fetchone()[0]), _schema_of(connection)


def _schema_after(steps: int) -> dict[str, str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:steps])
        return _schema_of(connection)


def _schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(str(sql).split()) for name, sql in rows}


def _is_sound(path: str) -> bool:
    """Tell whether nothing is wrong with the file as it is read now: SQLite takes one read that fails for damage."""
    try:
        with closing(sqlite3.connect(uri(path, "mode=ro"), uri=True)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _is_full(path: str) -> bool:
    """Tell whether the disk has no space, or no inode; SQLite's own message is no more than an I/O error, mostly."""
    folder = os.path.dirname(path)
    return lacks_space(folder) or lacks_inodes(folder)


def _is_readable(path: str) -> bool:
    """Tell whether SQLite can read every page: not another way, as that would end the locks that it holds."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        return not _is_failed_read(error)
    return True


def _is_failed_read(error: sqlite3.Error) -> bool:
    """Tell a read that failed from a write: where that does, what is there may be whole."""
    return _code(error) in _FAILED_READS


def _kind(error: sqlite3.Error) -> int:
    return _code(error) & 0xFF


def _code(error: sqlite3.Error) -> int:
    """Give SQLite's number for an error; those of Python's own have none."""
    return getattr(error, "sqlite_errorcode", 0)
