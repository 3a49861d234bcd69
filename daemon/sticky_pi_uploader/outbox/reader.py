"""Read the outbox for the commands: open it beside a running daemon, damaged, or on a full disk, and query it."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Self

from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.sqlite.connection import uri

from ..exceptions import StateError
from ..models import Destination, Event, Picture, State
from .codec import check_task, column, mended, to_destination, to_event, to_folder, to_picture
from .database import Database, require_files
from .destinations import destination_at
from .errors import damaged, plain_errors

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

    def __init__(self, database: Database, lay_so: _Stamp | None = None) -> None:
        """Read `database`, which this object closes.

        `lay_so` is how the file looked where it is read without regard to a writer.
        """
        self.database = database
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
        path = self.database.path
        mode, stamp = _mode(path), _stamp(path)
        if (mode, stamp) == (_AS_IT_LIES, self._lay_so):
            return False
        self._renewed += 1
        with plain_errors(path):
            self.database.close()
            self.database = Database(_connect(path, mode), path)
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
        return cls(Database(connection, path), stamp if mode == _AS_IT_LIES else None)

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
        return cls(Database(connection, path))

    @classmethod
    def open_damaged(cls, path: str) -> OutboxReader:
        """Open what `open_readonly` found damaged: a file that was cut short can then be read up to there."""
        with plain_errors(path):
            connection = _connect(path, _mode(path))
            # Nothing is written: it also makes SQLite believe the file's length rather than its header.
            connection.execute("PRAGMA writable_schema = ON")
        return cls(Database(connection, path))

    def __enter__(self) -> Self:
        """Give itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def counts(self) -> dict[State, int]:
        """Count the pictures in each state, zeros included."""
        rows = self.database.rows("SELECT state, count(*) FROM pictures GROUP BY state")
        found = {row[0]: int(row[1]) for row in rows}
        with self.database.damage_told():
            return dict.fromkeys(State, 0) | {State(state): count for state, count in found.items()}

    def count_left(self) -> tuple[int, int]:
        """Count the pictures that are still to be sent, and their bytes."""
        query = "SELECT count(*), coalesce(sum(size), 0) FROM pictures WHERE state IN (?, ?)"
        ((count, size),) = self.database.rows(query, (State.PENDING, State.UPLOADING))
        return int(count), int(size)

    def pictures(self, states: Iterable[State] = ()) -> Iterator[Picture]:
        """Yield the pictures in these states (none named: in any), by datetime, then path."""
        wanted = list(states)
        where = f"WHERE state IN ({', '.join('?' * len(wanted))})" if wanted else ""
        query = f"SELECT * FROM pictures {where} ORDER BY datetime, folder, name"
        yield from self.database.pictures(query, wanted)

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
        rows = self.database.rows("SELECT * FROM pictures WHERE id > ? ORDER BY id LIMIT 1", (after,))
        picture = next(map(self.database.picture, map(mended, rows)), None)
        if picture is not None and picture.id <= after:
            raise damaged(self.database.path, f"the ids of pictures are in no order behind {after}")
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
        yield from self.database.pictures(query)

    def at(self, path: str) -> Picture | None:
        """Find the picture recorded at this path, relative to the image dir."""
        return self.database.at(path)

    def named(self, name: str) -> list[Picture]:
        """Find the pictures with this file name, whatever folder they are in."""
        return list(self.database.pictures("SELECT * FROM pictures WHERE name = ?", (column(name),)))

    def history(self, picture: Picture) -> list[Event]:
        """Tell what happened to a picture, oldest first."""
        rows = self.database.rows("SELECT at, state, why FROM history WHERE picture_id = ? ORDER BY id", (picture.id,))
        with self.database.damage_told():
            return list(map(to_event, rows))

    def oldest_pending(self) -> str | None:
        """Give the datetime of the oldest picture still to be sent."""
        query = "SELECT min(datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
        oldest: str | None = self.database.value(query)
        return oldest

    def last_upload(self) -> float | None:
        """Give the Unix time of the newest receipt."""
        return self.database.number("SELECT max(uploaded_at) FROM pictures")

    def destination(self, url: str) -> Destination:
        """Tell how the destination at `url` answered when it was last asked."""
        return destination_at(self.database, url)

    def inspect(self) -> None:
        """Look at the whole file and at every value in it. Raises OutboxDamagedError where something is wrong."""
        if (fault := self.database.fault()) is not None:
            raise damaged(self.database.path, fault)
        for table, read in _TABLES.items():
            for row in self.database.rows(f"SELECT * FROM {table}"):
                with self.database.damage_told():
                    read(row)
