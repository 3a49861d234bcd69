"""How much may still be sent before a deadline, going by how fast the last pictures went."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from ..models import Picture

MARGIN: Final = 1.2
"""Times what a picture should take that there have to be: links aren't steady"""


class Allowance:
    """Knows the rate of one destination; until it does, one picture may go, for it to be known."""

    def __init__(self, left: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Give what can be sent in `left()` seconds; where that is infinite, all of it."""
        self._left = left
        self._monotonic = monotonic
        self._seconds_a_byte = 0.0
        self._began_at = self._first_at = 0.0
        self._sent = 0

    def fitting(self, pictures: Sequence[Picture]) -> int:
        """Tell how many of these can be sent in time, in this order."""
        left = self._left()
        if left == math.inf:
            return len(pictures)
        if not self._seconds_a_byte:
            return min(1, len(pictures)) if left > 0 else 0
        return sum(total * self._seconds_a_byte * MARGIN <= left for total in accumulate(_sizes(pictures)))

    def begin(self) -> None:
        """Note that sending begins."""
        self._began_at, self._first_at, self._sent = self._monotonic(), math.inf, 0

    def sent(self, picture: Picture, seconds: float | None = None) -> None:
        """Note that a picture went all the way, in so many seconds where that is known.

        A login, or a server that has to warm up first, then says nothing of how long the others take.
        """
        began_at = self._began_at if seconds is None else self._monotonic() - seconds
        self._first_at = min(self._first_at, began_at)
        self._sent += next(_sizes([picture]))

    def end(self) -> None:
        """Note that sending ended, and learn from what was sent."""
        if self._sent:
            self._seconds_a_byte = (self._monotonic() - self._first_at) / self._sent


def _sizes(pictures: Sequence[Picture]) -> Iterator[int]:
    return (1 if picture.fingerprint is None else picture.fingerprint.size for picture in pictures)
