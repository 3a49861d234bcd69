"""Open and make the state folder without following another user's links as root.

The folder, or one above it, may belong to another user, who can put a link in its place at any moment. Root follows a
link only where nobody else could have made it. From the first folder that others can write in, and from the image
folder on, root opens one folder after the other by descriptor. Any other user follows every link.
"""

from __future__ import annotations

import os
import stat
from contextlib import AbstractContextManager, suppress
from typing import Final

from .trusted_path import SplitPath, opened_split, split

MARK: Final = ".sticky-pi-uploader-state"
"""A file in every state folder, by which root recognises it: another folder may be named by mistake"""

_TEXT: Final = b"By this file, `sticky-pi-uploader prepare` knows that it may give this folder to the service.\n"


def opened(state_dir: str, image_dir: str) -> AbstractContextManager[int]:
    """Open the state folder, as a context. Raises OSError, also if a link is in the way."""
    return opened_split(split_path(state_dir, image_dir))


def make(state_dir: str, image_dir: str, *, with_parents: bool) -> None:
    """Make the state folder unless it exists, readable for all, and also those above it `with_parents`.

    Raises OSError as `opened` does.
    """
    if os.geteuid() != 0 and os.path.isdir(state_dir):
        return
    path = split_path(state_dir, image_dir)
    # The mode is set as a folder is made: a moment later, another folder may be in its place.
    umask = os.umask(0o022)
    try:
        with opened_split(path, make_last=len(path.rest) if with_parents else 1):
            pass
    finally:
        os.umask(umask)


def mark(state_dir: str) -> None:
    """Put the mark into a state folder, unless it is there or the disk is full."""
    with suppress(OSError), open(os.path.join(state_dir, MARK), "xb") as file:
        file.write(_TEXT)


def is_marked(folder: int) -> bool:
    """Return whether the mark is in an open folder, without opening the mark."""
    try:
        return stat.S_ISREG(os.stat(MARK, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def split_path(state_dir: str, image_dir: str) -> SplitPath:
    """Split the path to the state folder: for root, the trusted part ends at the image folder at the latest."""
    if os.geteuid() != 0:
        return _split_existing(os.path.realpath(state_dir))
    image = split(image_dir)
    return split(state_dir, stop_at=os.path.join(image.trusted, *image.rest))


def _split_existing(path: str) -> SplitPath:
    """Split a path without links after its last existing folder."""
    existing, rest = path, list[str]()
    while not os.path.lexists(existing):
        existing, name = os.path.split(existing)
        rest.insert(0, name)
    return SplitPath(existing, rest)
