"""Decide whether the queue is held: in certain hours of the day, or while the battery is low."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ..clock import PLATFORM_START
from ..models import Hold, HoldCause
from ..wording import counted

if TYPE_CHECKING:
    from ..config.model import HoldConfig

LONG: Final = 3 * 86400.0
"""Seconds after which a hold counts as trouble"""

GAIN: Final = 10
"""Percent points that the battery has to gain until a hold by it ends"""

LOOK_EVERY: Final = 60.0
"""Seconds between two looks at a battery that is low"""

IGNORED: Final = "[hold] hours are ignored, as the trap's clock isn't set"

_DAY: Final = 86400


def decide(
    rules: HoldConfig, now: float, battery: float | None, previous: Hold | None, *, clock_is_set: bool
) -> Hold | None:
    """Return the hold in force at `now` (Unix time); None where pictures may be sent.

    `battery` is in percent, None where it is unknown; `previous` is the last decision. A hold that goes on from one
    cause to the next keeps its beginning. As the hours of a clock that isn't set are wrong, they hold nothing.
    """
    hold = _by_battery(rules.battery_below, now, battery, previous)
    if hold is None and clock_is_set:
        hold = _by_hours(rules.hours, now)
    if hold is not None and previous is not None and _lasts(previous, now):
        return hold._replace(since=previous.since)
    return hold


def next_look(rules: HoldConfig, now: float, hold: Hold | None) -> float | None:
    """Return the seconds after which `decide` may decide otherwise, whatever happens to the pictures until then."""
    if hold is None:
        begins = (begin for begin, _ in _spans(rules.hours))
        return min((_DAY - (now - begin) % _DAY for begin in begins), default=None)
    if hold.until is None:
        return LOOK_EVERY if hold.cause is HoldCause.BATTERY else None
    return max(0.0, hold.until - now)


def problems(rules: HoldConfig, hold: Hold | None, now: float) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a hold that lasts too long, or keeps the hours from working, and how to correct it."""
    if hold is not None and now - hold.since >= LONG:
        days = counted(int((now - hold.since) // _DAY), "day")
        yield (
            f"held for {days}: {hold.reason}",
            "`sudo sticky-pi-uploader retry --all` sends in spite of that; if it is too strict, change [hold]",
        )
    if rules.hours and not clock_is_set(now):
        yield IGNORED, "set the clock, and keep it with a clock chip or a time server"


def clock_is_set(now: float) -> bool:
    """Return whether the clock says a time at which there can be pictures."""
    return now >= PLATFORM_START


def _by_battery(below: int | None, now: float, battery: float | None, previous: Hold | None) -> Hold | None:
    if below is None or battery is None:
        return None
    enough = min(100, below + GAIN)
    was_low = previous is not None and previous.cause is HoldCause.BATTERY
    if battery >= (enough if was_low else below):
        return None
    reason = f"the battery fell below {below} %, and sending goes on once it has {enough} % ([hold] battery_below)"
    return Hold(HoldCause.BATTERY, reason, now, None)


def _by_hours(hours: Sequence[str], now: float) -> Hold | None:
    second, left = int(now // 1), 0
    # Hours may overlap, or follow each other: the hold ends where none of them goes on. At most once around the clock.
    while left < _DAY and (more := max((_left(span, second + left) for span in _spans(hours)), default=0)):
        left += more
    if not left:
        return None
    until = None if left >= _DAY else float(second + left)
    return Hold(HoldCause.HOURS, "nothing is sent in these hours ([hold] hours)", now, until)


def _left(span: tuple[int, int], second: int) -> int:
    """Return how many seconds are left of a span of the day; 0 outside it."""
    begin, length = span
    return max(0, length - (second - begin) % _DAY)


def _spans(hours: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the begin of each of the hours, in seconds of the day, and their length in seconds."""
    for each in hours:
        begin, end = (int(text[:2]) * 3600 + int(text[3:]) * 60 for text in each.split("-"))
        yield begin, (end - begin) % _DAY or _DAY


def _lasts(previous: Hold, now: float) -> bool:
    """Return whether a hold is still in force; its times mean nothing after the clock was set."""
    has_begun = previous.since <= now and clock_is_set(previous.since) == clock_is_set(now)
    return has_begun and (previous.until is None or now < previous.until)
