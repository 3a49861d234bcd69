"""A little of the disk, put by in the state folder and given up when there is no more: the outbox can then be written.

On a full disk SQLite can't even open it, and so nothing that was sent could be removed to make room. Of the inodes two
are put by, one with the space and one with an empty file: SQLite makes as many files beside the outbox.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final

SIZE: Final = 1 << 20
"""Bytes put by: room for the outbox's log while pictures are removed"""

LEAST: Final = 1 << 18
"""Bytes that have to be free for the outbox to be opened and written to"""

NO_INODES: Final = "no further file can be made on its disk, as all of its inodes are used"

_PLENTY: Final = 64 * SIZE
"""Bytes free from which on some can be put by; the camera itself stops below 50 MB"""


_BESIDE: Final = ("outbox.db-wal", "outbox.db-shm")
"""What SQLite makes as it opens the outbox"""

_PLENTY_INODES: Final = 16
"""Inodes free from which on some can be put by"""


class Reserve:
    """The reserve of one state folder."""

    def __init__(self, state_dir: str) -> None:
        """Name the folder; nothing is done yet."""
        self._folder = state_dir
        self._path = os.path.join(state_dir, "reserve")
        self._second = os.path.join(state_dir, "reserve-inode")
        self._trial = os.path.join(state_dir, ".reserve-trial")

    def is_enough(self) -> bool:
        """Tell whether the outbox can be written to, if need be by giving the reserve up."""
        return self._size() >= LEAST or self._has_space()

    def has_inodes(self) -> bool:
        """Tell whether SQLite can make its files beside the outbox, if need be by giving the reserve up."""
        put_by = sum(map(os.path.lexists, (self._path, self._second)))
        return put_by >= self._wanted_inodes() or self._are_inodes_left()

    def use_if_needed(self) -> None:
        """Give it up where nothing else is left; what can't be done doesn't matter here."""
        if not (self._are_inodes_left() and self._has_space()):
            for path in (self._path, self._second):
                with suppress(OSError):
                    os.unlink(path)

    def put_by(self) -> None:
        """Put some by where there is plenty; what can't be done doesn't matter here."""
        with suppress(OSError):
            if self._inodes(_PLENTY_INODES) < _PLENTY_INODES:
                return
            if self._size() != SIZE and self._is_plenty():
                _allocate(self._path, SIZE)
            if self._size() == SIZE and not os.path.lexists(self._second):
                _allocate(self._second, 0)

    def _has_space(self) -> bool:
        """Tell whether there is what is needed; where space is scarce only trying tells, as the system keeps some."""
        try:
            if not self._is_plenty():
                _allocate(self._trial, LEAST)
                os.unlink(self._trial)
        except OSError as error:
            with suppress(OSError):
                os.unlink(self._trial)
            return error.errno not in (errno.ENOSPC, errno.EDQUOT)
        return True

    def _is_plenty(self) -> bool:
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize >= _PLENTY

    def _are_inodes_left(self) -> bool:
        try:
            wanted = self._wanted_inodes()
            return self._inodes(wanted) >= wanted
        except OSError:
            return True

    def _wanted_inodes(self) -> int:
        return sum(not os.path.lexists(os.path.join(self._folder, name)) for name in _BESIDE)

    def _inodes(self, unlimited: int) -> int:
        """Count the free ones; `unlimited` on a file system that counts none, as btrfs and FAT."""
        disk = os.statvfs(self._folder)
        return disk.f_favail if disk.f_files else unlimited

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0


def _allocate(path: str, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
