"""What an earlier outbox knew of pictures that aren't on the card: neither the folder nor the destination tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

from ..exceptions import StateError
from ..models import Event, Picture, State
from .codec import split_path
from .reader import OutboxReader
from .writer import OutboxWriter

_AS_IT_WAS: Final = (
    *("device", "datetime", "md5", "attempts", "reason", "receipt_md5", "uploaded_at", "removed_at", "suspect"),
    *("file_system", "clock_synchronised"),
)


class Salvage(OutboxWriter):
    """The verb of who carries it over."""

    def adopt(self, picture: Picture, history: Iterable[Event], why: str) -> bool:
        """Record what an earlier outbox told of a picture that isn't on the card.

        False where something is recorded under its path already, or its row breaks the rules.
        """
        state = State.PENDING if picture.state is State.UPLOADING else picture.state
        folder, name = split_path(picture.path)
        values = {column: getattr(picture, column) for column in _AS_IT_WAS}
        values |= {"folder": folder, "name": name, "state": state.value, "metadata": _json(picture)}
        # The file that has this size is gone; should one come back, it is read.
        values |= {"size": picture.fingerprint and picture.fingerprint.size, "mtime_ns": 0, "inode": 0}
        with self._writing():
            cursor = self._insert("INSERT OR IGNORE", values)
            if cursor.rowcount == 0:
                return False
            for event in history:
                self._note(cursor.lastrowid, event.state, event.why, event.at)
            self._note(cursor.lastrowid, state, why)
            return True


def ruins(path: str, is_here: Callable[[str], bool]) -> Iterator[tuple[Picture, list[Event]]]:
    """Yield what can be read in the outbox at `path` of pictures whose file isn't here, each with its history.

    `is_here` tells of a path whether its file is there. What can't be read is passed over.
    """
    with suppress(StateError, OSError), OutboxReader.open_damaged(path) as reader:
        for picture in reader.salvage():
            if _is_likely(picture) and not is_here(picture.path):
                yield picture, _history(reader, picture)


def _is_likely(picture: Picture) -> bool:
    """Tell whether the row agrees with the picture's name: one that was damaged may name a picture that never was."""
    from sticky_pi_api.exceptions import FilenameError
    from sticky_pi_api.images.filename import parse_filename

    try:
        device, taken_at = parse_filename(os.path.basename(picture.path))
    except FilenameError:
        return picture.state in (State.REJECTED, State.LOST)
    return picture.datetime == taken_at.strftime("%Y-%m-%dT%H:%M:%SZ") and picture.device == device


def _history(reader: OutboxReader, picture: Picture) -> list[Event]:
    try:
        return reader.history(picture)
    except StateError:
        return []


def _json(picture: Picture) -> str | None:
    return None if picture.metadata is None else json.dumps(picture.metadata)
