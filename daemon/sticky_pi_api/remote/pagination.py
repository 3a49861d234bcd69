"""Splits the time of a series that is asked of a server, so that no single answer is huge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sticky_pi_api.exceptions import AnswerTooLargeError
from sticky_pi_api.types import EARLIEST, Row

ROWS: Final = 5000
"""How many rows an answer should have: some 2.5 MB, or 5 MB with links to the pictures"""

_FIRST = timedelta(days=1)
_LONGEST = timedelta(days=32)
_SHORTEST = timedelta(seconds=1)

Ask = Callable[[datetime, datetime], list[Row]]
"""Returns the rows from a time to before another, both of whole seconds. Raises RemoteError."""


def whole(ask: Ask, start: datetime, end: datetime, now: datetime) -> Iterator[list[Row]]:
    """Yield a series in one answer, or, where that is too large for one, in stretches."""
    if start >= end:
        return
    try:
        rows = ask(start, end)
    except AnswerTooLargeError:
        yield from in_stretches(ask, start, end, now)
    else:
        yield rows


def in_stretches(ask: Ask, start: datetime, end: datetime, now: datetime) -> Iterator[list[Row]]:
    """Yield a series in answers of about ROWS, one stretch of time after the other."""
    bounds = [start, *sorted(bound for bound in {EARLIEST, now} if start < bound < end), end]
    for begin, until in pairwise(bounds):
        # Before any trap existed, and from `now` on, there is next to nothing: one answer has it.
        is_empty = until <= EARLIEST or begin >= now
        first, longest = (until - begin, until - begin) if is_empty else (_FIRST, _LONGEST)
        yield from _stretches(ask, begin, until, first, longest)


def _stretches(ask: Ask, start: datetime, end: datetime, span: timedelta, longest: timedelta) -> Iterator[list[Row]]:
    while start < end:
        until = end if end - start <= span else start + span
        try:
            rows = ask(start, until)
        except AnswerTooLargeError:
            if until - start <= _SHORTEST:
                raise
            span = _seconds((until - start) / 2)
            continue
        yield rows
        start = until
        # No more than twice as long: where the traps are put out, all of them are.
        span = min(longest, _seconds(span * min(2, max(1 / 8, ROWS / max(1, len(rows))))))


def _seconds(span: timedelta) -> timedelta:
    """Return a span in whole seconds, which is all that servers know."""
    return max(_SHORTEST, timedelta(seconds=span // _SHORTEST))
