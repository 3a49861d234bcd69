"""Renames what has a name of ours in the state folder but is of another kind, as a repair of the disk may leave it."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Final

from .events import Kind, about
from .exceptions import StateError

log = logging.getLogger(__name__)

_FILES: Final = ("lock", "outbox.db", "reserve", "reserve-inode")
_NO_LINKS: Final = ("outbox.db-wal", "outbox.db-shm")
"""Files, too, but SQLite follows no link to them"""
_FOLDERS: Final = ("thumbnails",)


def make_way(state_dir: str) -> None:
    """Rename all misfits, so that what belongs there can be made anew. Raises StateError.

    A link counts as what it leads to, and one that leads nowhere stays, as its disk may come back.
    """
    for names, fits, follow in (
        (_FILES, stat.S_ISREG, True),
        (_NO_LINKS, stat.S_ISREG, False),
        (_FOLDERS, stat.S_ISDIR, True),
    ):
        for path in (os.path.join(state_dir, name) for name in names):
            if _is_misfit(path, fits, follow=follow):
                _displace(path)


def _is_misfit(path: str, fits: Callable[[int], bool], *, follow: bool) -> bool:
    try:
        return not fits(os.stat(path, follow_symlinks=follow).st_mode)
    except OSError as error:
        return error.errno == errno.ELOOP


def _displace(path: str) -> None:
    aside = f"{path}.misfit-{time.time_ns()}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise StateError(f"{path} is in the way, and can't be renamed: {error.strerror}") from error
    log.warning("%s was in the way, and lies in %s now", path, aside, extra=about(Kind.MISFIT, path=path, aside=aside))
