"""Reads the outbox: rows become `Picture`s; what `status`, `list` and `explain` ask, beside a running daemon too."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.sqlite.connection import uri

from ..exceptions import StateError
from ..models import Destination, Event, Picture, State
from .codec import check_task, column, mended, split_path, to_destination, to_event, to_folder, to_picture
from .errors import damaged, plain_errors
from .files import require_files

_HOPELESS = 20_000  # rows in a row that can't be read; one damaged inner page holds fewer
_PATIENCE = 60.0  # seconds from one row that can be read to the next: a failing disk takes its time for the others

_TABLES: Final[Mapping[str, Callable[[sqlite3.Row], object]]] = {
    "pictures": to_picture,
    "history": to_event,
    "destinations": to_destination,
    "folders": to_folder,
    "tasks": check_task,
}
"""What raises where a row of each can't be one"""


def _connect(path: str, mode: str) -> sqlite3.Connection:
    require_files(path)
    connection = sqlite3.connect(uri(path, mode), uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


_Stamp = tuple[int, ...]
_BESIDE_WRITER = "mode=ro"
_AS_IT_LIES = "immutable=1"
_MOST_RENEWALS = 10


def _mode(path: str) -> str:
    # Without a writer there is no WAL index, and only the owner could make one: read the file as it lies.
    is_written = os.path.exists(path + "-wal") or _is_without_log(path)
    return _BESIDE_WRITER if is_written else _AS_IT_LIES


def _stamp(path: str) -> _Stamp | None:
    """Return what changes whenever a writer was at the file; None where it isn't there."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_without_log(path: str) -> bool:
    """Tell whether its writers keep a rollback journal: then nothing but a lock says that one is at work."""
    try:
        with open(open_file(path), "rb") as file:
            return file.read(19)[18:] == b"\x01"
    except OSError:
        return False


def _require_tables(connection: sqlite3.Connection, path: str) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
        raise FileNotFoundError(errno.ENOENT, "nothing is recorded yet", path)
    connection.execute("SELECT 1 FROM pictures LIMIT 1")


class OutboxReader:
    """The questions that change nothing. `Outbox` adds the verbs."""

    def __init__(self, connection: sqlite3.Connection, path: str, lay_so: _Stamp | None = None) -> None:
        """Read through `connection`, which this object closes; `path` is for messages.

        `lay_so` is how the file looked where it is read without regard to a writer.
        """
        self._connection = connection
        self._path = path
        self._lay_so = lay_so
        self._renewed = 0

    @classmethod
    def open_readonly(cls, path: str) -> OutboxReader:
        """Open the file at `path` without ever writing to it.

        Raises FileNotFoundError (also where its tables are still to be made), PermissionError or another OSError, or
        StateError where it can't be opened otherwise.
        """
        os.close(open_file(path))  # SQLite's own message doesn't tell these from the rest
        mode, stamp = _mode(path), _stamp(path)
        try:
            return cls._open(path, mode, stamp)
        except (FileNotFoundError, StateError):
            if (mode, stamp) == (_mode(path), _stamp(path)):
                raise
            # A writer came or went meanwhile.
            return cls._open(path, _mode(path), _stamp(path))

    def renew(self) -> bool:
        """Open the file anew where a writer has come since; then what was read until now may be wrong.

        It isn't done endlessly. Raises StateError where it can't be opened any more.
        """
        if self._lay_so is None or self._renewed == _MOST_RENEWALS:
            return False
        mode, stamp = _mode(self._path), _stamp(self._path)
        if (mode, stamp) == (_AS_IT_LIES, self._lay_so):
            return False
        self._renewed += 1
        with plain_errors(self._path):
            self._connection.close()
            self._connection = _connect(self._path, mode)
        self._lay_so = stamp if mode == _AS_IT_LIES else None
        return True

    @classmethod
    def open_as_it_lies(cls, path: str) -> OutboxReader:
        """Open the file at `path` without its log, where a full disk has no room for what reading that takes.

        Raises as `open_readonly`.
        """
        return cls._open(path, _AS_IT_LIES)

    @classmethod
    def _open(cls, path: str, mode: str, stamp: _Stamp | None = None) -> OutboxReader:
        with plain_errors(path):
            connection = _connect(path, mode)
            try:
                _require_tables(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path, stamp if mode == _AS_IT_LIES else None)

    @classmethod
    def open_beside(cls, path: str) -> OutboxReader:
        """Open the file at `path` in the process that writes to it, where the other ways would do harm.

        They may open the file outside SQLite: closing it then ends the locks that SQLite holds on it, and another
        process takes the log away. Raises StateError.
        """
        with plain_errors(path):
            # Read-only, SQLite wouldn't look at the rules of the tables.
            connection = _connect(path, "mode=rw")
            connection.execute("PRAGMA query_only = ON")
        return cls(connection, path)

    @classmethod
    def open_damaged(cls, path: str) -> OutboxReader:
        """Open what `open_readonly` found damaged: a file that was cut short can then be read up to there."""
        with plain_errors(path):
            connection = _connect(path, _mode(path))
            # Nothing is written: it also makes SQLite believe the file's length rather than its header.
            connection.execute("PRAGMA writable_schema = ON")
        return cls(connection, path)

    def __enter__(self) -> Self:
        """Give itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def counts(self) -> dict[State, int]:
        """Count the pictures in each state, zeros included."""
        rows = self._rows("SELECT state, count(*) FROM pictures GROUP BY state")
        found = {row[0]: int(row[1]) for row in rows}
        with self._sound():
            return dict.fromkeys(State, 0) | {State(state): count for state, count in found.items()}

    def pictures(self, states: Iterable[State] = ()) -> Iterator[Picture]:
        """Yield the pictures in these states (none named: in any), by datetime, then path."""
        wanted = list(states)
        where = f"WHERE state IN ({', '.join('?' * len(wanted))})" if wanted else ""
        query = f"SELECT * FROM pictures {where} ORDER BY datetime, folder, name"
        yield from map(self._picture, self._rows(query, wanted))

    def salvage(self) -> Iterator[Picture]:
        """Yield the pictures of a damaged outbox that can still be read, in the order in which they were recorded."""
        after = readable = 0
        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends:
            try:
                picture = self._behind(after)
            except StateError:
                if after >= readable:
                    readable = self._readable_behind(after)
                    if readable == after:
                        return
                after += 1
                continue
            if picture is None:
                return
            after = picture.id
            yield picture
            ends = time.monotonic() + _PATIENCE

    def _behind(self, after: int) -> Picture | None:
        """Read the first picture behind an id. Raises StateError."""
        rows = self._rows("SELECT * FROM pictures WHERE id > ? ORDER BY id LIMIT 1", (after,))
        picture = next(map(self._picture, map(mended, rows)), None)
        if picture is not None and picture.id <= after:
            raise damaged(self._path, f"the ids of pictures are in no order behind {after}")
        return picture

    def _readable_behind(self, after: int) -> int:
        """Find an id behind which something can be read, by leaps that grow slowly; `after` itself if there is none.

        To go on from id to id until all hope is gone would take a minute. What is missed is no more than a part in 32.
        """
        leap = 1
        while leap < _HOPELESS:
            try:
                self._behind(after + leap)
            except StateError:
                leap += max(1, leap // 32)
                continue
            return after + leap
        return after

    def wrong_copies(self) -> Iterator[Picture]:
        """Yield the uploaded pictures whose copy at the destination was found missing, or another one; by datetime."""
        query = "SELECT * FROM pictures WHERE state = 'uploaded' AND reason IS NOT NULL ORDER BY datetime, folder, name"
        yield from map(self._picture, self._rows(query))

    def at(self, path: str) -> Picture | None:
        """Find the picture recorded at this path, relative to the image dir."""
        rows = self._rows("SELECT * FROM pictures WHERE folder = ? AND name = ?", split_path(path))
        return next(map(self._picture, rows), None)

    def named(self, name: str) -> list[Picture]:
        """Find the pictures with this file name, whatever folder they are in."""
        rows = self._rows("SELECT * FROM pictures WHERE name = ?", (column(name),))
        return list(map(self._picture, rows))

    def history(self, picture: Picture) -> list[Event]:
        """Tell what happened to a picture, oldest first."""
        rows = self._rows("SELECT at, state, why FROM history WHERE picture_id = ? ORDER BY id", (picture.id,))
        with self._sound():
            return list(map(to_event, rows))

    def oldest_pending(self) -> str | None:
        """Give the datetime of the oldest picture still to be sent."""
        oldest: str | None = self._value("SELECT min(datetime) FROM pictures WHERE state IN ('pending', 'uploading')")
        return oldest

    def last_upload(self) -> float | None:
        """Give the Unix time of the newest receipt."""
        return self._number("SELECT max(uploaded_at) FROM pictures")

    def destination(self, url: str) -> Destination:
        """Tell how the destination at `url` answered when it was last asked."""
        for row in self._rows("SELECT * FROM destinations WHERE url = ?", (url,)):
            with self._sound():
                return to_destination(row)
        return Destination(url)

    def fault(self) -> str | None:
        """Look at the whole file, rules of its tables and indices included; say what is wrong with it, if anything.

        What a second look doesn't find was a read that failed.
        """
        found = self._look()
        return found if found is None else self._look()

    def _look(self) -> str | None:
        found = str(self._value("PRAGMA integrity_check(1)"))
        return None if found == "ok" else found

    def inspect(self) -> None:
        """Look at the whole file and at every value in it. Raises OutboxDamagedError where something is wrong."""
        if (fault := self.fault()) is not None:
            raise damaged(self._path, fault)
        for table, read in _TABLES.items():
            for row in self._rows(f"SELECT * FROM {table}"):
                with self._sound():
                    read(row)

    def _picture(self, row: sqlite3.Row | dict[str, Any]) -> Picture:
        with self._sound():
            return to_picture(row)

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, RecursionError) as error:
            raise damaged(self._path, error) from error

    def _rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        with plain_errors(self._path):
            # `yield from` would close the cursor with the generator, perhaps after the connection: that raises.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row

    def _value(self, query: str, values: Any = ()) -> Any:
        return next(self._rows(query, values))[0]

    def _number(self, query: str, values: Any = ()) -> float | None:
        value = self._value(query, values)
        with self._sound():
            return None if value is None else float(value)
