"""Flush the entries of folders to the disk: the camera doesn't, and a picture without its name is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

from sticky_pi_api.filesystem.durable import sync_folder

SETTLED: Final = 2.0
"""Seconds after which any change of a folder shows in its times"""

_Look = tuple[int, int, int, int]


class DirectorySync:
    """The folders of one image dir, as far as a power cut would leave them; for one thread."""

    def __init__(self, image_dir: str, *, clock: Callable[[], float] = time.time) -> None:
        """Know of none yet."""
        self._image_dir = image_dir
        self._clock = clock
        self._flushed: dict[str, _Look] = {}
        """how folders looked when their entries were flushed"""

    def flush(self, folders: Collection[str]) -> set[str]:
        """Flush the entries of folders, and of those above them in which something changed since that was last done.

        Returns those of `folders` (relative to the image dir) that are still there. Raises OSError.
        """
        lines = {folder: set(_up_from(folder)) for folder in folders}
        there = {each for each in set().union(*lines.values()) if self._is_safe(each, anew=each in lines)}
        return {folder for folder, line in lines.items() if line <= there}

    def _is_safe(self, folder: str, *, anew: bool) -> bool:
        path = os.path.join(self._image_dir, folder)
        try:
            look = _look(path)
            if not anew and self._flushed.get(folder) == look:
                return True
            sync_folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if max(look[2:]) / 1e9 <= self._clock() - SETTLED:
            self._flushed[folder] = look
        return True


def _up_from(folder: str) -> Iterator[str]:
    yield folder
    while folder:
        folder = os.path.dirname(folder)
        yield folder


def _look(path: str) -> _Look:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
