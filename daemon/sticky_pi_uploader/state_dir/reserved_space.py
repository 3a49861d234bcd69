"""Space reserved in the state folder, given up when the disk is full: the outbox can then be opened and written.

On a full disk SQLite can't even open it, so uploaded pictures couldn't be removed to make room. Two inodes are reserved
as well, one with the space and one with an empty file: SQLite makes two files beside the outbox.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.sqlite.errors import LEAST_FREE

from .disk import USED_UP, DiskSpace, disk_space

SIZE: Final = 1 << 20
"""Bytes reserved: enough for the outbox's log while pictures are removed"""

_PLENTY: Final = 64 * SIZE
"""Free bytes from which on space is reserved; the camera itself stops below 50 MB"""

_PLENTY_INODES: Final = 16
"""Free inodes from which on some are reserved"""

_BESIDE: Final = ("outbox.db-wal", "outbox.db-shm")
"""Files that SQLite makes as it opens the outbox"""


class Reserve:
    """The reserved space and inodes of one state folder."""

    def __init__(self, state_dir: str) -> None:
        self._folder = state_dir
        self._space = os.path.join(state_dir, "reserve")
        self._inode = os.path.join(state_dir, "reserve-inode")

    def is_enough(self) -> bool:
        """Return whether the outbox can be written, if need be by releasing the reserve."""
        return self._size() >= LEAST_FREE or self._has_space()

    def has_inodes(self) -> bool:
        """Return whether SQLite can make its files beside the outbox, if need be by releasing the reserve."""
        reserved = sum(map(os.path.lexists, (self._space, self._inode)))
        return reserved >= self._wanted_inodes() or self._has_free_inodes()

    def release_if_needed(self) -> None:
        """Remove the reserve where the disk is full otherwise; errors don't matter here."""
        if not (self._has_free_inodes() and self._has_space()):
            for path in (self._space, self._inode):
                with suppress(OSError):
                    os.unlink(path)

    def fill(self) -> None:
        """Reserve space and inodes where the disk has plenty; errors don't matter here."""
        found = disk_space(self._folder)
        if found is None or not found.has_inodes(_PLENTY_INODES):
            return
        with suppress(OSError):
            if self._size() != SIZE and found.free_for_us >= _PLENTY:
                _allocate(open_file(self._space, os.O_WRONLY | os.O_CREAT, 0o600), SIZE)
            if self._size() == SIZE and not os.path.lexists(self._inode):
                os.close(open_file(self._inode, os.O_WRONLY | os.O_CREAT, 0o600))

    def _has_space(self) -> bool:
        """Return whether enough is free, also where the folder can't be asked: then space isn't the problem."""
        found = disk_space(self._folder)
        if found is None or found.free_for_us >= _PLENTY:
            return True
        allocated = self._try_to_allocate(found)
        return found.free_for_us >= LEAST_FREE if allocated is None else allocated

    def _try_to_allocate(self, found: DiskSpace) -> bool | None:
        """Return whether a file without a name gets space: quotas, and the blocks that ext4 keeps, show in no figure.

        None where that can't be tried: in another user's folder, without an inode, or without support for such files.
        """
        try:
            if os.stat(self._folder).st_uid != os.geteuid() or not found.has_inodes(1):
                return None
            _allocate(os.open(self._folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600), LEAST_FREE)
        except OSError as error:
            return False if error.errno in USED_UP else None
        return True

    def _has_free_inodes(self) -> bool:
        found = disk_space(self._folder)
        return found is None or found.has_inodes(self._wanted_inodes())

    def _wanted_inodes(self) -> int:
        return sum(not os.path.lexists(os.path.join(self._folder, name)) for name in _BESIDE)

    def _size(self) -> int:
        try:
            status = os.stat(self._space, follow_symlinks=False)
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _allocate(descriptor: int, size: int) -> None:
    """Allocate space for an open file, and close it. Raises OSError."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
