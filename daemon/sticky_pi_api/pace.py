"""Decides how many pictures are on their way up at a time: several only where each takes but a moment.

What several pictures gain is that the link is busy while servers are at work and answers under way. On a slow link that
is little, and they share what one would get: a trap that is awake for a minute would end with a part of each, time and
again, and with none of them sent.
"""

from __future__ import annotations

import math
from typing import Final

QUICK: Final = 5.0
"""Seconds that a picture may take, had it the link for itself, for others to go beside it"""


class Pace:
    """What a client knows of its link, from the last picture that went up."""

    def __init__(self, most: int) -> None:
        """Let at most so many pictures be on their way up at a time; one, until it is known how long that takes."""
        self._most = most
        self._seconds = math.inf

    @property
    def at_once(self) -> int:
        """How many pictures may be on their way up now."""
        return self._most if self._seconds <= QUICK else 1

    def took(self, seconds: float, beside: int) -> None:
        """Learn how long a picture took to go up, beside so many others."""
        self._seconds = seconds / (1 + beside)
