"""Predict how many pictures can still be sent before a deadline, by the rate of the last batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from ..models import Picture

MARGIN: Final = 1.2
"""Factor on the predicted time, as the speed of a link varies"""


class TimeBudget:
    """The upload rate of one destination; until it is known, one picture may be sent to measure it."""

    def __init__(self, left: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Allow `left()` seconds; if that is infinite, every picture fits."""
        self._left = left
        self._monotonic = monotonic
        self._seconds_per_byte = 0.0
        self._began_at = self._first_at = 0.0
        self._sent = 0

    def count_fitting(self, pictures: Sequence[Picture]) -> int:
        """Return how many of these pictures can be sent in time, in this order."""
        left = self._left()
        if left == math.inf:
            return len(pictures)
        if not self._seconds_per_byte:
            return min(1, len(pictures)) if left > 0 else 0
        sizes = accumulate(map(_size, pictures))
        return sum(total * self._seconds_per_byte * MARGIN <= left for total in sizes)

    def begin(self) -> None:
        """Start to measure a batch."""
        self._began_at, self._first_at, self._sent = self._monotonic(), math.inf, 0

    def sent(self, picture: Picture, seconds: float | None = None) -> None:
        """Count a picture that was sent, in this many seconds if that is known.

        With `seconds`, a slow login or a server that warms up first doesn't count as time of the pictures.
        """
        began_at = self._began_at if seconds is None else self._monotonic() - seconds
        self._first_at = min(self._first_at, began_at)
        self._sent += _size(picture)

    def end(self) -> None:
        """End the batch, and calculate the rate from the pictures that were sent."""
        if self._sent:
            self._seconds_per_byte = (self._monotonic() - self._first_at) / self._sent


def _size(picture: Picture) -> int:
    return 1 if picture.fingerprint is None else picture.fingerprint.size
