"""A small disk that can be filled and freed: a tmpfs, which only root can mount."""

import os
import subprocess
from contextlib import contextmanager


def reason_to_skip():
    """Return why no disk can be mounted here; None where nothing is in the way."""
    return None if os.geteuid() == 0 else "only root can mount a disk that is to be filled"


@contextmanager
def small_disk(folder, size="1M"):
    """Mount one at a folder, until the block ends."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Disk:
    """A mounted disk; what fills it is one file."""

    def __init__(self, folder):
        self._folder = folder
        self._filler = os.path.join(folder, "filler")
        self._left = None

    @property
    def is_full(self):
        return self._left is not None

    def fill(self, left):
        """Fill it, but for so many bytes."""
        self.free()
        self._left = left
        found = os.statvfs(self._folder)
        size = found.f_bavail * found.f_frsize - left
        if size > 0:
            with open(self._filler, "xb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def free(self):
        """Make room again."""
        self._left = None
        if os.path.exists(self._filler):
            os.unlink(self._filler)

    @contextmanager
    def with_room(self):
        """Have room while the block lasts."""
        left = self._left
        self.free()
        yield
        if left is not None:
            self.fill(left)
