"""Limit the log lines about repeated trouble: log its start, a new reason, its end, and once an hour while it lasts.

So one kind of trouble takes a few lines an hour, however often it occurs and however many files it concerns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..clock import span
from ..wording import counted

REMIND_AFTER: Final = 3600.0
"""Seconds after which trouble that lasts is logged again"""

MOST: Final = 4
"""Most log lines about trouble of one kind in that time, for all subjects together"""

FORGET_AFTER: Final = 86400.0
"""Seconds after which trouble that didn't occur again is forgotten, although nobody reported its end"""


class Spell(NamedTuple):
    """The number of times that trouble occurred, and its duration; as text, the end of a log line."""

    times: int
    seconds: float
    """since the first time"""
    others: int = 0
    """number of other subjects with trouble of the same kind"""

    def __str__(self) -> str:
        """Return "" the first time, and text such as " (7 times in 1.5 h; as 3 others)" later."""
        parts = [f"{self.times} times in {span(self.seconds)}"] if self.times > 1 else []
        parts += [f"as {counted(self.others, 'other')}"] if self.others else []
        return f" ({'; '.join(parts)})" if parts else ""


class _Trouble:
    __slots__ = ("met_at", "reason", "since", "times", "told")

    def __init__(self, since: float) -> None:
        self.since = self.met_at = since
        self.times = 0
        self.reason = ""
        self.told: dict[str, float] = {}
        """the time when each reason was last logged"""


class Repeats:
    """Trouble of one kind, by subject: a folder or a picture."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._troubles: dict[str, _Trouble] = {}
        self._told: list[float] = []

    def again(self, subject: str, reason: str) -> Spell | None:
        """Record that trouble occurred; return the end of the log line, or None where nothing is to be logged now."""
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
        """Record that trouble is over; return the end of the log line, or None where it was never logged."""
        trouble = self._troubles.pop(subject, None)
        if trouble is None or not trouble.told:
            return None
        return Spell(trouble.times, self._monotonic() - trouble.since, len(self._troubles))

    def __contains__(self, subject: str) -> bool:
        """Return whether there is trouble with a subject, logged or not."""
        return subject in self._troubles

    def reasons(self) -> list[tuple[str, str]]:
        """Return each subject with trouble, and the latest reason; any thread may call this."""
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
