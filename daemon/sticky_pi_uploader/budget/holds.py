"""Look whether the queue is held, and record and log each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clock import span, utc_text
from ..journal.events import Kind, log_event
from ..models import Hold, HoldCause
from ..outbox import Outbox, OutboxReader
from .battery import battery_level
from .hold import IGNORED, clock_is_set, decide, next_look, problems

if TYPE_CHECKING:
    from ..config import Config


def hold_in_force(config: Config, outbox: OutboxReader, now: float) -> Hold | None:
    """Return the hold in force at `now` (Unix time), for a command that records nothing. Raises StateError."""
    return decide(config.hold, now, _battery(config, outbox, now), outbox.hold(), clock_is_set=clock_is_set(now))


def _battery(config: Config, outbox: OutboxReader, now: float) -> float | None:
    if config.hold.battery_below is None:
        return None
    return battery_level(outbox, now, config.picture_interval)


class Holds:
    """The hold of one session."""

    def __init__(
        self, config: Config, outbox: Outbox, *, has_looked: Callable[[], bool], clock: Callable[[], float] = time.time
    ) -> None:
        """Go on with the recorded hold; `has_looked` returns whether the new pictures on the card are taken in."""
        self._config = config
        self._outbox = outbox
        self._has_looked = has_looked
        self._clock = clock
        self._ignores_hours = False
        self._recorded = outbox.hold()
        self.current: Hold | None = None
        """the hold in force, as it was last decided"""

    def look(self) -> bool:
        """Decide anew; return whether the queue is held. Raises StateError."""
        now, before = self._clock(), self._recorded
        battery = _battery(self._config, self._outbox, now)
        if battery is None and before is not None and before.cause is HoldCause.BATTERY and not self._has_looked():
            battery = 0.0  # a picture that was taken while this program was off may say that it is still low
        is_set = clock_is_set(now)
        self._note_clock(ignores_hours=self._config.hold.hours != () and not is_set)
        hold = decide(self._config.hold, now, battery, before, clock_is_set=is_set)
        if hold != before:
            self._outbox.queue.record_hold(hold)
            self._recorded = hold
            _log(before, hold, now)
        self.current = hold
        return hold is not None

    def wait(self) -> float | None:
        """Return the seconds until the next look is due; None where only another picture can change anything."""
        return next_look(self._config.hold, self._clock(), self.current)

    def problems(self) -> list[str]:
        """Return what is wrong with the hold, or keeps the hours from working."""
        return [what for what, _ in problems(self._config.hold, self.current, self._clock())]

    def _note_clock(self, *, ignores_hours: bool) -> None:
        if ignores_hours and not self._ignores_hours:
            log_event(Kind.HOURS_IGNORED, IGNORED)
        self._ignores_hours = ignores_hours


def _log(before: Hold | None, hold: Hold | None, now: float) -> None:
    if hold is not None:
        log_event(Kind.HOLD, str(hold), reason=hold.reason, until=utc_text(hold.until))
    elif before is not None:
        lasted = span(max(0.0, now - before.since))
        log_event(Kind.HOLD_OVER, f"the hold is over after {lasted}: pictures are sent again", reason=before.reason)
