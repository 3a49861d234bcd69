"""Tells whether the service gets on with its work, or whether a part of it hangs and only a new start can help."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ..journal.events import Kind, about

log = logging.getLogger(__name__)

SCANS: Final = 3
"""Intervals between scans in which one has to be finished."""


class Limits(NamedTuple):
    """Seconds without any progress after which a part is believed to hang.

    They are long: what is slow must be let finish, as it would be as slow again after a new start.
    """

    intake: float = 300.0
    """at one file, or at the list of one folder: a failing card takes its time"""
    store: float = 900.0
    """at one picture, for a store: it may lie on a slow disk, or be in use by others"""
    server: float = 300.0
    """past a request's deadline, or without any request, for a server"""
    watch: float = 120.0
    """in which a watch couldn't be laid"""
    scan: float = 1800.0
    """without a scan's end or a new picture, or `SCANS` intervals if these are longer"""
    away: float = 60.0
    """for which folders that were there may be away, where systemd can start the service anew"""


class Pulse:
    """When something last got on with its work; one thread beats, any may ask."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at rest."""
        self._monotonic = monotonic
        self._at: float | None = None

    def beat(self) -> None:
        """Note that it gets on."""
        self._at = self._monotonic()

    def rest(self) -> None:
        """Note that there is nothing to get on with."""
        self._at = None

    def silence(self) -> float:
        """Tell for how many seconds it hasn't got on; 0 at rest."""
        at = self._at
        return 0.0 if at is None else self._monotonic() - at


class _Part(NamedTuple):
    what: str
    silence: Callable[[], float]
    limit: float


class Health:
    """Judges the parts that it is told of; what was found to hang is never believed to be well again."""

    def __init__(self) -> None:
        """Know no part yet."""
        self._parts: list[_Part] = []
        self.problem: str | None = None
        """what hangs, once it was found"""

    def add(self, what: str, silence: Callable[[], float], limit: float) -> None:
        """Judge by `silence()` too, in seconds; above `limit` it is said that `what` is so for that long."""
        self._parts.append(_Part(what, silence, limit))

    def is_well(self) -> bool:
        """Tell whether every part gets on; the first time that one doesn't, say so."""
        if self.problem is None:
            self.problem = next(self._problems(), None)
            if self.problem is not None:
                extra = about(Kind.STUCK, reason=self.problem)
                log.critical("%s: the service has to be started anew", self.problem, extra=extra)
        return self.problem is None

    def _problems(self) -> Iterator[str]:
        for part in self._parts:
            if (silence := part.silence()) > part.limit:
                yield f"{part.what} for {silence:.0f} s"
