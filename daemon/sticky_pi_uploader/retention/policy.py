"""Make room on the card: decide which pictures are removed, and when; `remover` removes them.

Pictures that the destination has are removed `keep_days` after their upload, or as soon as less than `min_free` of the
disk is free, the oldest first. A picture without a receipt, in conflict, rejected or suspect stays, unless the
configuration allows its removal. The records and thumbnails of removed pictures are kept for `keep_record_days`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sticky_pi_api.filesystem.safe_open import file_system_id

from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats
from ..models import Picture, State
from ..outbox import RetentionRecords
from ..state_dir.disk import disk_space
from ..state_dir.thumbnails import ThumbnailFolder

if TYPE_CHECKING:
    from ..config.model import RetentionConfig
    from .remover import Remover

BATCH_SIZE: Final = 100
"""Pictures that the destination is asked for at once"""

INTERVAL: Final = 3600.0
"""Seconds between two passes through all pictures that may be removed"""

LOW_SPACE_INTERVAL: Final = 300.0
"""Seconds between two checks while there is too little space and no further picture may be removed"""

DAY: Final = 86400.0

_FILLING: Final = "the disk"
_NOT_REMOVED: Final = "removal"


class Retention:
    """Keep the disk of one image dir from filling, one batch of pictures per `step`."""

    def __init__(
        self,
        records: RetentionRecords,
        thumbnails: ThumbnailFolder,
        remover: Remover | None,
        config: RetentionConfig,
        *,
        image_dir: str,
        store: str | None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make room on the disk of `image_dir`; `store` is the destination's folder if that is an embedded store.

        `remover` may be None if `config` lets no picture be removed.
        """
        self._records = records
        self._thumbnails = thumbnails
        self._remover = remover
        self._config = config
        self._image_dir = image_dir
        self._store = store
        self._clock = clock
        self._after: tuple[str, int] | None = None
        self._repeats = Repeats(monotonic)
        self.obstacle: str | None = None
        """why the files of pictures that are to be removed couldn't be removed when that was last tried"""

    def step(self) -> float:
        """Remove some of the next pictures if they may be removed; return the seconds until the next step."""
        self._records.date_anew()
        self._forget()
        obstacle = self._obstacle()
        if obstacle is None:
            if batch := self._next():
                obstacle = self._remove(batch)
                if obstacle is None:
                    return 0.0
            else:
                self.obstacle = None
        self._after = None
        is_low = self.is_space_low()
        self._log_obstacle(obstacle, is_low=is_low)
        return LOW_SPACE_INTERVAL if is_low else INTERVAL

    def is_space_low(self) -> bool:
        """Return whether less space is free than `min_free`; False if the disk can't be asked."""
        found = disk_space(self._image_dir)
        return found is not None and found.is_under(self._config.min_free.of)

    def _obstacle(self) -> str | None:
        """Return the reason why no picture at all may be removed; None if there is no obstacle."""
        if self._config.keep_days is None:
            return "[retention] keep_days isn't set, so nothing is removed"
        if self._store is not None:
            from sticky_pi_api.filesystem.store_folder import file_systems

            try:
                same = file_system_id(self._image_dir) in file_systems(self._store)
            except OSError as error:
                return f"the store in {self._store} can't be reached: {error.strerror}"
            if same:
                return "the destination is a store on the same disk, so nothing is removed"
        return None

    def _next(self) -> list[Picture]:
        """Return the next pictures that may be removed, as far as the outbox knows."""
        also = self._config.also_remove
        batch = self._records.removable(
            states=[State.UPLOADED, *(state for state in (State.CONFLICT, State.REJECTED) if state in also)],
            suspect="suspect" in also,
            before=None if self.is_space_low() else self._clock() - float(self._config.keep_days or 0) * DAY,
            after=self._after,
            most=BATCH_SIZE,
        )
        if batch:
            self._after = (batch[-1].datetime or "", batch[-1].id)
        return batch

    def _remove(self, batch: list[Picture]) -> str | None:
        """Remove pictures; return the reason if that isn't possible."""
        from sticky_pi_api.exceptions import StickyPiError

        assert self._remover is not None  # noqa: S101 - as `keep_days` is set
        was_low = self.is_space_low()
        obstacle: str | None = None
        try:
            # For lack of space, only as many as necessary are removed: the others stay for their days.
            self._remover.remove(batch, enough=lambda: was_low and not self.is_space_low())
        except PermissionError as error:
            obstacle = f"{error.filename} can't be removed: permission denied; see the README on retention"
        except OSError as error:
            obstacle = f"{error.filename or 'a picture'} can't be removed: {error.strerror}"
        except StickyPiError as error:
            return f"the destination can't be asked whether it has them: {error}"
        self.obstacle = obstacle
        return obstacle

    def _log_obstacle(self, obstacle: str | None, *, is_low: bool) -> None:
        """Log why pictures aren't removed, and whether the disk fills; repeat it now and then while that lasts."""
        if is_low:
            why = obstacle or "no picture on it may be removed"
            if (spell := self._repeats.again(_FILLING, why)) is not None:
                what = f"the disk of {self._image_dir} fills: less than {self._wanted()} are free, and {why}{spell}"
                log_event(Kind.FILLING, what, folder=self._image_dir, reason=why)
            return
        self._repeats.over(_FILLING)
        if obstacle is None or self._config.keep_days is None:
            self._repeats.over(_NOT_REMOVED)
        elif (spell := self._repeats.again(_NOT_REMOVED, obstacle)) is not None:
            what = f"no picture is removed: {obstacle}{spell}"
            log_event(Kind.NOT_REMOVED, what, folder=self._image_dir, reason=obstacle)

    def _wanted(self) -> str:
        """Return how many bytes or inodes should be free, whichever are too few."""
        found = disk_space(self._image_dir)
        least = self._config.min_free.of(found.total) if found is not None else 0
        if found is None or found.free < least:
            return f"{least} bytes"
        return f"{found.least_inodes(least)} inodes"

    def _forget(self) -> None:
        for md5 in self._records.forget(self._clock() - self._config.keep_record_days * DAY, BATCH_SIZE):
            self._thumbnails.remove(md5)
