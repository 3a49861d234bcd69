"""The database of the outbox: its connection, its transactions, and the one method that changes a picture's state."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from sticky_pi_api.filesystem.safe_open import BESIDE, name_of
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import NewerSchemaError

from ..exceptions import OutboxNewerError, StateError
from ..models import TO_LOOK_AT, Picture, State
from .codec import Row, split_path, to_picture
from .errors import damaged, plain_errors
from .schema import MIGRATIONS

PAGE_SIZE: Final = 1024
"""Bytes; a change writes its whole page: 75 KB for each picture with pages of 4096 bytes, 21 KB with these"""


def outbox_path(state_dir: str) -> str:
    """Return the path of the outbox in a state folder."""
    return os.path.join(state_dir, "outbox.db")


class Database:
    """The outbox file, open for reading."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Read through `connection`, which `close` closes; `path` is for messages."""
        self.connection = connection
        self.path = path

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        """Yield the rows that a query finds. Raises StateError."""
        with plain_errors(self.path):
            # `yield from` would close the cursor with the generator, perhaps after the connection: that raises.
            for row in self.connection.execute(query, values):  # noqa: UP028
                yield row

    def value(self, query: str, values: Any = ()) -> Any:
        """Return the first column of the first row that a query finds."""
        return next(self.rows(query, values))[0]

    def number(self, query: str, values: Any = ()) -> float | None:
        """Return the number that a query finds, or None for NULL. Raises OutboxDamagedError where it is neither."""
        value = self.value(query, values)
        with self.damage_told():
            return None if value is None else float(value)

    def pictures(self, query: str, values: Any = ()) -> Iterator[Picture]:
        """Yield the pictures of the whole rows of `pictures` that a query finds."""
        yield from map(self.picture, self.rows(query, values))

    def at(self, path: str) -> Picture | None:
        """Return the picture recorded at a path, relative to the image dir."""
        return next(self.pictures("SELECT * FROM pictures WHERE folder = ? AND name = ?", split_path(path)), None)

    def picture(self, row: Row) -> Picture:
        """Return the picture of a whole row of `pictures`. Raises OutboxDamagedError where the row can't be one."""
        with self.damage_told():
            return to_picture(row)

    @contextmanager
    def damage_told(self) -> Iterator[None]:
        """Turn the errors of decoding a row into OutboxDamagedError."""
        try:
            yield
        except (TypeError, ValueError, RecursionError) as error:
            raise damaged(self.path, error) from error

    def fault(self) -> str | None:
        """Check the whole file, its tables' rules and its indices; return the first fault, or None.

        A fault that a second check doesn't find was a failed read.
        """
        found = self._check()
        return found if found is None else self._check()

    def _check(self) -> str | None:
        found = str(self.value("PRAGMA integrity_check(1)"))
        return None if found == "ok" else found


class WritableDatabase(Database):
    """The outbox file, open for writing; one for each process, shared by its threads."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """Open the file at `path`, and make or migrate it where needed.

        Raises OutboxDamagedError, or StateError where it can't be opened for another reason.
        """
        self.was_left_open = _is_filled(path + "-wal") or _is_filled(path + "-journal")
        """whether the last process that wrote to it broke off, perhaps in a power cut"""
        super().__init__(_open(path), path)
        self.clock = clock
        self._lock = threading.RLock()
        self._seen_version = self._version()

    def rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        """Return the rows that a query finds. Raises StateError."""
        # All rows are fetched: another thread's rollback would end a cursor that is still open.
        with self._lock, plain_errors(self.path):
            return iter(self.connection.execute(query, values).fetchall())

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Hold one transaction, or join the open one; unless it is `durable`, a power cut may undo it."""
        with self._lock, plain_errors(self.path):
            if self.connection.in_transaction:
                yield self.connection
                return
            if not durable:
                self.connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._rules_kept(), sqlite.transaction(self.connection):
                    yield self.connection
            finally:
                if not durable:
                    self.connection.execute("PRAGMA synchronous = EXTRA")

    def move(
        self,
        picture_id: int,
        sources: Iterable[State],
        target: State,
        why: str | None = None,
        values: Mapping[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> bool:
        """Change a picture's state and values, and add a line of history unless `why` is None.

        Return False, and change nothing, if the picture is in none of the states `sources`.
        """
        states = [state.value for state in sources]
        changes = {**(values or {}), "state": target.value}
        if target not in TO_LOOK_AT:
            changes["dismissed_at"] = None
        if "reason" in changes:
            changes.setdefault("reason_code", None)
        assignments = ", ".join(f"{name} = ?" for name in changes)
        marks = ", ".join("?" * len(states))
        with self.writing(durable=durable) as connection:
            cursor = connection.execute(
                f"UPDATE pictures SET {assignments} WHERE id = ? AND state IN ({marks})",
                [*changes.values(), picture_id, *states],
            )
            if cursor.rowcount == 0:
                return False
            if why is not None:
                self.note(picture_id, target, why)
            return True

    def insert(self, insert: str, values: Mapping[str, Any]) -> int | None:
        """Insert a row of `pictures` by `INSERT`, or another form of it; return its id, or None if it wasn't."""
        marks = ", ".join("?" * len(values))
        query = f"{insert} INTO pictures ({', '.join(values)}) VALUES ({marks})"
        cursor = self.connection.execute(query, list(values.values()))
        return cursor.lastrowid if cursor.rowcount else None

    def note(self, picture_id: int | None, state: State, why: str, at: float | None = None) -> None:
        """Add a line to a picture's history, dated now unless `at` (Unix time) is given."""
        self.connection.execute(
            "INSERT INTO history (picture_id, at, state, why) VALUES (?, ?, ?, ?)",
            (picture_id, self.clock() if at is None else at, state.value, why),
        )

    def changed_by_another(self) -> bool:
        """Return whether another process wrote to the outbox since the last call."""
        before, self._seen_version = self._seen_version, self._version()
        return before != self._seen_version

    def _version(self) -> int:
        return int(self.value("PRAGMA data_version"))

    @contextmanager
    def _rules_kept(self) -> Iterator[None]:
        """Raise OutboxDamagedError if a row breaks its table's rules because the file is damaged, and not by a bug."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            fault = self.fault()
            if fault is None:
                raise
            raise damaged(self.path, fault) from error


class Part:
    """A part of the outbox: changes that belong together."""

    def __init__(self, database: WritableDatabase) -> None:
        """Change the rows of `database`, which its owner closes."""
        self._database = database

    def together(self) -> AbstractContextManager[object]:
        """Make one durable transaction of the block."""
        return self._database.writing()


def require_files(path: str) -> None:
    """Check that the files are regular, or missing: SQLite would follow a link, and wait for a pipe.

    Raises StateError.
    """
    for each in (path, *(path + suffix for suffix in BESIDE)):
        try:
            mode = os.stat(each, follow_symlinks=False).st_mode
        except OSError:
            # SQLite will fail as well, with a better message.
            continue
        if not stat.S_ISREG(mode):
            raise StateError(f"the outbox can't be used: {each} is {name_of(mode)}, not a file")


def _open(path: str) -> sqlite3.Connection:
    require_files(path)
    with plain_errors(path):
        connection = sqlite.connect(path, shared_between_threads=True, page_size=PAGE_SIZE)
        try:
            sqlite.migrate(connection, MIGRATIONS)
            connection.execute("SELECT 1 FROM pictures LIMIT 1").fetchall()
        except NewerSchemaError as error:
            connection.close()
            raise OutboxNewerError(f"the outbox {path} was written by a newer release: {error}") from error
        except BaseException:
            connection.close()
            raise
    return connection


def _is_filled(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False
