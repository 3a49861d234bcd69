"""The sequence of one camera's pictures: how often it takes one, and when it didn't."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import Final, NamedTuple

LEARNT_FROM: Final = 3
"""Pictures from which on an interval can be told"""

MISSED: Final = 1.5
"""Intervals between two pictures from which on one is missing between them"""

SHORTEST: Final = 1.0
"""Seconds; what follows sooner was not taken by the camera's timer"""


class Gap(NamedTuple):
    """A time in which pictures were to be expected, and there are none."""

    begins: float
    """Unix time of the last picture before it"""
    ends: float | None
    """that of the first one after it; None where there is none yet"""
    missing: int
    """how many pictures, by the interval"""


def learn_interval(times: Sequence[float]) -> float | None:
    """Return the seconds between two pictures as a rule, of sorted Unix times; None where there are too few.

    Half of all pictures followed the one before within it, so that neither gaps nor pictures by hand matter.
    """
    steps = [after - before for before, after in pairwise(times) if after - before >= SHORTEST]
    return median_low(steps) if len(steps) >= LEARNT_FROM - 1 else None


def gaps(times: Sequence[float], interval: float, now: float) -> list[Gap]:
    """Return the gaps in sorted Unix times, the one that is still open `now` included."""
    found = [Gap(before, after, _missing(before, after, interval)) for before, after in pairwise(times)]
    if times:
        found.append(Gap(times[-1], None, _missing(times[-1], now, interval)))
    return [gap for gap in found if gap.missing]


def _missing(before: float, after: float, interval: float) -> int:
    steps = (after - before) / interval
    return 0 if steps < MISSED else max(1, round(steps) - 1)
