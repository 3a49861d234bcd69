"""Find out how much the trap's battery has: from the newest picture, or from the kernel."""

from __future__ import annotations

import math
import os
from typing import Final

from ..clock import unix_time, utc_text
from ..models import Picture
from ..outbox import OutboxReader
from ..sequence import learn_interval

SUPPLIES: Final = "/sys/class/power_supply"

FULL: Final = 100.0
"""Percent"""

FRESH: Final = 3
"""Intervals of the camera for which the value in a picture counts"""

USUAL_INTERVAL: Final = 1200.0
"""Seconds between two pictures of a camera whose interval isn't learnt yet"""

_LEARNT_FROM: Final = 10
"""Last pictures from which it is learnt"""


def battery_level(outbox: OutboxReader, now: float, interval: float | None, supplies: str = SUPPLIES) -> float | None:
    """Return the battery's charge in percent at `now` (Unix time); None where it is unknown.

    `interval` is the number of seconds between two pictures; None: learnt from them. Raises StateError.
    """
    level = _of_newest(outbox.of_newest_camera(utc_text(now) or "", _LEARNT_FROM), now, interval)
    return _of_supplies(supplies) if level is None else level


def _of_newest(pictures: list[Picture], now: float, interval: float | None) -> float | None:
    newest = next((picture for picture in pictures if picture.metadata is not None), None)
    if newest is None or newest.metadata is None:
        return None
    interval = interval or learn_interval(sorted(map(_taken_at, pictures))) or USUAL_INTERVAL
    return _percent(newest.metadata.get("bat")) if now - _taken_at(newest) < FRESH * interval else None


def _taken_at(picture: Picture) -> float:
    try:
        return unix_time(str(picture.datetime))
    except ValueError:  # a damaged row
        return -math.inf


def _of_supplies(folder: str) -> float | None:
    """Return the charge of the emptiest battery of the trap itself, by the files of the kernel."""
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    levels = [level for name in names if (level := _of_supply(os.path.join(folder, name))) is not None]
    return min(levels, default=None)


def _of_supply(folder: str) -> float | None:
    status = _read(folder, "status")
    # A mouse has a battery, too.
    if status == "Unknown" or _read(folder, "scope") == "Device":
        return None
    try:
        level = float(_read(folder, "capacity"))
    except ValueError:
        return None
    return FULL if status == "Full" else _percent(level)


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _percent(value: object) -> float | None:
    """Return a charge that can be; -1 stands for an unknown one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= FULL else None
