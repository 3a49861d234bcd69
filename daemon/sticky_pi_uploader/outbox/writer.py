"""Transactions, and the one way in which a picture's row changes its state."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import NewerSchemaError

from ..exceptions import OutboxNewerError
from ..models import State
from .errors import damaged, plain_errors
from .files import require_files
from .reader import OutboxReader
from .schema import MIGRATIONS

PAGE_SIZE: Final = 1024
"""Bytes; whatever changes in a page, all of it is written: 75 KB a picture with the usual 4096, and 21 with these"""


class OutboxWriter(OutboxReader):
    """The outbox file, open for writing; one for each process, shared by its threads."""

    def __init__(self, path: str, *, longest_wait: float, clock: Callable[[], float] = time.time) -> None:
        """Open the file at `path`, made or migrated where needed.

        A picture whose `not_before` is more than `longest_wait` seconds ahead is due: the clock was changed.
        Raises OutboxDamagedError, or StateError where it can't be opened for another reason.
        """
        self.was_left_open = _is_filled(path + "-wal") or _is_filled(path + "-journal")
        """whether the last process that wrote to it broke off: it may have been a power cut"""
        super().__init__(_open(path), path)
        self._lock = threading.RLock()
        self._longest_wait = longest_wait
        self._clock = clock
        self._seen_version = int(self._value("PRAGMA data_version"))

    def _rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        # Fetched whole: another thread's rollback would break off a cursor that is still open.
        with self._lock, plain_errors(self._path):
            return iter(self._connection.execute(query, values).fetchall())

    def together(self) -> AbstractContextManager[object]:
        """Make one durable step of all that the block does."""
        return self._writing()

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Hold one transaction; inside another it is part of that one. Not durable: a power cut may undo it."""
        with self._lock, plain_errors(self._path):
            if self._connection.in_transaction:
                yield self._connection
                return
            if not durable:
                self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._rules_kept(), sqlite.transaction(self._connection):
                    yield self._connection
            finally:
                if not durable:
                    self._connection.execute("PRAGMA synchronous = EXTRA")

    @contextmanager
    def _rules_kept(self) -> Iterator[None]:
        """Tell damage from a bug where a row breaks its table's rules: damage is there before the step, too."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            fault = self.fault()
            if fault is None:
                raise
            raise damaged(self._path, fault) from error

    def _move(
        self,
        picture_id: int,
        sources: Iterable[State],
        target: State,
        why: str | None = None,
        values: Mapping[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> bool:
        """Change the state, with its line of history unless `why` is None; False if it was in none of `sources`."""
        states = [state.value for state in sources]
        changes = {**(values or {}), "state": target.value}
        assignments = ", ".join(f"{name} = ?" for name in changes)
        marks = ", ".join("?" * len(states))
        with self._writing(durable=durable) as connection:
            cursor = connection.execute(
                f"UPDATE pictures SET {assignments} WHERE id = ? AND state IN ({marks})",
                [*changes.values(), picture_id, *states],
            )
            if cursor.rowcount == 0:
                return False
            if why is not None:
                self._note(picture_id, target, why)
            return True

    def _insert(self, insert: str, values: Mapping[str, Any]) -> sqlite3.Cursor:
        marks = ", ".join("?" * len(values))
        query = f"{insert} INTO pictures ({', '.join(values)}) VALUES ({marks})"
        return self._connection.execute(query, list(values.values()))

    def _note(self, picture_id: int | None, state: State, why: str, at: float | None = None) -> None:
        self._connection.execute(
            "INSERT INTO history (picture_id, at, state, why) VALUES (?, ?, ?, ?)",
            (picture_id, self._clock() if at is None else at, state.value, why),
        )


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
