"""Starts threads, and says as an OSError what it is when the system has none left."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """Start threads in the block. Raises OSError where one can't be: Python's RuntimeError would look like a bug."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "the system has no room for a further thread") from error
