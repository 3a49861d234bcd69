"""A disk that can be filled to the last byte, and emptied again."""

import os
from contextlib import suppress

from power_cuts.disk import Disk

SIZE = 112 * 2**20
"""Bytes: so much that the uploader puts its reserve by"""


class FilledDisk:
    """A disk with a file on it that takes the space away."""

    def __init__(self, folder):
        """Make and mount it in a folder of its own."""
        # With blocks as large as those of a real card: SQLite relies on pages of memory not being larger.
        self._disk = Disk(folder, size=SIZE, options=("-b", "4096"))
        self.mount = self._disk.mount
        self._filler = self.mount / ".filler"

    def fill(self, *, left=0):
        """Take all space, root's own too, but `left` bytes of it."""
        with self._filler.open("ab") as file:
            end = file.tell()
            for step in (1 << 20, 1 << 16, 1 << 12, 1 << 10):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), end, step)
                        end += step
            file.truncate(max(0, end - left))
            os.fsync(file.fileno())

    def empty(self):
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def close(self):
        """Unmount it."""
        self._disk.close()
