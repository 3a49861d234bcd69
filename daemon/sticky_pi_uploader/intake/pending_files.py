"""Files that aren't complete pictures yet: each is read again until it is a picture, or doesn't change any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..models import Fingerprint

UNCHANGED_FOR: Final = 1.0
"""Seconds without a change after which a file that is no picture is recorded as it is"""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two reads of a file that keeps changing without becoming a picture"""


class _Pending(NamedTuple):
    """A file that was no picture when it was read; times are monotonic seconds."""

    fingerprint: Fingerprint | None
    read_at: float
    due_at: float
    pause: float


class PendingFiles:
    """The files to read again, by path, and when. For one thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._files: dict[str, _Pending] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def is_unchanged(self, path: str, fingerprint: Fingerprint) -> bool:
        """Return whether a file is pending, and has the same fingerprint as when it was read."""
        file = self._files.get(path)
        return file is not None and file.fingerprint == fingerprint

    def has_settled(self, path: str, fingerprint: Fingerprint) -> bool:
        """Return whether a file was the same when it was read before, at least `UNCHANGED_FOR` seconds ago."""
        return self.is_unchanged(path, fingerprint) and self._monotonic() - self._files[path].read_at >= UNCHANGED_FOR

    def postpone(self, path: str, fingerprint: Fingerprint | None) -> None:
        """Plan to read a file again; the pause doubles each time."""
        now, file = self._monotonic(), self._files.get(path)
        pause = UNCHANGED_FOR if file is None else min(LONGEST_PAUSE, 2 * file.pause)
        self._files[path] = _Pending(fingerprint, now, now + pause, pause)

    def discard(self, path: str) -> None:
        """Forget a file, if it is pending."""
        self._files.pop(path, None)

    def due(self) -> list[str]:
        """Return the paths of the files to read now."""
        now = self._monotonic()
        return [path for path, file in self._files.items() if file.due_at <= now]

    def wait(self) -> float | None:
        """Return the seconds until a file is due, or None if none is pending."""
        due = min((file.due_at for file in self._files.values()), default=None)
        return None if due is None else max(0.0, due - self._monotonic())

    def are_all_changing(self) -> bool:
        """Return whether each file was read more than once, so that it may take long; True if none is pending."""
        return all(file.pause > UNCHANGED_FOR for file in self._files.values())
