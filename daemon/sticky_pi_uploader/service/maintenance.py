"""Maintain the state folder: carry over pictures of earlier outboxes, inspect this one, reserve a little space."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from ..exceptions import StateError
from ..image_dir.pending_removal import is_there
from ..journal.events import Kind, log_event
from ..models import Event, Picture
from ..outbox import OutboxReader, Recovery, RetentionRecords, earlier_ones, outbox_path, remove_earlier, ruins
from ..state_dir.reserved_space import Reserve
from ..state_dir.thumbnails import ThumbnailFolder
from ..wording import counted

INTERVAL: Final = 3600.0
"""Seconds between two steps if no work is left"""

INSPECTED_EVERY: Final = 7 * 86400.0
"""Seconds between two inspections of the whole outbox"""

BATCH: Final = 200
"""Pictures carried over in one transaction, and thumbnails looked up at once"""

ASIDE_KEPT: Final = 10
"""Earlier outboxes that are kept: each may be large, and a failing card damages one after the other"""

DAY: Final = 86400.0

_INSPECTION: Final = "inspection"
_CARRIED_OVER: Final = "carried over: "


class Maintenance:
    """Maintain one state folder; each `step` does a small part."""

    def __init__(
        self,
        recovery: Recovery,
        records: RetentionRecords,
        thumbnails: ThumbnailFolder,
        *,
        image_dir: str,
        state_dir: str,
        keep_record_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Maintain `state_dir`; thumbnails of unknown pictures are kept for `keep_record_days`, as of known ones."""
        self._recovery = recovery
        self._records = records
        self._thumbnails = thumbnails
        self._image_dir = image_dir
        self._path = outbox_path(state_dir)
        self._reserve = Reserve(state_dir)
        self._keep_record_days = keep_record_days
        self._clock = clock
        self.wake = threading.Event()
        """set to have the next step at once"""
        self._inspect_now = recovery.was_left_open
        self._earlier: str | None = None
        self._ruins: Iterator[tuple[Picture, list[Event]]] = iter(())
        self._carried = 0

    def step(self) -> float:
        """Do a small part of the work; return the seconds until the next step.

        Raises OutboxDamagedError if the outbox is damaged, and StateError if it can't be used.
        """
        self._reserve.fill()
        if self._carry_over():
            return 0.0
        if self._is_due():
            self._inspect()
        return INTERVAL

    def inspect_soon(self) -> None:
        """Inspect the whole outbox, with a step at once; any thread may call this."""
        self._inspect_now = True
        self.wake.set()

    def _carry_over(self) -> bool:
        """Record a few pictures that only an earlier outbox has; return False if there are no more."""
        if self._earlier is None:
            self._earlier = next(filter(self._is_new, earlier_ones(self._path)), None)
            if self._earlier is None:
                return False
            self._ruins = ruins(self._earlier, self._is_here)
        why = f"carried over from {os.path.basename(self._earlier)}, as it isn't on the card"
        some = list(islice(self._ruins, BATCH))
        with self._recovery.together():
            self._carried += sum(self._recovery.adopt(picture, history, why) for picture, history in some)
            if len(some) < BATCH:
                self._recovery.note_done(_CARRIED_OVER + os.path.basename(self._earlier))
        if len(some) < BATCH:
            self._end_carrying(self._earlier)
        return True

    def _end_carrying(self, earlier: str) -> None:
        if self._carried:
            nouns = "picture that isn't on the card was", "pictures that aren't on the card were"
            text = f"{counted(self._carried, *nouns)} carried over from {earlier}"
            log_event(Kind.CARRIED_OVER, text, aside=earlier, count=self._carried)
        self._earlier, self._carried = None, 0

    def _is_new(self, earlier: str) -> bool:
        return self._recovery.last_done(_CARRIED_OVER + os.path.basename(earlier)) is None

    def _is_here(self, path: str) -> bool:
        return is_there(self._image_dir, path)

    def _is_due(self) -> bool:
        last = self._recovery.last_done(_INSPECTION)
        # A time in the future was recorded by a clock that was wrong.
        return self._inspect_now or last is None or not 0 <= self._clock() - last < INSPECTED_EVERY

    def _inspect(self) -> None:
        # Before the inspection: a write during the inspection requests another one.
        self._inspect_now = False
        try:
            # Over a separate connection, so that no other thread waits.
            with OutboxReader.open_beside(self._path) as reader:
                reader.inspect()
            self._sweep()
            self._clear_away()
            self._recovery.note_done(_INSPECTION)
        except StateError:
            self._inspect_now = True
            raise

    def _sweep(self) -> None:
        """Remove the thumbnails of unknown pictures."""
        before = self._clock() - self._keep_record_days * DAY
        found = self._thumbnails.older_than(before)
        while some := list(islice(found, BATCH)):
            for md5 in set(some) - self._records.known_md5s(some):
                self._thumbnails.remove(md5)

    def _clear_away(self) -> None:
        """Remove earlier outboxes that are carried over, except the last ones."""
        found = earlier_ones(self._path)
        for earlier in found[: max(0, len(found) - ASIDE_KEPT)]:
            if not self._is_new(earlier):
                remove_earlier(earlier)
