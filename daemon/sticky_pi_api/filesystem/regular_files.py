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
    """Open a regular file for reading. Raises ImageError where the path is of another kind, else OSError."""
    if "\0" in os.fspath(path):
        raise ImageError(os.fspath(path), "no file can have this path: it contains a zero byte")
    # Without O_NONBLOCK the caller would wait until another process writes to a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ImageError(os.fspath(path), f"it is {name_of(mode)}, not a picture")


class FileFailedError(Exception):
    """A file can't be read or written; no OSError, which callers would take for an error of the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the OSError of a FileFailedError, where no error of the network is possible any more."""
    try:
        yield
    except FileFailedError as failure:
        raise failure.error from None
