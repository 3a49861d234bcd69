"""Clear obstacles from the state folder: entries under our names that have the wrong type or can't be written.

A repair of the disk may leave a folder in a file's place. A user other than the folder's owner may have left files:
root, with an earlier release, or the service of an earlier installation of the system. The owner of the folder has the
right to copy or rename them.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.durable import flush, sync_folder
from sticky_pi_api.filesystem.safe_open import open_file

from ..exceptions import StateError
from ..journal.events import Kind, log_event

_LOCK: Final = "lock"
_DATABASE: Final = ("outbox.db", "outbox.db-wal", "outbox.db-journal")
_REPLACEABLE: Final = ("outbox.db-shm", "reserve", "reserve-inode")
"""Files that are removed, as they can be made again"""
_THUMBNAILS: Final = "thumbnails"
_ASIDE: Final = ".misfit-"
"""Text in the new name of an obstacle, before the time"""

_BLOCK: Final = 1 << 20


def clear_obstacle_of_lock(state_dir: str) -> None:
    """Rename an obstacle in the place of the lock file, before the lock is taken. Raises StateError."""
    path = os.path.join(state_dir, _LOCK)
    if _has_wrong_type(path, stat.S_ISREG):
        _set_aside(path)


def clear_obstacles(state_dir: str) -> None:
    """Rename entries of the wrong type and replace those that can't be written; call it with the lock taken.

    A link has the wrong type, wherever it leads. Raises StateError.
    """
    for name in (*_DATABASE, *_REPLACEABLE):
        path = os.path.join(state_dir, name)
        if _has_wrong_type(path, stat.S_ISREG):
            _set_aside(path)
        elif _is_unwritable(path):
            _take_over(path, keep=name in _DATABASE)
    thumbnails = os.path.join(state_dir, _THUMBNAILS)
    if _has_wrong_type(thumbnails, stat.S_ISDIR) or _is_unwritable(thumbnails):
        _set_aside(thumbnails)
        return
    with suppress(FileNotFoundError), os.scandir(thumbnails) as entries:
        for entry in [entry for entry in entries if _ASIDE not in entry.name]:
            if entry.is_symlink() or _is_unwritable(entry.path):
                _set_aside(entry.path)


def _has_wrong_type(path: str, is_right: Callable[[int], bool]) -> bool:
    try:
        return not is_right(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_unwritable(path: str) -> bool:
    """Return whether an entry exists that belongs to another user and that this process can't write."""
    try:
        return os.lstat(path).st_uid != os.geteuid() and not os.access(path, os.W_OK)
    except OSError:
        return False


def _take_over(path: str, *, keep: bool) -> None:
    """Replace a file by a copy of our own if it is to be kept, else remove it; one that can't be read is renamed."""
    try:
        if keep:
            copy = f"{path}.copy"
            _copy(path, copy)
            os.replace(copy, path)
            sync_folder(os.path.dirname(path))
        else:
            os.unlink(path)
    except PermissionError:
        _set_aside(path)
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
            # The unfinished copy takes space that is needed.
            os.unlink(copy)
            raise


def _set_aside(path: str) -> None:
    aside = f"{path}{_ASIDE}{time.time_ns()}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise StateError(f"{path} is in the way, and can't be renamed: {error.strerror}") from error
    log_event(Kind.MISFIT, f"{path} was in the way, and lies in {aside} now", path=path, aside=aside)
