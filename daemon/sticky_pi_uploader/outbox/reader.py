"""Reads the outbox: rows become `Picture`s; what `status`, `list` and `explain` ask, beside a running daemon too."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from ..exceptions import OutboxDamagedError, StateError
from ..models import Destination, DestinationState, Event, Fingerprint, Picture, State

_DAMAGE = ("malformed", "not a database", "encrypted", "no such table", "no such column", "disk image", "decode")
_HOPELESS = 20_000  # rows in a row that can't be read; one damaged inner page holds fewer


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
        text = str(error)
        if any(sign in text for sign in _DAMAGE):
            raise OutboxDamagedError(f"the outbox {path} is damaged: {text}") from error
        if "full" in text:
            raise StateError(f"no space left for the outbox {path}: free some on that disk") from error
        raise StateError(f"the outbox {path} can't be used: {text}") from error


def split_path(path: str) -> tuple[str | bytes, str | bytes]:
    """Split a path into its folder and name as the columns hold them: text, or bytes where it isn't UTF-8."""
    folder, name = os.path.split(path)
    return _column(folder), _column(name)


def _column(text: str) -> str | bytes:
    return text if text.isascii() or _is_unicode(text) else os.fsencode(text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _text(column: str | bytes) -> str:
    return column if isinstance(column, str) else os.fsdecode(column)


def to_picture(row: sqlite3.Row) -> Picture:
    """Make a Picture of a whole row of `pictures`."""
    fingerprint = None if row["size"] is None else Fingerprint(row["size"], row["mtime_ns"], row["inode"])
    return Picture(
        id=row["id"],
        path=os.path.join(_text(row["folder"]), _text(row["name"])),
        device=row["device"],
        datetime=row["datetime"],
        md5=row["md5"],
        state=State(row["state"]),
        attempts=row["attempts"],
        misses=row["misses"],
        failed_since=row["failed_since"],
        refused_after=row["refused_after"],
        not_before=row["not_before"],
        reason=row["reason"],
        receipt_md5=row["receipt_md5"],
        uploaded_at=row["uploaded_at"],
        removed_at=row["removed_at"],
        suspect=row["suspect"],
        metadata=None if row["metadata"] is None else json.loads(row["metadata"]),
        fingerprint=fingerprint,
        file_system=row["file_system"],
    )


def _connect(path: str) -> sqlite3.Connection:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    # Without a writer there is no WAL index, and only the owner could make one: read the file as it lies.
    mode = "mode=ro" if os.path.exists(path + "-wal") else "immutable=1"
    connection = sqlite3.connect(f"file:{quoted}?{mode}", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def _require_tables(connection: sqlite3.Connection, path: str) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
        raise FileNotFoundError(errno.ENOENT, "nothing is recorded yet", path)
    connection.execute("SELECT 1 FROM pictures LIMIT 1")


class OutboxReader:
    """The questions that change nothing. `Outbox` adds the verbs."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Read through `connection`, which this object closes; `path` is for messages."""
        self._connection = connection
        self._path = path

    @classmethod
    def open_readonly(cls, path: str) -> OutboxReader:
        """Open the file at `path` without ever writing to it.

        Raises FileNotFoundError (also where its tables are still to be made), PermissionError, or StateError where
        it can't be opened otherwise.
        """
        with open(path, "rb"):  # SQLite's own message doesn't tell these two from the rest
            pass
        with plain_errors(path):
            connection = _connect(path)
            try:
                _require_tables(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    @classmethod
    def open_damaged(cls, path: str) -> OutboxReader:
        """Open what `open_readonly` found damaged: a file that was cut short can then be read up to there."""
        with plain_errors(path):
            connection = _connect(path)
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
        return {state: found.get(state.value, 0) for state in State}

    def pictures(self, states: Iterable[State] = ()) -> Iterator[Picture]:
        """Yield the pictures in these states (none named: in any), by datetime, then path."""
        wanted = list(states)
        where = f"WHERE state IN ({', '.join('?' * len(wanted))})" if wanted else ""
        query = f"SELECT * FROM pictures {where} ORDER BY datetime, folder, name"
        yield from map(self._picture, self._rows(query, wanted))

    def salvage(self) -> Iterator[Picture]:
        """Yield the pictures of a damaged outbox that can still be read, in the order in which they were recorded."""
        after = failures = 0
        while failures < _HOPELESS:
            try:
                rows = self._rows("SELECT * FROM pictures WHERE id > ? ORDER BY id LIMIT 1", (after,))
                picture = next(map(self._picture, rows), None)
            except StateError:
                after += 1
                failures += 1
                continue
            if picture is None:
                return
            after, failures = picture.id, 0
            yield picture

    def at(self, path: str) -> Picture | None:
        """Find the picture recorded at this path, relative to the image dir."""
        rows = self._rows("SELECT * FROM pictures WHERE folder = ? AND name = ?", split_path(path))
        return next(map(self._picture, rows), None)

    def named(self, name: str) -> list[Picture]:
        """Find the pictures with this file name, whatever folder they are in."""
        rows = self._rows("SELECT * FROM pictures WHERE name = ?", (_column(name),))
        return list(map(self._picture, rows))

    def history(self, picture: Picture) -> list[Event]:
        """Tell what happened to a picture, oldest first."""
        rows = self._rows("SELECT at, state, why FROM history WHERE picture_id = ? ORDER BY id", (picture.id,))
        with self._sound():
            return [Event(float(row["at"]), State(row["state"]), row["why"]) for row in rows]

    def oldest_pending(self) -> str | None:
        """Give the datetime of the oldest picture still to be sent."""
        oldest: str | None = self._value("SELECT min(datetime) FROM pictures WHERE state IN ('pending', 'uploading')")
        return oldest

    def last_upload(self) -> float | None:
        """Give the Unix time of the newest receipt."""
        newest: float | None = self._value("SELECT max(uploaded_at) FROM pictures")
        return newest

    def destination(self, url: str) -> Destination:
        """Tell how the destination at `url` answered when it was last asked."""
        for row in self._rows("SELECT * FROM destinations WHERE url = ?", (url,)):
            with self._sound():
                state = DestinationState(row["state"])
                return Destination(url, state, row["reason"], row["retry_at"], row["failures"], bool(row["holds_all"]))
        return Destination(url)

    def _picture(self, row: sqlite3.Row) -> Picture:
        with self._sound():
            return to_picture(row)

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError) as error:
            raise OutboxDamagedError(f"the outbox {self._path} is damaged: {error}") from error

    def _rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        with plain_errors(self._path):
            # `yield from` would close the cursor with the generator, perhaps after the connection: that raises.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row

    def _value(self, query: str, values: Any = ()) -> Any:
        return next(self._rows(query, values))[0]
