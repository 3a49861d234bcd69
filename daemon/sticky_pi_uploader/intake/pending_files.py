"""Files that are no pictures as they stand: each is read again, until it is one or has stopped changing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..models import Fingerprint

UNCHANGED_FOR: Final = 1.0
"""Seconds after which a file that is no picture, and hasn't changed, is believed to stay as it is."""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two reads of a file that goes on changing without becoming a picture."""


class _Pending(NamedTuple):
    """A file that was no picture when it was read; times are monotonic seconds."""

    fingerprint: Fingerprint | None
    read_at: float
    due_at: float
    pause: float


class PendingFiles:
    """The files to read again, by path, and when; for one thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start with none."""
        self._monotonic = monotonic
        self._files: dict[str, _Pending] = {}

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._files)

    def __contains__(self, path: str) -> bool:
        """Tell whether a file is to be read again."""
        return path in self._files

    def is_unchanged(self, path: str, fingerprint: Fingerprint) -> bool:
        """Tell whether a file is pending, and looks as it did when it was read."""
        file = self._files.get(path)
        return file is not None and file.fingerprint == fingerprint

    def has_settled(self, path: str, fingerprint: Fingerprint) -> bool:
        """Tell whether a file was the same when it was read before, long enough ago."""
        return self.is_unchanged(path, fingerprint) and self._monotonic() - self._files[path].read_at >= UNCHANGED_FOR

    def postpone(self, path: str, fingerprint: Fingerprint | None) -> None:
        """Have a file read again; the pause doubles each time."""
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
        """Tell whether each was read more than once, so that waiting for it may take long; True if none is pending."""
        return all(file.pause > UNCHANGED_FOR for file in self._files.values())
