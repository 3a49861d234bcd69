"""Open regular files for reading; a pipe or device in the place of one neither blocks nor is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sticky_pi_api.exceptions import ImageError
from sticky_pi_api.filesystem.safe_open import name_of
from sticky_pi_api.types import FilePath


def open_regular(path: FilePath) -> IO[bytes]:
    """Open a regular file for reading; a pipe or device in its place neither blocks nor is touched.

    Raises ImageError where it is something else, OSError where it can't be opened.
    """
    if "\0" in os.fspath(path):
        raise ImageError(os.fspath(path), "no file has such a path: it holds a zero byte")
    # Without O_NONBLOCK a FIFO would hold the caller until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ImageError(os.fspath(path), f"it is {name_of(mode)}, not a picture")


class FileFailedError(Exception):
    """A file can't be read to its end, or written; not an OSError, which would be taken for the network's."""

    def __init__(self, error: OSError) -> None:
        """Keep the file system's error."""
        super().__init__(error)
        self.error = error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the OSError of a FileFailedError, where it can't be taken for another's any more."""
    try:
        yield
    except FileFailedError as failure:
        raise failure.error from None
