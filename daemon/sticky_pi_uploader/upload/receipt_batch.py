"""Receipts that come shortly after one another are recorded in one durable step: each step costs a flush.

A receipt that comes alone is recorded at once. Until its receipt is recorded, a picture counts as being sent: after a
power cut, it is one more of those that the destination is asked for before anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..models import Picture

SHORTLY: Final = 1.0
"""Seconds: a receipt that follows another within this time waits for more of them, about as long"""


class Receipt(NamedTuple):
    """The proof that the destination holds a picture, byte for byte."""

    picture: Picture
    stored: bool
    """whether the destination took the picture just now; False if it held it already"""


class ReceiptBatch:
    """The receipts that wait to be recorded."""

    def __init__(self, record: Callable[[Sequence[Receipt]], None], monotonic: Callable[[], float]) -> None:
        """Start empty; `record` records receipts in one step, and where it fails they stay here."""
        self._record = record
        self._monotonic = monotonic
        self._waiting: list[Receipt] = []
        self._since = 0.0
        self._last_at = -math.inf

    def add(self, receipt: Receipt) -> None:
        """Add a receipt; record all receipts unless more are expected soon. Raises StateError."""
        now = self._monotonic()
        is_alone = now - self._last_at >= SHORTLY
        self._last_at = now
        if not self._waiting:
            self._since = now
        self._waiting.append(receipt)
        if is_alone or now - self._since >= SHORTLY:
            self.settle()

    def settle(self) -> None:
        """Record the receipts that wait. Raises StateError."""
        if self._waiting:
            self._record(self._waiting)
            self._waiting = []

    def drop(self) -> None:
        """Forget the receipts that wait: the destination is asked for their pictures again."""
        self._waiting = []
