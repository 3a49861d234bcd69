"""Finds the files that have to stay on their way out of the image folder, as others have their names by now."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from ..state_dir.pending_removal import hidden, original
from .scanner import Scanner

WHY: Final = (
    "its removal was broken off, and another file has its name by now: move that one away, and the next scan gives this"
    " one its name back"
)


def left_over(scanner: Scanner) -> Iterator[str]:
    """Yield the path that each had, relative to the image dir; reads names only, and passes over what can't be read."""
    for above, folders, names in os.walk(scanner.image_dir):
        folder = os.path.relpath(above, scanner.image_dir).removeprefix(".")
        folders[:] = [name for name in folders if scanner.is_watched_folder(os.path.join(folder, name))]
        for name in filter(None, map(original, names)):
            path = os.path.join(folder, name)
            if scanner.is_candidate_name(path) and is_left_over(scanner.image_dir, path):
                yield path


def is_left_over(image_dir: str, path: str) -> bool:
    """Tell whether a file that had this path, relative to the image dir, has to stay on its way out."""
    path = os.path.join(image_dir, path)
    try:
        status, other = os.lstat(hidden(path)), os.lstat(path)
    except OSError:
        return False
    # One file with both names is about to lose this one.
    return stat.S_ISREG(status.st_mode) and not os.path.samestat(status, other)
