"""Rank pictures so that those of the lowest ranks, however many, are an even sample of a device's days and hours.

Time is divided into periods. In each, certain points are wanted in a certain order: the period's start, and then the
fractional parts of log2(3), log2(5), log2(7) and so on, each of which splits the longest hole that is left. With any
number of points, no hole is longer than 1.44 times the mean, and no order can promise less (de Bruijn and Erdős, 1949).
The first picture at or after a point fills it, so nothing depends on the camera's interval. A period lasts 3.618 days,
which is far from any simple fraction: each point wanders evenly through the hours of the day.

The sample refines itself. Where a steady share of the pictures can be sent, those below a certain rank go as they come;
where more can be sent, the next ranks fill the holes of the past. Half a year with a picture every 20 minutes, and one
in 12 uploads spent on the newest picture, gave these longest holes, in units of the span divided by the pictures sent,
and these numbers of pictures in the rarest hour of the day, in units of the mean hour (`test_spread` simulates them):

    pictures sent                       longest hole    rarest hour
    500 of 2,232 a month                1.79            0.94
    50 a month                          1.54            0.83
    500 a month, sent once a day        1.79            0.88
    50 a month, sent once a day         1.88            0.75
    500 a month, no network for 20 days 1.66            0.94
    500 a month, of two cameras         1.69, 1.55      0.94, 0.88
    500 a month once a day, newest first 14.6           0.55

Nothing has to know which pictures were sent. In the place of the rank, a choice of the picture in the middle of the
longest hole was simulated, moved by chance within a third of it. It leaves holes of 1.5 to 1.6; but it beats with the
day: the rarest hour has 0.58 of the mean with 50 pictures a month, and 0.1 to 0.4 with 4, 6 or 8 a day.
"""

from __future__ import annotations

import math
import zlib
from datetime import datetime
from typing import Final

PERIOD: Final = 312_598
"""Seconds: 2 + the golden ratio, in days"""

_GOLDEN: Final = 0.618_033_988_749_895
"""By this fraction, periods take turns in filling the same point"""


def rank(device: str, taken_at: str, before: str | None) -> float:
    """Return the rank of a picture, at least 0; the lowest go first.

    `taken_at` and `before` are the datetimes of the picture and of the device's one before it, YYYY-MM-DDTHH:MM:SSZ;
    None for the first picture. Raises ValueError for other text, and TypeError for anything else.
    """
    if before is None:
        return 0.0
    # Each device has its own points: two cameras that work at the same times show different ones.
    shift = zlib.crc32(device.lower().encode())
    period, at = divmod(_seconds(taken_at) + shift, PERIOD)
    since = min(_seconds(before) + shift - period * PERIOD, at - 1)
    turn = period * _GOLDEN % 1
    return turn if since < 0 else _first_point(since / PERIOD, at / PERIOD) + turn


def _first_point(after: float, to: float) -> int:
    """Return the place, from 1, of the first of the points log2(3), log2(5), … with a fractional part in between.

    `after` is at least a second less than `to`, and at least 0, both as parts of a period.
    """
    octave = 1
    while math.floor(octave * 2**to) <= octave * 2**after:
        octave *= 2
    # The first odd number: an even one would have been found in the octave before.
    return (math.floor(octave * 2**after) + 1) // 2


def _seconds(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp())
