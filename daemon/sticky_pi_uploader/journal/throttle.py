"""Says which of repeated trouble is news: its beginning, another reason, once an hour as long as it lasts, its end.

However much of one kind there is, and however often it is met with, that is a handful of lines an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..clock import span

REMIND_AFTER: Final = 3600.0
"""Seconds after which trouble that goes on is told again."""

MOST: Final = 4
"""Times that trouble of one kind is told in so many seconds, whatever it is about."""

FORGET_AFTER: Final = 86400.0
"""Seconds after which trouble that wasn't met with again is forgotten, though nobody said that it is over."""


class Spell(NamedTuple):
    """How long some trouble has lasted, in words that follow what is said of it."""

    times: int
    """that it was met with"""
    seconds: float
    """since the first of them"""
    others: int = 0
    """how many there are besides with trouble of the same kind"""

    def __str__(self) -> str:
        """Give nothing the first time, else as in " (7 times in 1.5 h; as 3 others)"."""
        told = [f"{self.times} times in {span(self.seconds)}"] if self.times > 1 else []
        told += [f"as {self.others} other{'s' if self.others > 1 else ''}"] if self.others else []
        return f" ({'; '.join(told)})" if told else ""


class _Trouble:
    __slots__ = ("met_at", "reason", "since", "times", "told")

    def __init__(self, since: float) -> None:
        self.since = self.met_at = since
        self.times = 0
        self.reason = ""
        self.told: dict[str, float] = {}
        """when each reason was told last"""


class Repeats:
    """Trouble of one kind; what it is about, a folder or a picture, is its subject."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Measure time with a clock that nobody sets."""
        self._monotonic = monotonic
        self._troubles: dict[str, _Trouble] = {}
        self._told: list[float] = []

    def again(self, subject: str, reason: str) -> Spell | None:
        """Take note of trouble; returns what to add when it is told now, or None when it is no news."""
        now = self._monotonic()
        trouble = self._meet(subject, now)
        trouble.reason = reason
        self._told = [at for at in self._told if now - at < REMIND_AFTER]
        if now - trouble.told.get(reason, now - REMIND_AFTER) < REMIND_AFTER or len(self._told) >= MOST:
            return None
        trouble.told = {why: at for why, at in trouble.told.items() if now - at < REMIND_AFTER} | {reason: now}
        self._told.append(now)
        return Spell(trouble.times, now - trouble.since, len(self._troubles) - 1)

    def over(self, subject: str) -> Spell | None:
        """Take note that trouble is over, if there was any; returns how long it lasted where it was told."""
        trouble = self._troubles.pop(subject, None)
        if trouble is None or not trouble.told:
            return None
        return Spell(trouble.times, self._monotonic() - trouble.since, len(self._troubles))

    def __contains__(self, subject: str) -> bool:
        """Say whether there is trouble with it, told or not."""
        return subject in self._troubles

    def reasons(self) -> list[tuple[str, str]]:
        """Return each subject that there is trouble with, and the latest reason; any thread may call this."""
        return [(subject, trouble.reason) for subject, trouble in list(self._troubles.items())]

    def _meet(self, subject: str, now: float) -> _Trouble:
        if subject not in self._troubles:
            old = [each for each, trouble in self._troubles.items() if now - trouble.met_at >= FORGET_AFTER]
            for each in old:
                del self._troubles[each]
            self._troubles[subject] = _Trouble(now)
        trouble = self._troubles[subject]
        trouble.met_at = now
        trouble.times += 1
        return trouble
