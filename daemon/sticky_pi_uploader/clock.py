"""The trap's clock, which may be wrong by years and be set at any moment; the text forms of times; heartbeats."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .wording import counted

if TYPE_CHECKING:
    from datetime import datetime

PLATFORM_START: Final = 1_572_566_400.0
"""2019-11-01, as Unix time: no picture of the platform is older, so a clock with an earlier time isn't set"""

_TIMESYNC: Final = "/run/systemd/timesync"
_UTC: Final = "%Y-%m-%dT%H:%M:%SZ"
_UNITS: Final = ((86400, "day", "days"), (3600, "hour", "h"), (60, "minute", "min"), (1, "second", "s"))
"""Length in seconds, name, and abbreviation"""


def is_synchronised(folder: str = _TIMESYNC) -> bool | None:
    """Return whether a time server has set the clock since the boot, by the file of systemd-timesyncd in its `folder`.

    None if systemd-timesyncd isn't running: another program may set the clock, or none.
    """
    if not os.path.isdir(folder):
        return None
    return os.path.exists(os.path.join(folder, "synchronized"))


def utc_text(seconds: float | None) -> str | None:
    """Format a Unix time as YYYY-MM-DDTHH:MM:SSZ; None for None, and for a number that is no time."""
    if seconds is None:
        return None
    try:
        return time.strftime(_UTC, time.gmtime(seconds))
    except (OverflowError, TypeError, ValueError, OSError):
        return None


def datetime_text(moment: datetime) -> str:
    """Format a naive datetime in UTC as YYYY-MM-DDTHH:MM:SSZ."""
    return moment.strftime(_UTC)


def unix_time(stamp: str) -> float:
    """Return the Unix time of YYYY-MM-DDTHH:MM:SSZ. Raises ValueError for other text."""
    import calendar  # as strptime does

    return float(calendar.timegm(time.strptime(stamp, _UTC)))


def span(seconds: float) -> str:
    """Format a duration in seconds with a short unit that suits it: 1.5 h."""
    length, _, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds / length:.{0 if unit == 's' else 1}f} {unit}"


def when(moment: float, now: float) -> str:
    """Format a Unix time as its distance from `now`: in 2 hours, 3 days ago, now."""
    distance = abs(moment - now)
    for length, name, _ in _UNITS:
        if count := int(distance // length):
            text = counted(count, name)
            return f"in {text}" if moment > now else f"{text} ago"
    return "now"


class Heartbeat:
    """Measure for how long a part of the service has made no progress; one thread beats, any thread may ask."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at rest."""
        self._monotonic = monotonic
        self._at: float | None = None

    def beat(self) -> None:
        """Record progress."""
        self._at = self._monotonic()

    def rest(self) -> None:
        """Record that there is nothing to do."""
        self._at = None

    def silence(self) -> float:
        """Return the seconds since the last progress; 0 at rest."""
        at = self._at
        return 0.0 if at is None else self._monotonic() - at
