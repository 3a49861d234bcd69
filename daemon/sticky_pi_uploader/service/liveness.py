"""Detect that a part of the service hangs, so that only a restart helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ..journal.events import Kind, log_event

SCANS: Final = 3
"""Intervals between scans within which a scan must end"""


class Limits(NamedTuple):
    """Seconds without progress after which a part counts as hanging.

    They are long: slow work must be allowed to finish, as it would be as slow after a restart.
    """

    intake: float = 300.0
    """for one file, or the list of one folder: a failing card is slow"""
    store: float = 900.0
    """for one picture, if sent to a store: its disk may be slow, or other processes may use it"""
    server: float = 300.0
    """past a request's deadline, or without a request, if pictures are sent to a server"""
    watch: float = 120.0
    """without a watch of the image folder"""
    scan: float = 1800.0
    """without a scan's end or a new picture, or `SCANS` intervals if these are longer"""
    away: float = 60.0
    """during which folders that were present may be missing, if systemd can restart the service"""


class _Part(NamedTuple):
    problem: str
    silence: Callable[[], float]
    limit: float


class Health:
    """Judge whether the added parts hang; a part that hung once never counts as well again."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self.problem: str | None = None
        """the first part found to hang, and for how long"""

    def add(self, problem: str, silence: Callable[[], float], limit: float) -> None:
        """Add a part with the `problem` "the intake hangs", say, once its `silence()` exceeds `limit`; in seconds."""
        self._parts.append(_Part(problem, silence, limit))

    def is_well(self) -> bool:
        """Return whether no part hangs; log the first one that does."""
        if self.problem is None:
            self.problem = next(self._problems(), None)
            if self.problem is not None:
                log_event(Kind.STUCK, f"{self.problem}: the service has to be started anew", reason=self.problem)
        return self.problem is None

    def _problems(self) -> Iterator[str]:
        for part in self._parts:
            if (silence := part.silence()) > part.limit:
                yield f"{part.problem} for {silence:.0f} s"
