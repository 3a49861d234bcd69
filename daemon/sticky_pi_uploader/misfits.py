"""Renames what has a name of ours in the state folder but is of another kind, as a repair of the disk may leave it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from .events import Kind, about
from .exceptions import StateError

log = logging.getLogger(__name__)

_FILES: Final = ("lock", "outbox.db", "outbox.db-wal", "outbox.db-shm", "reserve")
_THUMBNAILS: Final = "thumbnails"


def make_way(state_dir: str) -> None:
    """Rename all misfits, so that what belongs there can be made anew. Raises StateError.

    A link counts as what it leads to; one that leads nowhere stays, as its disk may come back.
    """
    for path in (os.path.join(state_dir, name) for name in _FILES):
        _displace(path, os.path.isfile)
    folder = os.path.join(state_dir, _THUMBNAILS)
    _displace(folder, os.path.isdir)
    for path in _no_folders(folder):
        _displace(path, os.path.isdir)


def _no_folders(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if not entry.is_dir() and ".misfit-" not in entry.name)


def _displace(path: str, fits: Callable[[str], bool]) -> None:
    if not os.path.exists(path) or fits(path):
        return
    aside = f"{path}.misfit-{time.time_ns()}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise StateError(f"{path} is in the way, and can't be renamed: {error.strerror}") from error
    log.warning("%s was in the way, and lies in %s now", path, aside, extra=about(Kind.MISFIT, path=path, aside=aside))
