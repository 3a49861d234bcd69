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
from ..models import Destination, Event, Hold, Picture, State
from .codec import check_task, column, repair, to_destination, to_event, to_folder, to_hold, to_picture
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
    "hold": to_hold,
}
"""The function that raises an error for a damaged row, by table"""


def _connect(path: str, mode: str) -> sqlite3.Connection:
    require_files(path)
    connection = sqlite3.connect(uri(path, mode), uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


_Stamp = tuple[int, ...]
_BESIDE_WRITER = "mode=ro"
_SNAPSHOT = "immutable=1"
_MOST_RENEWALS = 10


def _mode(path: str) -> str:
    # Without a writer there is no WAL index, and only the owner could make one: read the file without its log.
    is_written = os.path.exists(path + "-wal") or _is_without_log(path)
    return _BESIDE_WRITER if is_written else _SNAPSHOT


def _stamp(path: str) -> _Stamp | None:
    """Return the fields of the file's status that change with each write; None if there is no file."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_without_log(path: str) -> bool:
    """Return whether writers keep a rollback journal instead of a log: then only a lock shows that one is at work."""
    try:
        with open(open_file(path), "rb") as file:
            return file.read(19)[18:] == b"\x01"
    except OSError:
        return False


def _require_tables(connection: sqlite3.Connection, path: str) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
        raise FileNotFoundError(errno.ENOENT, "nothing is recorded yet", path)
    connection.execute("SELECT 1 FROM pictures LIMIT 1")


_OF_NEWEST_CAMERA: Final = """
    WITH RECURSIVE devices (device) AS (
        SELECT min(device) FROM pictures
        UNION ALL SELECT (SELECT min(device) FROM pictures WHERE device > devices.device)
            FROM devices WHERE device IS NOT NULL
    ),
    newest (device) AS (
        SELECT device FROM devices WHERE device IS NOT NULL ORDER BY
            (SELECT max(datetime) FROM pictures WHERE device = devices.device AND datetime <= :latest) DESC LIMIT 1
    )
    SELECT pictures.* FROM newest CROSS JOIN pictures ON pictures.device = newest.device
    WHERE datetime <= :latest ORDER BY datetime DESC LIMIT :most
    """
"""Each device costs a search in the index of keys, however many pictures it has"""


class OutboxReader:
    """The queries of the outbox. `Outbox` adds the changes."""

    def __init__(self, database: Database, snapshot: _Stamp | None = None) -> None:
        """Read `database`, which this object closes.

        `snapshot` is the stamp of the file if it is read without its log, so that a later writer goes unnoticed.
        """
        self.database = database
        self._snapshot = snapshot
        self._renewed = 0

    @classmethod
    def open_readonly(cls, path: str) -> OutboxReader:
        """Open the file at `path` without ever writing to it.

        Raises FileNotFoundError (also if it has no tables yet), PermissionError or another OSError, or StateError if it
        can't be opened for another reason.
        """
        os.close(open_file(path))  # SQLite's own message doesn't tell these errors apart
        mode, stamp = _mode(path), _stamp(path)
        try:
            return cls._open(path, mode, stamp)
        except (FileNotFoundError, StateError):
            if (mode, stamp) == (_mode(path), _stamp(path)):
                raise
            # A writer has come or gone in the meantime.
            return cls._open(path, _mode(path), _stamp(path))

    def renew(self) -> bool:
        """Open the file again if a writer has come since, and return whether that was so: earlier results may be wrong.

        The number of times is limited. Raises StateError if the file can't be opened any more.
        """
        if self._snapshot is None or self._renewed == _MOST_RENEWALS:
            return False
        path = self.database.path
        mode, stamp = _mode(path), _stamp(path)
        if (mode, stamp) == (_SNAPSHOT, self._snapshot):
            return False
        self._renewed += 1
        with plain_errors(path):
            self.database.close()
            self.database = Database(_connect(path, mode), path)
        self._snapshot = stamp if mode == _SNAPSHOT else None
        return True

    @classmethod
    def open_without_log(cls, path: str) -> OutboxReader:
        """Open the file at `path` without its log, if a full disk has no room for the index that reading the log needs.

        Raises as `open_readonly`.
        """
        return cls._open(path, _SNAPSHOT)

    @classmethod
    def _open(cls, path: str, mode: str, stamp: _Stamp | None = None) -> OutboxReader:
        with plain_errors(path):
            connection = _connect(path, mode)
            try:
                _require_tables(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(Database(connection, path), stamp if mode == _SNAPSHOT else None)

    @classmethod
    def open_beside(cls, path: str) -> OutboxReader:
        """Open the file at `path` in the process that writes to it.

        The other methods would do harm there: they may open the file outside SQLite, and closing it then ends SQLite's
        locks, so that another process may delete the log. Raises StateError.
        """
        with plain_errors(path):
            # If the file is opened read-only, SQLite doesn't check the rules of the tables.
            connection = _connect(path, "mode=rw")
            connection.execute("PRAGMA query_only = ON")
        return cls(Database(connection, path))

    @classmethod
    def open_damaged(cls, path: str) -> OutboxReader:
        """Open a damaged file; one that was cut short can be read up to its end."""
        with plain_errors(path):
            connection = _connect(path, _mode(path))
            # Nothing is written: the option also makes SQLite trust the file's length rather than its header.
            connection.execute("PRAGMA writable_schema = ON")
        return cls(Database(connection, path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        """Yield the pictures in these states (in any state, if none is given), by datetime, then path."""
        wanted = list(states)
        where = f"WHERE state IN ({', '.join('?' * len(wanted))})" if wanted else ""
        query = f"SELECT * FROM pictures {where} ORDER BY datetime, folder, name"
        yield from self.database.pictures(query, wanted)

    def salvage(self) -> Iterator[Picture]:
        """Yield the readable pictures of a damaged outbox, in the order in which they were recorded."""
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
        """Return the first picture behind an id, or None if it was the last. Raises StateError."""
        rows = self.database.rows("SELECT * FROM pictures WHERE id > ? ORDER BY id LIMIT 1", (after,))
        picture = next(map(self.database.picture, map(repair, rows)), None)
        if picture is not None and picture.id <= after:
            raise damaged(self.database.path, f"the ids of pictures are in no order behind {after}")
        return picture

    def _readable_behind(self, after: int) -> int:
        """Return an id behind which a picture can be read, found by growing steps; `after` itself if there is none.

        To try each id would take a minute. At most one readable picture in 32 is missed.
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
        """Yield the uploaded pictures whose copy at the destination is missing or wrong, by datetime."""
        query = "SELECT * FROM pictures WHERE state = 'uploaded' AND reason IS NOT NULL ORDER BY datetime, folder, name"
        yield from self.database.pictures(query)

    def at(self, path: str) -> Picture | None:
        """Return the picture recorded at a path, relative to the image dir."""
        return self.database.at(path)

    def named(self, name: str) -> list[Picture]:
        """Return the pictures with this file name, in any folder."""
        return list(self.database.pictures("SELECT * FROM pictures WHERE name = ?", (column(name),)))

    def history(self, picture: Picture) -> list[Event]:
        """Return the history of a picture, the oldest event first."""
        rows = self.database.rows("SELECT at, state, why FROM history WHERE picture_id = ? ORDER BY id", (picture.id,))
        with self.database.damage_told():
            return list(map(to_event, rows))

    def oldest_pending(self) -> str | None:
        """Return the datetime of the oldest picture that is still to be sent."""
        query = "SELECT min(datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
        oldest: str | None = self.database.value(query)
        return oldest

    def last_upload(self) -> float | None:
        """Return the Unix time of the newest receipt."""
        return self.database.number("SELECT max(uploaded_at) FROM pictures")

    def destination(self, url: str) -> Destination:
        """Return the last answer of the destination at `url`."""
        return destination_at(self.database, url)

    def hold(self) -> Hold | None:
        """Return the hold that is recorded; None if there is none, or if an earlier release wrote the outbox."""
        if not self.database.value("SELECT count(*) FROM sqlite_master WHERE name = 'hold'"):
            return None
        for row in self.database.rows("SELECT * FROM hold"):
            with self.database.damage_told():
                return to_hold(row)
        return None

    def of_newest_camera(self, latest: str, most: int) -> list[Picture]:
        """Return the last pictures of the device that took the newest one, the newest first.

        Pictures dated after `latest` don't count.
        """
        return list(self.database.pictures(_OF_NEWEST_CAMERA, {"latest": latest, "most": most}))

    def inspect(self) -> None:
        """Check the whole file and every value in it. Raises OutboxDamagedError if something is wrong."""
        if (fault := self.database.fault()) is not None:
            raise damaged(self.database.path, fault)
        for table, read in _TABLES.items():
            for row in self.database.rows(f"SELECT * FROM {table}"):
                with self.database.damage_told():
                    read(row)
