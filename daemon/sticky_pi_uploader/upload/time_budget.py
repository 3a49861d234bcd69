"""Predict how many pictures can still be sent before a deadline, by the rate of the last ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from ..models import Picture

MARGIN: Final = 1.2
"""Factor on the predicted time: links aren't steady"""


class TimeBudget:
    """The rate of one destination; until it is known, one picture may be sent to measure it."""

    def __init__(self, left: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Spend `left()` seconds; where that is infinite, everything fits."""
        self._left = left
        self._monotonic = monotonic
        self._seconds_a_byte = 0.0
        self._began_at = self._first_at = 0.0
        self._sent = 0

    def fitting(self, pictures: Sequence[Picture]) -> int:
        """Return how many of these can be sent in time, in this order."""
        left = self._left()
        if left == math.inf:
            return len(pictures)
        if not self._seconds_a_byte:
            return min(1, len(pictures)) if left > 0 else 0
        sizes = accumulate(map(_size, pictures))
        return sum(total * self._seconds_a_byte * MARGIN <= left for total in sizes)

    def begin(self) -> None:
        """Note that a batch begins."""
        self._began_at, self._first_at, self._sent = self._monotonic(), math.inf, 0

    def sent(self, picture: Picture, seconds: float | None = None) -> None:
        """Note that a picture was sent whole, in this many seconds where that is known.

        Then a slow login, or a server that warms up first, doesn't count as time of the pictures.
        """
        began_at = self._began_at if seconds is None else self._monotonic() - seconds
        self._first_at = min(self._first_at, began_at)
        self._sent += _size(picture)

    def end(self) -> None:
        """Note that the batch ended, and learn the rate from what was sent."""
        if self._sent:
            self._seconds_a_byte = (self._monotonic() - self._first_at) / self._sent


def _size(picture: Picture) -> int:
    return 1 if picture.fingerprint is None else picture.fingerprint.size
