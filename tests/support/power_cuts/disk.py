"""A disk whose power can be cut: ext4 in a file, mounted through a loop device."""

import os
import shutil
import subprocess
import time
from pathlib import Path

SIZE = 24 * 2**20
OPTIONS = "loop,noatime,data=writeback"


class Disk:
    """A new disk in `folder`, mounted there; unmounted by `close`."""

    def __init__(self, folder, *, commit=5, size=SIZE, options=()):
        """Make it, of `size` bytes; every `commit` seconds it writes its journal, whether it is asked to or not.

        `options` are further ones of mkfs.ext4.
        """
        self.file, self.mount = Path(folder, "disk"), Path(folder, "card")
        self.mount.mkdir()
        with self.file.open("wb") as file:
            file.truncate(size)
        # Without lost+found, and nothing left to be initialised in the background.
        at_once = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        subprocess.run(["mkfs.ext4", "-q", "-E", at_once, *options, self.file], check=True)
        mount(self.file, self.mount, f"{OPTIONS},commit={commit}")
        device = os.stat(self.mount).st_dev
        self._counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
        os.sync()

    def copy(self, target):
        """Copy the disk as it is at one moment: between two writes to it, be that amid a flush."""
        while True:
            before = self._written()
            shutil.copyfile(self.file, target)
            if before is not None and self._written() == before:
                return
            time.sleep(0.001)

    def fail(self):
        """Have the kernel meet an error on it; made with `-e remount-ro`, it can't be written from then on."""
        Path(f"/sys/fs/ext4/{self._counters.parent.resolve().name}/trigger_fs_error").write_text("1", "ascii")

    def close(self):
        """Unmount it, whoever uses it; its loop device goes with it."""
        subprocess.run(["umount", "-l", self.mount], check=True)

    def _written(self):
        """Return how much was written to it so far, or None while something is."""
        fields = self._counters.read_text("ascii").split()
        return None if int(fields[8]) else (fields[4], fields[6])


def mount(file, folder, options=OPTIONS):
    """Mount a disk, after a cut with what its journal has."""
    subprocess.run(["mount", "-t", "ext4", "-o", options, file, folder], check=True)
