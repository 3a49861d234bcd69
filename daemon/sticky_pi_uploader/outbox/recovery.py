"""Recover from an outbox that can't be used: put it aside, and carry over the records that only it had.

Pictures that are on the card or at the destination need no record; only those that are in neither place do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.safe_open import BESIDE

from ..clock import datetime_text
from ..exceptions import OutboxDamagedError, OutboxNewerError, StateError
from ..models import Event, Picture, State
from .codec import metadata_text, split_path
from .database import Part
from .reader import OutboxReader

_DAMAGED: Final = ".damaged-"
_NEWER: Final = ".newer-"

_AS_IT_WAS: Final = (
    *("device", "datetime", "md5", "attempts", "reason", "receipt_md5", "uploaded_at", "removed_at", "suspect"),
    *("dismissed_at", "file_system", "clock_synchronised", "reason_code", "got_md5"),
)


class Aside(NamedTuple):
    """An outbox that was put aside."""

    path: str
    """its path now"""
    why: OutboxDamagedError


class Recovery(Part):
    """Pictures carried over from earlier outboxes, and the times of maintenance tasks."""

    @property
    def was_left_open(self) -> bool:
        """Return whether the last process that wrote to the outbox broke off, perhaps in a power cut."""
        return self._database.was_left_open

    def adopt(self, picture: Picture, history: Iterable[Event], why: str) -> bool:
        """Record a picture of an earlier outbox that isn't on the card.

        Return False if something is recorded under its path already, or its row breaks the rules.
        """
        state = State.PENDING if picture.state is State.UPLOADING else picture.state
        folder, name = split_path(picture.path)
        values = {column: getattr(picture, column) for column in _AS_IT_WAS}
        values |= {"folder": folder, "name": name, "state": state.value, "metadata": metadata_text(picture.metadata)}
        # The file of this size is gone; if a file comes back, it is read.
        values |= {"size": picture.fingerprint and picture.fingerprint.size, "mtime_ns": 0, "inode": 0}
        with self._database.writing():
            picture_id = self._database.insert("INSERT OR IGNORE", values)
            if picture_id is None:
                return False
            for event in history:
                self._database.note(picture_id, event.state, event.why, event.at)
            self._database.note(picture_id, state, why)
            return True

    def last_done(self, task: str) -> float | None:
        """Return the Unix time at which a task was last done; None for never."""
        return self._database.number("SELECT max(at) FROM tasks WHERE task = ?", (task,))

    def note_done(self, task: str) -> None:
        """Record that a task was done just now."""
        with self._database.writing() as connection:
            query = "INSERT OR REPLACE INTO tasks (task, at) VALUES (?, ?)"
            connection.execute(query, (task, self._database.clock()))


def put_aside(path: str, why: OutboxDamagedError) -> Aside:
    """Rename an outbox that can't be used; it is kept for its owner to examine.

    Raises StateError if it can't be renamed.
    """
    label = _NEWER if isinstance(why, OutboxNewerError) else _DAMAGED
    aside = stamped = f"{path}{label}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    others = 1
    while os.path.lexists(aside):
        others += 1
        aside = f"{stamped}-{others}"
    try:
        for suffix in ("", *BESIDE):
            if os.path.lexists(path + suffix):
                os.replace(path + suffix, aside + suffix)
    except OSError as failure:
        raise StateError(f"{why}, and can't be put aside: {failure.strerror}") from failure
    return Aside(aside, why)


def earlier_ones(path: str) -> list[str]:
    """List the outboxes that were put aside for the one at `path`, in the order of the times in their names."""
    folder, name = os.path.split(path)
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith((name + _DAMAGED, name + _NEWER))]
    found = [each for each in names if not each.endswith(BESIDE)]
    return [os.path.join(folder, each) for each in sorted(found, key=lambda each: each.partition("-")[2])]


def remove_earlier(earlier: str) -> None:
    """Remove an outbox that was put aside; if that fails, it stays."""
    for suffix in (*BESIDE, ""):
        with suppress(OSError):
            os.unlink(earlier + suffix)


def ruins(path: str, is_here: Callable[[str], bool]) -> Iterator[tuple[Picture, list[Event]]]:
    """Yield the readable pictures of the outbox at `path` whose file isn't here, each with its history.

    `is_here` returns whether the file at a path is there.
    """
    with suppress(StateError, OSError), OutboxReader.open_damaged(path) as reader:
        for picture in reader.salvage():
            if _is_likely(picture) and not is_here(picture.path):
                yield picture, _history(reader, picture)


def _is_likely(picture: Picture) -> bool:
    """Return whether the row matches the picture's name: a damaged row may describe a picture that never existed."""
    from sticky_pi_api.exceptions import FilenameError
    from sticky_pi_api.images.filename import parse_filename

    try:
        device, taken_at = parse_filename(os.path.basename(picture.path))
    except FilenameError:
        return picture.state in (State.REJECTED, State.LOST)
    return picture.datetime == datetime_text(taken_at) and picture.device == device


def _history(reader: OutboxReader, picture: Picture) -> list[Event]:
    try:
        return reader.history(picture)
    except StateError:
        return []
