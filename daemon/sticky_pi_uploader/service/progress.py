"""Measure the progress of a `drain` for a terminal: pictures, bytes, rate, and the time left."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.types import Outcome

if TYPE_CHECKING:
    from sticky_pi_api.types import ImageOutcome

    from ..models import Picture
    from .session import Session

PAUSE: Final = 0.1
"""Seconds between two counts of the pictures: in a large outbox, a count takes a moment"""

MEASURED: Final = 20
"""Number of the last pictures from which the rate is measured"""


class Progress(NamedTuple):
    """The progress of a `drain`."""

    recorded: int
    """pictures that were taken in"""
    sent: int
    """pictures that were found or stored at the destination"""
    left: int
    """pictures still to be sent"""
    bytes_sent: int
    """bytes of the pictures that were stored"""
    bytes_left: int
    rate: float | None
    """bytes a second; None if it isn't known yet"""


class ProgressMeter:
    """Measure the progress of a session, and show it after each picture."""

    def __init__(
        self, session: Session, show: Callable[[Progress], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Call `show` with the progress from now on."""
        self._session = session
        self._show = show
        self._monotonic = monotonic
        self._shown_at = -math.inf
        self._sent = self._bytes_sent = 0
        self._unrecorded = deque[int]()
        """bytes of the last pictures, whose receipts the outbox doesn't have yet"""
        self._measured = deque[tuple[float, int]](maxlen=MEASURED + 1)
        """monotonic time, and the bytes sent until then"""
        session.uploader.on_outcome = self._count

    def update(self, *, at_once: bool = False) -> None:
        """Show the progress, unless it was shown a moment ago. Raises StateError."""
        now = self._monotonic()
        if not at_once and now - self._shown_at < PAUSE:
            return
        self._shown_at = now
        left, size = self._session.outbox.count_left()
        while len(self._unrecorded) > self._sent - self._session.uploader.sent:
            self._unrecorded.popleft()
        self._show(
            Progress(
                self._session.intake.recorded,
                self._sent,
                max(0, left - len(self._unrecorded)),
                self._bytes_sent,
                max(0, size - sum(self._unrecorded)),
                self._rate(now),
            )
        )

    def _count(self, picture: Picture, result: ImageOutcome) -> None:
        size = 0 if picture.fingerprint is None else picture.fingerprint.size
        if result.outcome is Outcome.STORED:
            if not self._measured:
                self._measured.append((self._monotonic() - (result.seconds or 0.0), 0))
            self._bytes_sent += size
            self._measured.append((self._monotonic(), self._bytes_sent))
        if result.outcome in (Outcome.STORED, Outcome.HELD):
            self._sent += 1
            self._unrecorded.append(size)
        self.update()

    def _rate(self, now: float) -> float | None:
        if not self._measured:
            return None
        began_at, before = self._measured[0]
        seconds = now - began_at
        return (self._bytes_sent - before) / seconds if seconds > 0 and self._bytes_sent > before else None
