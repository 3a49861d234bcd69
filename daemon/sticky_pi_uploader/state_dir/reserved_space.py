"""A little of the disk, put by in the state folder and given up when there is no more: the outbox can then be written.

On a full disk SQLite can't even open it, and so nothing that was sent could be removed to make room. Of the inodes two
are put by, one with the space and one with an empty file: SQLite makes as many files beside the outbox.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.safe_open import LEAST_FREE, open_file

SIZE: Final = 1 << 20
"""Bytes put by: room for the outbox's log while pictures are removed"""

LEAST: Final = LEAST_FREE
"""Bytes that have to be free for the outbox to be opened and written to"""

NO_SPACE: Final = "no space left on its disk"
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
            if self._size() != SIZE and self._free() >= _PLENTY:
                _allocate(open_file(self._path, os.O_WRONLY | os.O_CREAT, 0o600), SIZE)
            if self._size() == SIZE and not os.path.lexists(self._second):
                os.close(open_file(self._second, os.O_WRONLY | os.O_CREAT, 0o600))

    def _has_space(self) -> bool:
        """Tell whether there is what is needed; where it isn't there to be asked, it isn't space that is missing."""
        try:
            free = self._free()
            if free >= _PLENTY:
                return True
            tried = self._try()
        except OSError:
            return True
        return free >= LEAST if tried is None else tried

    def _free(self) -> int:
        """Count the bytes that are free for this user; what root gets is no more than an upper bound."""
        disk = os.statvfs(self._folder)
        return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)

    def _try(self) -> bool | None:
        """Tell by a file without a name whether space can be had: quotas, and what ext4 keeps, show in no figure.

        None where that can't be tried: in a folder of another user, or without such files, or without an inode.
        """
        if os.stat(self._folder).st_uid != os.geteuid() or self._inodes(1) < 1:
            return None
        try:
            _allocate(os.open(self._folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600), LEAST)
        except OSError as error:
            return False if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        return True

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
            status = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _allocate(descriptor: int, size: int) -> None:
    """Give a file its space, and close it."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
