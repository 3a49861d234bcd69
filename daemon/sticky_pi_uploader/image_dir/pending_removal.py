"""Pictures whose removal has begun: each has a hidden name in its folder until it is certain that it may be removed.

A kill or a power cut may leave a picture hidden. It is still a picture on the card, and gets its name back when it is
found.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from sticky_pi_api.filesystem.safe_open import rename_new

from .picture_file import open_at

SUFFIX: Final = ".removing"

STUCK: Final = (
    "its removal was broken off, and another file has its name by now: move that one away, and the next scan gives this"
    " one its name back"
)
"""The explanation for a file that stays hidden after an interrupted removal"""


def hidden(path: str) -> str:
    """Return the path that a file has while its removal is pending."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{SUFFIX}")


def original(name: str) -> str | None:
    """Return the name that a hidden file had before; None for any other name."""
    return name[1 : -len(SUFFIX)] if name.endswith(SUFFIX) and name.startswith(".") else None


def place_of(image_dir: str, path: str) -> str | None:
    """Return the whole path of a file, hidden or not; None where neither exists."""
    places = (os.path.join(image_dir, each) for each in (path, hidden(path)))
    return next(filter(os.path.lexists, places), None)


def is_there(image_dir: str, path: str) -> bool:
    """Return whether a file exists at a path relative to the image dir, hidden or not."""
    return place_of(image_dir, path) is not None


def is_stuck(image_dir: str, path: str) -> bool:
    """Return whether a file stays hidden after an interrupted removal, as another file has its path by now."""
    path = os.path.join(image_dir, path)
    try:
        status, other = os.lstat(hidden(path)), os.lstat(path)
    except OSError:
        return False
    # One file with both names is about to lose the hidden one.
    return stat.S_ISREG(status.st_mode) and not os.path.samestat(status, other)


def hide(folder: int, name: str) -> None:
    """Rename a file in an open folder to its hidden name. Raises OSError, also where that name is taken."""
    rename_new(folder, name, hidden(name))


def restore(folder: int, name: str) -> bool | None:
    """Restore the name of a hidden file in an open folder.

    Returns False where another file has that name by now, None where there is no hidden file. Raises OSError.
    """
    try:
        status = os.stat(hidden(name), dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return None
        rename_new(folder, hidden(name), name)
    except FileNotFoundError:
        return None
    except FileExistsError:
        if not os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), status):
            return False
        # A rename by link and unlink was interrupted in between.
        os.unlink(hidden(name), dir_fd=folder)
    return True


class PendingRemovals:
    """The pending removals in one image dir, shared by the thread that removes and the threads that look for files."""

    def __init__(self, image_dir: str) -> None:
        self._image_dir = image_dir
        self._lock = threading.Lock()
        self._removing: frozenset[str] = frozenset()

    @contextmanager
    def removing(self, paths: Collection[str]) -> Iterator[None]:
        """Keep other threads from these files during the block; only one thread removes."""
        with self._lock:
            self._removing = frozenset(paths)
        try:
            yield
        finally:
            self._removing = frozenset()

    def is_pending(self, path: str) -> bool:
        """Return whether the removal of a file has begun, or is being decided."""
        return path in self._removing or os.path.lexists(os.path.join(self._image_dir, hidden(path)))

    def restore(self, path: str) -> bool | None:
        """Undo an interrupted removal; returns as the function `restore`, and None for one in progress.

        Raises OSError.
        """
        folder, name = os.path.split(path)
        with self._lock:
            if path in self._removing:
                return None
            descriptor = open_at(self._image_dir, folder)
            try:
                return restore(descriptor, name)
            finally:
                os.close(descriptor)
