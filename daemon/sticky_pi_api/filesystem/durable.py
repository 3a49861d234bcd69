"""Flush files, and the names of files in their folders, to the disk before anything relies on them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sticky_pi_api.filesystem.safe_open import opened_folder


def flush(descriptor: int) -> None:
    """Make an open file, or an open folder's names, durable. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no such call; files there are to be used all the same.
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
    """Make a folder, and those above it that are missing, durably. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    make_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    # Also where another process has just made it: it may not have synced it yet.
    sync_folder(parent)


def write(path: str, content: bytes, folder: int) -> None:
    """Make a new file in its open folder, durably but for its name there. Raises OSError."""
    name = os.path.basename(path)
    with naming(path), open(path, "xb", opener=lambda _, flags: os.open(name, flags, 0o666, dir_fd=folder)) as file:
        file.write(content)
        file.flush()
        flush(file.fileno())
