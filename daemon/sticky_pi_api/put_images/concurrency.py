"""Decides how many pictures are on their way up at a time: several only where each takes but a moment.

The others that are sent at a time wait for their answers meanwhile. Were all of them on their way up, they would share
the link, end together, and leave it idle while the server is at work on them. On a slow link even two are too many: a
trap that is awake for a minute would end with a part of each, time and again, and with none of them sent.
"""

from __future__ import annotations

import math
from typing import Final

QUICK: Final = 5.0
"""Seconds that a picture may take, had it the link for itself, for others to go beside it"""


class Pace:
    """What a client knows of its link, from the last picture that went up."""

    def __init__(self, most: int) -> None:
        """Let at most `most` pictures be sent at a time, half of them on their way up.

        It is one until it is known how long that takes.
        """
        self._most = max(1, most // 2)
        self._seconds = math.inf

    @property
    def at_once(self) -> int:
        """How many pictures may be on their way up now."""
        return self._most if self._seconds <= QUICK else 1

    def took(self, seconds: float, beside: int) -> None:
        """Learn how long a picture took to go up, beside so many others."""
        self._seconds = seconds / (1 + beside)
