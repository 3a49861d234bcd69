"""Find the gaps in the sequence of one camera's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

LEARNT_FROM: Final = 3
"""Fewest pictures from which an interval is learnt"""

MISSED: Final = 1.5
"""Shortest distance of two pictures, in intervals, between which one is missing"""

SHORTEST: Final = 1.0
"""Shortest interval in seconds; a picture that follows sooner wasn't taken by the camera's timer"""

ENDED: Final = 14 * 86400.0
"""Seconds without a picture after which a camera was taken down, most likely, so that nothing is expected of it"""

ENDED_INTERVALS: Final = 3
"""Fewest intervals without a picture for the same: long ones take longer"""


class Gap(NamedTuple):
    """A time without the pictures that were expected."""

    begins: float
    """Unix time of the last picture before it"""
    ends: float | None
    """Unix time of the first picture after it; None where there is none yet"""
    missing: int | None
    """number of pictures, by the interval; None after so long a silence that none were expected"""


def learn_interval(times: Sequence[float]) -> float | None:
    """Return the usual seconds between two pictures, of sorted Unix times; None where there are too few.

    It is the median, so that neither gaps nor pictures taken by hand matter.
    """
    steps = [after - before for before, after in pairwise(times) if after - before >= SHORTEST]
    return sorted(steps)[(len(steps) - 1) // 2] if len(steps) >= LEARNT_FROM - 1 else None


def gaps(times: Sequence[float], interval: float | None, now: float) -> list[Gap]:
    """Return the gaps in sorted Unix times, with one that is still open `now`.

    Without an interval, these are only the gaps after which the camera counts as taken down.
    """
    found = [Gap(before, after, _missing(before, after, interval)) for before, after in pairwise(times)]
    if times:
        found.append(Gap(times[-1], None, _missing(times[-1], now, interval)))
    return [gap for gap in found if gap.missing != 0]


def _missing(before: float, after: float, interval: float | None) -> int | None:
    if after - before >= (ENDED if interval is None else max(ENDED, ENDED_INTERVALS * interval)):
        return None
    steps = 0.0 if interval is None else (after - before) / interval
    return 0 if steps < MISSED else max(1, round(steps) - 1)
