"""Translate SQLite's errors about the outbox: damage, a full disk, an earlier release's tables, a passing failure."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sticky_pi_api.sqlite.connection import migrate, uri
from sticky_pi_api.sqlite.errors import Fault, classify, explain

from ..exceptions import NoSpaceError, OutboxDamagedError, StateError
from .schema import MIGRATIONS


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Raise StateError in place of SQLite's errors about the file at `path`.

    A broken constraint, a misused connection and a query that a sound outbox can't answer pass: they are bugs, which
    waiting and trying again would only hide.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        translated = _translate(error, path)
        if translated is None:
            raise
        raise translated from error
    except UnicodeDecodeError as error:
        # SQLite's message about a damaged schema repeats it, and Python can't decode that.
        raise damaged(path, "its schema is no text") from error


def damaged(path: str, why: object) -> OutboxDamagedError:
    """Return the error for an outbox at `path` that is damaged, with the evidence."""
    return OutboxDamagedError(f"the outbox {path} is damaged: {why}")


def _translate(error: sqlite3.Error, path: str) -> StateError | None:
    """Return the StateError for one of SQLite's; None where the query is wrong, and the file is sound."""
    match classify(error, path):
        case Fault.DAMAGED if hasattr(error, "sqlite_errorcode") and _is_sound(path):
            return StateError(f"the outbox {path} can't be used: the disk failed to read it, and then read it well")
        case Fault.DAMAGED | Fault.NO_DATABASE:
            return damaged(path, error)
        case Fault.QUERY:
            return _compare_schemas(str(error), path)
        case Fault.NO_SPACE | Fault.NO_INODES:
            return NoSpaceError(f"no space left for the outbox {path}: free some on that disk")
        case Fault.FAILED_READ if not _is_readable(path):
            return damaged(path, f"the disk can't read it ({error})")
    return StateError(f"the outbox {path} can't be used: {explain(error, path)}")


def _compare_schemas(text: str, path: str) -> StateError | None:
    """Return the error for a query that failed with SQLite's message `text`, from the tables and indices in the file.

    None if they are right, so that the query is wrong.
    """
    try:
        steps, found = _schema_in(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        unreadable = classify(error, path) in (Fault.QUERY, Fault.DAMAGED, Fault.NO_DATABASE)
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
    """Return the number of steps that the schema has, and the statement of each table and index by its name."""
    try:
        return _schema_by(uri(path, "mode=ro"))
    except sqlite3.OperationalError:
        # A user without the right to write there can't make the index of the log; without a log, none is needed.
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
    """Return whether the whole file can be read without a fault now: SQLite reports a single failed read as damage."""
    try:
        with closing(sqlite3.connect(uri(path, "mode=ro"), uri=True)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _is_readable(path: str) -> bool:
    """Return whether SQLite can read every page; opening the file in another way would end SQLite's locks."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        return classify(error, path) is not Fault.FAILED_READ
    return True
