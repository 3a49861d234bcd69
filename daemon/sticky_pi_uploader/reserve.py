"""A little of the disk, put by in the state folder and given up when there is no more: the outbox can then be written.

On a full disk SQLite can't even open it, and so nothing that was sent could be removed to make room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

SIZE: Final = 1 << 20
"""Bytes put by: room for the outbox's log while pictures are removed"""

LEAST: Final = 1 << 18
"""Bytes that have to be free for the outbox to be opened and written to"""

_PLENTY: Final = 64 * SIZE
"""Bytes free from which on some can be put by; the camera itself stops below 50 MB"""

_NAME: Final = "reserve"


class Reserve:
    """The reserve of one state folder."""

    def __init__(self, state_dir: str) -> None:
        """Name the folder; nothing is done yet."""
        self._folder = state_dir
        self._path = os.path.join(state_dir, _NAME)

    def is_enough(self) -> bool:
        """Tell whether the outbox can be written to, if need be by giving the reserve up. Raises OSError."""
        return self._free() + self._size() >= LEAST

    def use_if_needed(self) -> None:
        """Give it up where nothing else is left; what can't be done doesn't matter here."""
        with suppress(OSError):
            if self._free() < LEAST:
                os.unlink(self._path)

    def put_by(self) -> None:
        """Put some by where there is plenty; what can't be done doesn't matter here."""
        with suppress(OSError):
            if self._size() == SIZE or self._free() < _PLENTY:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)

    def _free(self) -> int:
        disk = os.statvfs(self._folder)
        # What is kept for root is of no use to others.
        return (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0
