"""Receipts that come shortly after one another, recorded together: each durable step costs a flush and some pages.

One that comes alone is recorded at once. Until one is recorded its picture counts as being sent: a power cut only has
the destination asked for it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..models import Picture

SHORTLY: Final = 1.0
"""Seconds within which the next receipt is to come, and for which one waits for others at most"""


class Receipt(NamedTuple):
    """What proves that the destination holds a picture."""

    picture: Picture
    md5: str
    """of what it holds"""
    stored: bool
    """whether it took the picture just now, rather than held it already"""


class Receipts:
    """Those that wait to be recorded. One thread brings them; any may see to it that none waits for too long."""

    def __init__(self, record: Callable[[Sequence[Receipt]], None], monotonic: Callable[[], float]) -> None:
        """Have them recorded by `record`, in one step; where that fails they go on waiting."""
        self._record = record
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._waiting: list[Receipt] = []
        self._since = 0.0
        self._last_at: float | None = None

    def add(self, receipt: Receipt) -> None:
        """Record it, and all that wait, unless more are to be expected. Raises StateError."""
        with self._lock:
            now = self._monotonic()
            is_alone = self._last_at is None or now - self._last_at >= SHORTLY
            self._last_at = now
            if not self._waiting:
                self._since = now
            self._waiting.append(receipt)
            if is_alone:
                self.settle()
            else:
                self.settle_if_late()

    def settle_if_late(self) -> None:
        """Record those that wait if the first has waited for long enough. Raises StateError."""
        with self._lock:
            if self._monotonic() - self._since >= SHORTLY:
                self.settle()

    def settle(self) -> None:
        """Record those that wait. Raises StateError."""
        with self._lock:
            if self._waiting:
                self._record(self._waiting)
                self._waiting = []

    def drop(self) -> None:
        """Forget those that wait: their pictures are to be asked for again."""
        with self._lock:
            self._waiting = []
