"""Makes room on the card: which pictures may go, and when. How one goes is for `removal`.

Pictures that the destination has go `keep_days` after their upload, or as soon as less than `min_free` of the disk is
free, the oldest first; never one without a receipt, in conflict, rejected or suspect, unless the owner names those.
What was removed is remembered for `keep_record_days`, thumbnails included.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_api.filesystem.store_folder import file_systems

from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from ..models import Picture, State
from ..outbox import RetentionRecords
from ..state_dir.disk import disk_space
from ..state_dir.thumbnails import ThumbnailFolder
from .remover import Removal

log = logging.getLogger(__name__)

BATCH: Final = 100
"""Pictures that the destination is asked for at once"""

INTERVAL: Final = 3600.0
"""Seconds between two passes through all that may go"""

PRESSED_INTERVAL: Final = 300.0
"""Seconds between two looks while there is too little space and nothing more may go"""

DAY: Final = 86400.0

_FILLING: Final = "the disk"
_NOT_REMOVED: Final = "removal"


class Policy(NamedTuple):
    """What may go, and when."""

    keep_days: int | None
    """days after its upload for which a picture stays; None: nothing is ever removed"""
    min_free: Callable[[int], int]
    """says how many bytes are to be free on a disk of so many"""
    keep_record_days: int
    """days for which a removed picture is remembered"""
    also_remove: Collection[str] = ()
    """of `suspect`, `conflict` and `rejected`, those that may go as well"""

    @property
    def states(self) -> list[State]:
        """The states in which a picture may go."""
        return [State.UPLOADED, *(state for state in (State.CONFLICT, State.REJECTED) if state in self.also_remove)]


class Retention:
    """Keeps one image dir's disk from filling; `step` does a little of it."""

    def __init__(
        self,
        records: RetentionRecords,
        thumbnails: ThumbnailFolder,
        removal: Removal,
        policy: Policy,
        *,
        image_dir: str,
        store: str | None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look after the disk of `image_dir`; `store` is the destination's folder, where that is an embedded store."""
        self._records = records
        self._thumbnails = thumbnails
        self._removal = removal
        self._policy = policy
        self._image_dir = image_dir
        self._store = store
        self._clock = clock
        self._after: tuple[str, int] | None = None
        self._repeats = Repeats(monotonic)

    def step(self) -> float:
        """Remove what may go of the next few pictures; returns the seconds until the next step is worth it."""
        self._records.date_anew()
        self._forget()
        obstacle = self._why_not()
        if obstacle is None and (batch := self._next()):
            obstacle = self._remove(batch)
            if obstacle is None:
                return 0.0
        self._after = None
        pressed = self.is_pressed()
        self._tell(obstacle, pressed=pressed)
        return PRESSED_INTERVAL if pressed else INTERVAL

    def is_pressed(self) -> bool:
        """Tell whether less is free than should be; False where the disk can't be asked."""
        found = disk_space(self._image_dir)
        return found is not None and found.is_under(self._policy.min_free)

    def _why_not(self) -> str | None:
        """Say why nothing may be removed at all."""
        if self._policy.keep_days is None:
            return "[retention] keep_days isn't set, so nothing is removed"
        if self._store is not None:
            try:
                same = file_system_id(self._image_dir) in file_systems(self._store)
            except OSError as error:
                return f"the store in {self._store} can't be reached: {error.strerror}"
            if same:
                return "the destination is a store on the same disk, so nothing is removed"
        return None

    def _next(self) -> list[Picture]:
        """Return the next few pictures that may go, unless the destination or the file says otherwise."""
        batch = self._records.removable(
            states=self._policy.states,
            suspect="suspect" in self._policy.also_remove,
            before=None if self.is_pressed() else self._clock() - float(self._policy.keep_days or 0) * DAY,
            after=self._after,
            most=BATCH,
        )
        if batch:
            self._after = (batch[-1].datetime or "", batch[-1].id)
        return batch

    def _remove(self, batch: list[Picture]) -> str | None:
        """Remove pictures; says what keeps it from that."""
        from sticky_pi_api.exceptions import StickyPiError

        pressed = self.is_pressed()
        try:
            # Pressed, only as many as it takes: the others may stay for their time.
            self._removal.remove(batch, enough=lambda: pressed and not self.is_pressed())
        except PermissionError as error:
            return f"{error.filename} can't be removed: permission denied; see the README on retention"
        except OSError as error:
            return f"{error.filename or 'a picture'} can't be removed: {error.strerror}"
        except StickyPiError as error:
            return f"the destination can't be asked whether it has them: {error}"
        return None

    def _tell(self, obstacle: str | None, *, pressed: bool) -> None:
        """Say what keeps pictures from being removed, and whether that fills the disk; now and then while it does."""
        if pressed:
            why = obstacle or "no picture on it may be removed"
            if (spell := self._repeats.again(_FILLING, why)) is not None:
                extra = about(Kind.FILLING, folder=self._image_dir, reason=why)
                what = "the disk of %s fills: less than %s are free, and %s%s"
                log.error(what, self._image_dir, self._least(), why, spell, extra=extra)
            return
        self._repeats.over(_FILLING)
        if obstacle is None or self._policy.keep_days is None:
            self._repeats.over(_NOT_REMOVED)
        elif (spell := self._repeats.again(_NOT_REMOVED, obstacle)) is not None:
            extra = about(Kind.NOT_REMOVED, folder=self._image_dir, reason=obstacle)
            log.warning("no picture is removed: %s%s", obstacle, spell, extra=extra)

    def _least(self) -> str:
        """Say how much is to be free, of what there is too little of."""
        found = disk_space(self._image_dir)
        least = self._policy.min_free(found.total) if found is not None else 0
        if found is None or found.free < least:
            return f"{least} bytes"
        return f"{found.least_inodes(least)} inodes"

    def _forget(self) -> None:
        for md5 in self._records.forget(self._clock() - self._policy.keep_record_days * DAY, BATCH):
            self._thumbnails.remove(md5)
