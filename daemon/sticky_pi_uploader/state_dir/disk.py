"""The disk of a folder: its free space and inodes, whether it is read-only, and whether a trial file can be written.

After an error of the disk, no flag or figure is reliable: only a trial tells.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import flush, naming, remove_leftovers
from sticky_pi_api.filesystem.mounts import mount_of
from sticky_pi_api.filesystem.safe_open import BESIDE, open_file, opened_folder
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import NO_LOCKS, UnfitError

from .privileges import denied
from .trusted_path import others_may_write

READ_ONLY: Final = "its file system is read-only"
NO_SPACE: Final = "no space left on its disk"
NO_INODES: Final = "no further file can be made on its disk, as all of its inodes are used"

CAMERA_MINIMUM: Final = 50_000_000
"""Bytes: with less free space the camera program writes to /tmp, and its pictures are gone at power-off."""

LOW_PERCENT: Final = 15
"""Per cent of a disk; the stock firmware deletes the oldest pictures itself below 10."""

USED_UP: Final = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or a user's share of it, that is full"""

_SET_AFTER_ERROR: Final = frozenset({"emergency_ro", "shutdown"})
"""Mount options by which ext4 shows that an error made it read-only, while all flags say that it can be written"""

_PREFIX: Final = ".trial-"
_LEFTOVER: Final = re.compile(re.escape(_PREFIX) + r"[0-9a-f]{16}(\.db(-journal|-wal|-shm)?)?")
_CONTENT: Final = bytes(4096)


class DiskSpace(NamedTuple):
    """The size of a disk and its free space, in bytes and in inodes."""

    free: int
    """bytes that a user other than root can write"""
    total: int
    """bytes"""
    free_inodes: int | None
    """files that can still be made; None where the file system has no limit, as btrfs and FAT"""
    inodes: int | None
    """files that can exist on the disk; None as above"""
    free_for_root: int = 0
    """bytes that root can write"""

    @property
    def free_for_us(self) -> int:
        """Bytes that this process can write, quotas apart."""
        return self.free_for_root if os.geteuid() == 0 else self.free

    def has_inodes(self, wanted: int) -> bool:
        """Return whether so many files can be made."""
        return self.free_inodes is None or self.free_inodes >= wanted

    def is_under(self, least: Callable[[int], int]) -> bool:
        """Return whether free space or inodes are below a minimum.

        `least` returns the minimum of free bytes for a disk of a size in bytes. Of the inodes, the same share is
        wanted.
        """
        wanted = least(self.total)
        least_inodes = self.least_inodes(wanted)
        return self.free < wanted or (least_inodes is not None and not self.has_inodes(least_inodes))

    def least_inodes(self, least: int) -> int | None:
        """Return the minimum of free inodes that corresponds to a minimum of free bytes."""
        return None if self.inodes is None or not self.total else min(self.inodes, self.inodes * least // self.total)


def disk_space(folder: str) -> DiskSpace | None:
    """Return the space on the disk of a folder; None where the folder doesn't exist."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    unit, has_limit = found.f_frsize, found.f_files > 0
    return DiskSpace(
        free=found.f_bavail * unit,
        total=found.f_blocks * unit,
        free_inodes=found.f_favail if has_limit else None,
        inodes=found.f_files if has_limit else None,
        free_for_root=found.f_bfree * unit,
    )


def is_read_only(path: str) -> bool:
    """Return whether the file system of `path` is read-only by its flags, or since an error. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY) or has_failed(path)


def has_failed(path: str) -> bool:
    """Return whether the kernel says that it made the file system of `path` read-only after an error."""
    found = mount_of(path)
    return found is not None and not _SET_AFTER_ERROR.isdisjoint(found.options)


def failed_disk(image_dir: str) -> str | None:
    """Return a message where an error made the camera's disk read-only; None where not."""
    return f"the disk of {image_dir} was made read-only after an error on it" if has_failed(image_dir) else None


def obstacle(folder: str) -> str | None:
    """Return why no file can be made on a folder's disk, without a trial; None also where the folder is missing."""
    try:
        if is_read_only(folder):
            return READ_ONLY
    except OSError:
        return None
    found = disk_space(folder)
    return NO_INODES if found is not None and not found.has_inodes(1) else None


def trial(folder: str) -> None:
    """Write, flush and remove a small file in a folder. Raises OSError that names the folder."""
    with opened_folder(folder) as descriptor, naming(folder):
        if os.fstat(descriptor).st_uid == os.geteuid():
            remove_leftovers(descriptor, time.time(), _LEFTOVER)
        _write_trial(descriptor)


def trial_problem(folder: str) -> str | None:
    """Write a trial file in a folder; return why that failed, None where it worked."""
    try:
        trial(folder)
    except OSError as error:
        return reason(error, folder)
    return None


def database_problem(folder: str, name: str) -> str | None:
    """Return why a folder can't hold a database, by a trial and by the one of this `name`; None where it can."""
    if os.geteuid() == 0 and others_may_write(os.stat(folder)):
        return None  # as in /tmp: another user may put a journal beside root's database
    trial_path, path = os.path.join(folder, f"{_PREFIX}{os.urandom(8).hex()}.db"), os.path.join(folder, name)
    try:
        with closing(sqlite.connect(trial_path)) as connection:
            connection.execute("CREATE TABLE trial (number)")
        if os.access(path, os.W_OK):
            _require_locks(path)
    except UnfitError:
        return f"the file system of {folder} {NO_LOCKS}"
    except sqlite.Error as error:
        return f"no database can be made in {folder}: {error}"
    finally:
        for suffix in ("", *BESIDE):
            with suppress(OSError):
                os.unlink(trial_path + suffix)
    return None


def reason(error: OSError, folder: str) -> str:
    """Return in words why a file could not be written in a folder."""
    if error.errno == errno.EROFS:
        return READ_ONLY
    if error.errno in USED_UP:
        return NO_INODES if obstacle(folder) == NO_INODES else NO_SPACE
    return denied() if isinstance(error, PermissionError) else str(error.strerror)


def _write_trial(folder: int) -> None:
    name = f"{_PREFIX}{os.urandom(8).hex()}"
    file = open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, folder=folder)
    try:
        os.write(file, _CONTENT)
        flush(file)
    finally:
        os.close(file)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    flush(folder)


def _require_locks(path: str) -> None:
    """Raise UnfitError where a database can't be locked; any other error is reported elsewhere."""
    try:
        sqlite.open_to_look(path).close()
    except UnfitError:
        raise
    except sqlite.Error:
        return
