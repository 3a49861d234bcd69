"""Sees that what has a name of ours in the state folder is of the right kind, and can be written.

A repair of the disk may leave a folder in a file's place. Another user than the folder's may have left files there:
root, with an earlier release, or the service of a system that was installed anew since. They are copied or renamed,
as their folder's user has the right to.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.durable import flush, sync_folder
from sticky_pi_api.filesystem.safe_open import open_file

from ..exceptions import StateError
from ..journal.events import Kind, about

log = logging.getLogger(__name__)

_LOCK: Final = "lock"
_DATABASE: Final = ("outbox.db", "outbox.db-wal", "outbox.db-journal")
_OTHERS: Final = ("outbox.db-shm", "reserve", "reserve-inode")
"""Files whose content isn't missed"""
_THUMBNAILS: Final = "thumbnails"

_BLOCK: Final = 1 << 20


def make_way_for_lock(state_dir: str) -> None:
    """Do as `make_way`, for the file without which nothing is done. Raises StateError."""
    path = os.path.join(state_dir, _LOCK)
    if _is_something_else(path, stat.S_ISREG):
        _displace(path)


def make_way(state_dir: str) -> None:
    """Rename what is of another kind, and replace what can't be written, once nobody else works there.

    What belongs there can then be made anew. A link is of another kind, wherever it leads. Raises StateError.
    """
    for name in (*_DATABASE, *_OTHERS):
        path = os.path.join(state_dir, name)
        if _is_something_else(path, stat.S_ISREG):
            _displace(path)
        elif _is_locked_up(path):
            _take_over(path, keep=name in _DATABASE)
    thumbnails = os.path.join(state_dir, _THUMBNAILS)
    if _is_something_else(thumbnails, stat.S_ISDIR) or _is_locked_up(thumbnails):
        _displace(thumbnails)
        return
    with suppress(FileNotFoundError), os.scandir(thumbnails) as entries:
        for each in [entry.path for entry in entries if _is_locked_up(entry.path)]:
            _displace(each)


def _is_something_else(path: str, fits: Callable[[int], bool]) -> bool:
    try:
        return not fits(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_locked_up(path: str) -> bool:
    """Tell whether something is there that is another user's, and that this one can't write to."""
    try:
        return os.lstat(path).st_uid != os.geteuid() and not os.access(path, os.W_OK)
    except OSError:
        return False


def _take_over(path: str, *, keep: bool) -> None:
    """Put a copy in a file's place, or nothing; one that can't be read is renamed."""
    try:
        if keep:
            copy = f"{path}.copy"
            _copy(path, copy)
            os.replace(copy, path)
            sync_folder(os.path.dirname(path))
        else:
            os.unlink(path)
    except PermissionError:
        _displace(path)
    except OSError as error:
        raise StateError(f"{path} belongs to another user, and can't be copied: {error.strerror}") from error


def _copy(path: str, copy: str) -> None:
    with (
        open(open_file(path), "rb") as source,
        open(open_file(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as target,
    ):
        try:
            while block := source.read(_BLOCK):
                target.write(block)
            target.flush()
            flush(target.fileno())
        except OSError:
            # It takes the room that is missing.
            os.unlink(copy)
            raise


def _displace(path: str) -> None:
    aside = f"{path}.misfit-{time.time_ns()}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise StateError(f"{path} is in the way, and can't be renamed: {error.strerror}") from error
    log.warning("%s was in the way, and lies in %s now", path, aside, extra=about(Kind.MISFIT, path=path, aside=aside))
