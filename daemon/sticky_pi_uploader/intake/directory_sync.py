"""Flush the entries of folders to the disk: the camera doesn't do that, and a picture without its name is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

from sticky_pi_api.filesystem.durable import sync_folder

TIMESTAMP_RESOLUTION: Final = 2.0
"""Seconds after which every change of a folder shows in its times, on any file system"""

_Status = tuple[int, int, int, int]


class DirectorySync:
    """Flush folders of one image dir, and remember which ones haven't changed since. For one thread."""

    def __init__(self, image_dir: str, *, clock: Callable[[], float] = time.time) -> None:
        self._image_dir = image_dir
        self._clock = clock
        self._flushed: dict[str, _Status] = {}
        """the status of folders when their entries were flushed"""

    def flush(self, folders: Collection[str]) -> set[str]:
        """Flush the entries of folders, and of the folders above them that changed since their last flush.

        Returns the existing ones of `folders` (relative to the image dir). Raises OSError.
        """
        paths = {folder: set(_with_parents(folder)) for folder in folders}
        existing = {each for each in set().union(*paths.values()) if self._flush(each, always=each in paths)}
        return {folder for folder, parents in paths.items() if parents <= existing}

    def _flush(self, folder: str, *, always: bool) -> bool:
        """Flush a folder, unless it hasn't changed since its last flush; return whether it exists."""
        path = os.path.join(self._image_dir, folder)
        try:
            status = _status(path)
            if not always and self._flushed.get(folder) == status:
                return True
            sync_folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if max(status[2:]) / 1e9 <= self._clock() - TIMESTAMP_RESOLUTION:
            self._flushed[folder] = status
        return True


def _with_parents(folder: str) -> Iterator[str]:
    yield folder
    while folder:
        folder = os.path.dirname(folder)
        yield folder


def _status(path: str) -> _Status:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
