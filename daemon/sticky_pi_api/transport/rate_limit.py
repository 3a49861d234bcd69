"""Limit the rate of all uploads of a client together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LARGEST_BLOCK = 65536
"""Bytes that are sent at once, with or without a limit"""

_WINDOW = 10.0
_SHARE = 0.95
"""The part of the rate that bodies get; requests' heads and TLS need the rest"""


class RateLimit:
    """Make blocks wait for each other, so that no 10 s have more than 10 · `rate` bytes in them."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Limit to `rate` bytes a second, at least 1000; None is no limit. `clock` is monotonic, in seconds."""
        if rate is not None and rate < 1000:  # noqa: PLR2004 - the least that the configuration takes
            raise ValueError(f"max_rate is {rate}; it must be at least 1000 bytes a second")
        self.block = LARGEST_BLOCK if rate is None else int(min(LARGEST_BLOCK, max(512, rate / 10)))
        """most bytes for one call of `wait`"""
        # One block more than the pace may fall into a window.
        self._pace = None if rate is None else _SHARE * (rate - self.block / _WINDOW)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def wait(self, size: int) -> None:
        """Wait until `size` bytes, at most `block`, may be sent."""
        if self._pace is None:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + size / self._pace
        if start > now:
            self._sleep(start - now)
