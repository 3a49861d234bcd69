"""Ask a server for a series in pages, each for a part of the time, so that no answer is too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sticky_pi_api.exceptions import AnswerTooLargeError
from sticky_pi_api.types import EARLIEST, Row

ROWS_PER_PAGE: Final = 5000
"""Rows that a page should have: some 2.5 MB, or 5 MB with links to the pictures"""

_FIRST = timedelta(days=1)
_LONGEST = timedelta(days=32)
_SHORTEST = timedelta(seconds=1)

Ask = Callable[[datetime, datetime], list[Row]]
"""Return the rows from one datetime until before another, both in whole seconds. Raises RemoteError."""


def in_one_page(ask: Ask, start: datetime, end: datetime, now: datetime) -> Iterator[list[Row]]:
    """Yield a series in one page, or in several where the answer would be too large."""
    if start >= end:
        return
    try:
        yield ask(start, end)
    except AnswerTooLargeError:
        yield from in_pages(ask, start, end, now)


def in_pages(ask: Ask, start: datetime, end: datetime, now: datetime) -> Iterator[list[Row]]:
    """Yield a series in pages of about ROWS_PER_PAGE, the earliest first."""
    bounds = [start, *sorted(bound for bound in {EARLIEST, now} if start < bound < end), end]
    for begin, until in pairwise(bounds):
        # Before any trap existed, and from `now` on, there are hardly any rows: one answer has them.
        is_empty = until <= EARLIEST or begin >= now
        first, longest = (until - begin, until - begin) if is_empty else (_FIRST, _LONGEST)
        yield from _pages(ask, begin, until, first, longest)


def _pages(ask: Ask, start: datetime, end: datetime, span: timedelta, longest: timedelta) -> Iterator[list[Row]]:
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
        # At most twice as long: all traps of a field trip start at once.
        span = min(longest, _seconds(span * min(2, max(1 / 8, ROWS_PER_PAGE / max(1, len(rows))))))


def _seconds(span: timedelta) -> timedelta:
    """Return a span in whole seconds: servers know no fractions."""
    return max(_SHORTEST, timedelta(seconds=span // _SHORTEST))
