"""Reads the outbox: rows become `Picture`s; what `status`, `list` and `explain` ask, beside a running daemon too."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from ..exceptions import OutboxDamagedError, StateError
from ..models import Destination, DestinationState, Event, Fingerprint, Picture, State

_DAMAGE = ("malformed", "not a database", "encrypted", "no such table", "no such column", "disk image")


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Turn what SQLite raises about the file at `path` into a StateError that says what to do."""
    try:
        yield
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


class OutboxReader:
    """The questions that change nothing. `Outbox` adds the verbs."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Read through `connection`, which this object closes; `path` is for messages."""
        self._connection = connection
        self._path = path

    @classmethod
    def open_readonly(cls, path: str) -> OutboxReader:
        """Open the file at `path` without ever writing to it.

        Raises FileNotFoundError, PermissionError, or StateError where it can't be opened otherwise.
        """
        with open(path, "rb"):  # SQLite's own message doesn't tell these two from the rest
            pass
        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        with plain_errors(path):
            # Without a writer there is no WAL index, and only the owner could make one: read the file as it lies.
            mode = "mode=ro" if os.path.exists(path + "-wal") else "immutable=1"
            connection = sqlite3.connect(f"file:{quoted}?{mode}", uri=True, timeout=10)
            connection.row_factory = sqlite3.Row
            try:
                connection.execute("SELECT 1 FROM pictures LIMIT 1")
            except BaseException:
                connection.close()
                raise
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
        wanted = list(states) or list(State)
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT * FROM pictures WHERE state IN ({marks}) ORDER BY datetime, folder, name"  # noqa: S608
        yield from map(to_picture, self._rows(query, wanted))

    def at(self, path: str) -> Picture | None:
        """Find the picture recorded at this path, relative to the image dir."""
        rows = self._rows("SELECT * FROM pictures WHERE folder = ? AND name = ?", split_path(path))
        return next(map(to_picture, rows), None)

    def named(self, name: str) -> list[Picture]:
        """Find the pictures with this file name, whatever folder they are in."""
        return [to_picture(row) for row in self._rows("SELECT * FROM pictures WHERE name = ?", (_column(name),))]

    def history(self, picture: Picture) -> list[Event]:
        """Tell what happened to a picture, oldest first."""
        rows = self._rows("SELECT at, state, why FROM history WHERE picture_id = ? ORDER BY id", (picture.id,))
        return [Event(row["at"], State(row["state"]), row["why"]) for row in rows]

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
            state = DestinationState(row["state"])
            return Destination(url, state, row["reason"], row["retry_at"], row["failures"])
        return Destination(url)

    def _rows(self, query: str, values: Any = ()) -> Iterator[sqlite3.Row]:
        with plain_errors(self._path):
            yield from self._connection.execute(query, values)

    def _value(self, query: str, values: Any = ()) -> Any:
        return next(self._rows(query, values))[0]
