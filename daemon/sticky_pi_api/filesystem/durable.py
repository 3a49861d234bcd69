"""Flush files and the names in folders to the disk before anything relies on them, and replace files in one step."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

from sticky_pi_api.filesystem.safe_open import open_folder, opened_folder

TEMPORARY: Final = ".incoming-"
"""Prefix of the names of the temporary files that `placed` writes"""

_TEMPORARY: Final = re.compile(re.escape(TEMPORARY) + r"[0-9]+\.[0-9a-f]{12}")
"""The whole names, so that files of the user with similar names are kept"""

LEFTOVER_AGE: Final = 3600.0
"""Age in seconds from which a temporary file counts as left by a killed process"""


def flush(descriptor: int) -> None:
    """Make an open file, or the names in an open folder, durable. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no such call; their files are used all the same.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the whole path into an OSError of the block: errors of calls on open files lack it."""
    try:
        yield
    except OSError as error:
        if not (isinstance(error.filename, str) and os.path.isabs(error.filename)):
            error.filename = path
        raise


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    with naming(folder), opened_folder(folder) as descriptor:
        flush(descriptor)


def make_folders(folder: str) -> None:
    """Make a folder, and the missing ones above it, durably. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    make_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    # Also where another process has just made it, which may not have flushed its name yet.
    sync_folder(parent)


def open_or_make(name: str, above: int, *, make: bool) -> int:
    """Open a folder in the open folder `above`, durably made if it is missing and `make` is true. Raises OSError."""
    try:
        return open_folder(name, folder=above)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another process was faster, and may not have flushed its name yet
        os.mkdir(name, dir_fd=above)
    flush(above)
    return open_folder(name, folder=above)


def write(path: str, content: bytes, folder: int) -> None:
    """Make a new file in its open folder, with durable contents under a name that isn't durable. Raises OSError."""
    name = os.path.basename(path)
    with naming(path), open(path, "xb", opener=lambda _, flags: os.open(name, flags, 0o666, dir_fd=folder)) as file:
        file.write(content)
        file.flush()
        flush(file.fileno())


@contextmanager
def placed(path: str, mtime: float) -> Iterator[IO[bytes]]:
    """Write a file that replaces the one at `path`, durably, once the block ends without an error.

    Missing folders are made; `mtime` is in Unix seconds. Raises OSError.
    """
    folder = os.path.dirname(path)
    make_folders(folder)
    sweep(folder, time.time())
    temporary = os.path.join(folder, f"{TEMPORARY}{os.getpid()}.{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.utime(stream.fileno(), (mtime, mtime))
            flush(stream.fileno())
        os.rename(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    sync_folder(folder)


def sweep(folder: str, now: float) -> None:
    """Remove temporary files of processes that were killed an hour ago or more; `now` is in Unix seconds."""
    with opened_folder(folder) as descriptor:
        # Not by the mtime, which may be set to that of the finished file already.
        remove_leftovers(descriptor, now, _TEMPORARY, by_ctime=True)


def remove_leftovers(folder: int, now: float, names: re.Pattern[str] | None = None, *, by_ctime: bool = False) -> None:
    """Remove the files with such names in an open folder that were written an hour ago or more, as far as possible."""
    with os.scandir(folder) as entries:
        leftovers = [entry for entry in entries if names is None or names.fullmatch(entry.name)]
    for entry in leftovers:
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            written = status.st_ctime if by_ctime else status.st_mtime
            if stat.S_ISREG(status.st_mode) and written < now - LEFTOVER_AGE:
                os.unlink(entry.name, dir_fd=folder)
