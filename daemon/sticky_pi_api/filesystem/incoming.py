"""Replace files atomically: write a temporary file, flush it, rename it, and remove the ones that a crash leaves."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

from sticky_pi_api.filesystem import durable

TEMPORARY: Final = ".incoming-"
"""Prefix of the names of temporary files"""

_TEMPORARY: Final = re.compile(re.escape(TEMPORARY) + r"[0-9]+\.[0-9a-f]{12}")
"""The names of temporary files; the user's own files with similar names are left alone"""

_LEFTOVER_AGE = 3600.0


@contextmanager
def placed(path: str, mtime: float) -> Iterator[IO[bytes]]:
    """Write a file that replaces the one at `path`, durably, once the block ends without an error.

    Its folder is made if need be; `mtime` is in Unix seconds. Raises OSError.
    """
    folder = os.path.dirname(path)
    durable.make_folders(folder)
    sweep(folder, time.time())
    temporary = os.path.join(folder, f"{TEMPORARY}{os.getpid()}.{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.utime(stream.fileno(), (mtime, mtime))
            durable.flush(stream.fileno())
        os.rename(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    durable.sync_folder(folder)


def sweep(folder: str, now: float) -> None:
    """Remove a folder's temporary files of processes killed an hour ago or more; `now` is in Unix seconds."""
    then = now - _LEFTOVER_AGE
    with os.scandir(folder) as entries:
        leftovers = [entry for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for entry in leftovers:
        with suppress(FileNotFoundError):
            # Not the mtime: that is the one of the file that it was to become.
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_ctime < then:
                os.unlink(entry.path)
