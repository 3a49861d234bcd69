"""Open SQLite databases with durable commits and explicit transactions, and apply numbered migrations."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sticky_pi_api.filesystem.mounts import MOUNTINFO
from sticky_pi_api.sqlite.errors import NewerSchemaError
from sticky_pi_api.sqlite.journal import Journal, open_with_journal

if TYPE_CHECKING:
    from sqlite_utils import Database

Migration = Callable[["Database"], None]
"""One step of a schema, applied within a transaction of the caller"""

_UNUSED_BY_MIGRATIONS: Final = frozenset({"numpy", "pandas"})
"""Packages that sqlite-utils imports where they are installed, which takes another 0.4 s and 60 MB"""

Error = sqlite3.Error
IntegrityError = sqlite3.IntegrityError

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction before sqlite3.OperationalError"""


def uri(path: str, options: str) -> str:
    """Return the URI of a database for sqlite3, with options such as `mode=ro`."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?{options}"


def connect(
    path: str,
    *,
    shared_between_threads: bool = False,
    timeout: float = BUSY_TIMEOUT,
    durable: bool = True,
    page_size: int = 4096,
    mountinfo: str = MOUNTINFO,
) -> sqlite3.Connection:
    """Open the database at `path`, or make it, with pages of `page_size` bytes; a commit is durable.

    Without `durable`, a power cut may undo the last commits. The connection waits `timeout` seconds for other
    processes, and opens no transaction by itself: use `transaction`.
    """

    def open_one() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=not shared_between_threads
        )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA page_size={page_size}")
        return connection

    connection = open_with_journal(open_one, path, timeout, mountinfo=mountinfo)
    try:
        # At a power cut NORMAL would lose acknowledged rows, and FULL could bring a deleted rollback journal back.
        for pragma in (f"synchronous={'EXTRA' if durable else 'NORMAL'}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_look(path: str) -> sqlite3.Connection:
    """Open an existing database without changing its contents."""

    def open_one() -> sqlite3.Connection:
        connection = sqlite3.connect(uri(path, "mode=rw"), uri=True, timeout=0, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return open_with_journal(open_one, path, BUSY_TIMEOUT, wanted=Journal.AS_IT_IS)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the block as one transaction, which holds the write lock from its start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A failed commit, as on a full disk, may leave the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def empty_log(connection: sqlite3.Connection, patience: int) -> None:
    """Move the log's pages into the database and truncate the log, unless others keep reading for `patience` ms."""
    before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {patience}")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Apply the missing steps of a schema in one transaction; `PRAGMA user_version` counts the applied ones.

    Several processes may migrate at once. Raises NewerSchemaError where the file has more steps than this release.
    """
    if _version(connection) < len(migrations):
        with transaction(connection):
            # Another process may have applied steps while this one waited for the lock.
            if missing := migrations[_version(connection) :]:
                # It takes 0.1 s and 12 MB.
                with _hidden(_UNUSED_BY_MIGRATIONS):
                    from sqlite_utils import Database

                database = Database(connection, recursive_triggers=False)
                for step in missing:
                    step(database)
                connection.execute(f"PRAGMA user_version = {len(migrations)}")
    require_known(connection, migrations)


def require_known(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Raise NewerSchemaError where the file has more steps than this release knows."""
    if (version := _version(connection)) > len(migrations):
        raise NewerSchemaError(f"schema {version} is newer than this release's {len(migrations)}")


@contextmanager
def _hidden(names: frozenset[str]) -> Iterator[None]:
    """Make imports of packages that aren't imported yet fail within the block, on this thread."""
    thread = threading.get_ident()

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name in names and threading.get_ident() == thread:
                raise ModuleNotFoundError(name=name)

    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
