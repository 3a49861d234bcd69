"""How much room a disk has for bytes and for files, and whether it takes a file: after an error, only trying tells."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import flush, naming
from sticky_pi_api.filesystem.safe_open import BESIDE, open_file
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import NO_LOCKS, UnfitError

from .mounts import is_read_only
from .privileges import denied
from .reserved_space import NO_INODES, NO_SPACE
from .trusted_path import others_may_write

_USED_UP: Final = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY: Final = "its file system is read-only"

_PREFIX: Final = ".trial-"
_LEFTOVER: Final = re.compile(re.escape(_PREFIX) + r"[0-9a-f]{16}(\.db(-journal|-wal|-shm)?)?")
_LEFTOVER_AGE: Final = 3600.0
_TRIED: Final = bytes(4096)


class Room(NamedTuple):
    """What is free on a disk, and what there is."""

    free: int
    """bytes, for those who aren't root"""
    total: int
    """bytes"""
    free_inodes: int | None
    """files that can still be made; None where the file system has no such limit, as btrfs and FAT"""
    inodes: int | None

    def is_under(self, least: Callable[[int], int]) -> bool:
        """Tell whether less is free than should be; `least` says how many bytes that is on a disk of so many.

        Of the inodes, the same share is to be free.
        """
        wanted = least(self.total)
        least_inodes = self.least_inodes(wanted)
        return self.free < wanted or (least_inodes is not None and (self.free_inodes or 0) < least_inodes)

    def least_inodes(self, least: int) -> int | None:
        """Return how many inodes are to be free where `least` bytes are."""
        return None if self.inodes is None or not self.total else min(self.inodes, self.inodes * least // self.total)


def room(folder: str) -> Room | None:
    """Ask for the room on the disk of a folder; None where the folder isn't there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    inodes = (found.f_favail, found.f_files) if found.f_files else (None, None)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, *inodes)


def obstacle(folder: str) -> str | None:
    """Say why no file can be made on the disk of a folder, as far as looking tells; None where it isn't there."""
    try:
        if is_read_only(folder):
            return READ_ONLY
    except OSError:
        return None
    found = room(folder)
    return NO_INODES if found is not None and found.free_inodes == 0 else None


def trial(folder: str) -> None:
    """Write, flush and remove a small file in a folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # It is of interest what is wrong with the folder; the file is gone.
        with naming(folder):
            _sweep(descriptor)
            _try(descriptor)
    finally:
        os.close(descriptor)


def _try(folder: int) -> None:
    name = f"{_PREFIX}{os.urandom(8).hex()}"
    file = open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, folder=folder)
    try:
        os.write(file, _TRIED)
        flush(file)
    finally:
        os.close(file)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    flush(folder)


def _sweep(folder: int) -> None:
    """Remove what trials that were killed have left, in a folder of one's own."""
    if os.fstat(folder).st_uid != os.geteuid():
        return
    before = time.time() - _LEFTOVER_AGE
    with os.scandir(folder) as entries:
        leftovers = [entry for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    for entry in leftovers:
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                os.unlink(entry.name, dir_fd=folder)


def trial_problem(folder: str) -> str | None:
    """Try a folder out; say why it takes no file, None where it does."""
    try:
        trial(folder)
    except OSError as error:
        return reason(error, folder)
    return None


def database_problem(folder: str, name: str) -> str | None:
    """Say why a folder can't hold a database, by the one of this `name` and by one of its own; None where it can."""
    if os.geteuid() == 0 and others_may_write(os.stat(folder)):
        return None  # as in /tmp: somebody else may put a journal beside root's database
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


def _require_locks(path: str) -> None:
    """Raise UnfitError where a database can't be locked; whatever else is wrong with it is found elsewhere."""
    try:
        sqlite.open_to_look(path).close()
    except UnfitError:
        raise
    except sqlite.Error:
        return


def reason(error: OSError, folder: str) -> str:
    """Say why nothing could be written in a folder."""
    if error.errno == errno.EROFS:
        return READ_ONLY
    if error.errno in _USED_UP:
        return NO_INODES if obstacle(folder) == NO_INODES else NO_SPACE
    return denied() if isinstance(error, PermissionError) else str(error.strerror)
