"""Tells whether the service gets on with its work, or whether a part of it hangs and only a new start can help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ..journal.events import Kind, log_event

SCANS: Final = 3
"""Intervals between scans in which one has to be finished."""


class Limits(NamedTuple):
    """Seconds without any progress after which a part counts as hanging.

    They are long: slow work must be let finish, as it would be as slow again after a new start.
    """

    intake: float = 300.0
    """at one file, or at the list of one folder: a failing card takes its time"""
    store: float = 900.0
    """at one picture, for a store: it may lie on a slow disk, or be in use by others"""
    server: float = 300.0
    """past a request's deadline, or without any request, for a server"""
    watch: float = 120.0
    """in which no watch could be set up"""
    scan: float = 1800.0
    """without a scan's end or a new picture, or `SCANS` intervals if these are longer"""
    away: float = 60.0
    """for which folders that were there may be away, where systemd can start the service anew"""


class _Part(NamedTuple):
    problem: str
    silence: Callable[[], float]
    limit: float


class Health:
    """Judges the parts added to it; a part that was found to hang never counts as well again."""

    def __init__(self) -> None:
        """Know no part yet."""
        self._parts: list[_Part] = []
        self.problem: str | None = None
        """the first part found to hang, and for how long"""

    def add(self, problem: str, silence: Callable[[], float], limit: float) -> None:
        """Judge a part by its `silence()` in seconds: above `limit`, it has the `problem`, as "the intake hangs"."""
        self._parts.append(_Part(problem, silence, limit))

    def is_well(self) -> bool:
        """Return whether every part gets on; log the first time that one doesn't."""
        if self.problem is None:
            self.problem = next(self._problems(), None)
            if self.problem is not None:
                log_event(Kind.STUCK, f"{self.problem}: the service has to be started anew", reason=self.problem)
        return self.problem is None

    def _problems(self) -> Iterator[str]:
        for part in self._parts:
            if (silence := part.silence()) > part.limit:
                yield f"{part.problem} for {silence:.0f} s"
