"""Files on their way out of the image folder: each has another name in its folder until it is sure that it may go.

A kill or a power cut may leave one so. It is still a picture on the card, and whoever finds it gives it its name back.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Final

from sticky_pi_api.filesystem.safe_open import name_of, open_beneath, open_file, open_folder, rename_new

SUFFIX: Final = ".removing"


def hidden(path: str) -> str:
    """Give the path that a file has while it is on its way out."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{SUFFIX}")


def original(name: str) -> str | None:
    """Give the name that a file on its way out had before; None of any other."""
    return name[1 : -len(SUFFIX)] if name.endswith(SUFFIX) and name.startswith(".") else None


def place_of(image_dir: str, path: str) -> str | None:
    """Give the whole path at which a file lies, on its way out or not; None where it is gone."""
    places = (os.path.join(image_dir, each) for each in (path, hidden(path)))
    return next(filter(os.path.lexists, places), None)


def is_there(image_dir: str, path: str) -> bool:
    """Tell whether something lies at a path relative to the image dir, or is on its way out from there."""
    return place_of(image_dir, path) is not None


def hide(folder: int, name: str) -> None:
    """Give a file in an open folder the name that it has on its way out. Raises OSError where that is taken, too."""
    rename_new(folder, name, hidden(name))


def put_back(folder: int, name: str) -> bool | None:
    """Give a file on its way out its name back; False where another file has that by now, None where there is none.

    Raises OSError.
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
        # It was given its second name, and not yet taken the first.
        os.unlink(hidden(name), dir_fd=folder)
    return True


class Leaving:
    """The files of one image dir that are on their way out, for who removes them and who looks for them."""

    def __init__(self, image_dir: str) -> None:
        """Know of none."""
        self._image_dir = image_dir
        self._lock = threading.Lock()
        self._in_hand: frozenset[str] = frozenset()

    @contextmanager
    def in_hand(self, paths: Collection[str]) -> Iterator[None]:
        """Keep all others from these files for the time of the block; one thread at a time."""
        with self._lock:
            self._in_hand = frozenset(paths)
        try:
            yield
        finally:
            self._in_hand = frozenset()

    def is_leaving(self, path: str) -> bool:
        """Tell whether a file is on its way out, or somebody is about to decide on that."""
        return path in self._in_hand or os.path.lexists(os.path.join(self._image_dir, hidden(path)))

    def bring_back(self, path: str) -> bool | None:
        """Give a file its name back whose removal was broken off: False where another has it, None where there is none.

        Raises OSError.
        """
        folder, name = os.path.split(path)
        with self._lock:
            if path in self._in_hand:
                return None
            descriptor = open_at(self._image_dir, folder)
            try:
                return put_back(descriptor, name)
            finally:
                os.close(descriptor)


def open_picture(image_dir: str, path: str) -> IO[bytes]:
    """Open a file of the image dir by its relative path, to read it; its name is the whole path.

    Raises FileNotFoundError also where there is a link, or something else that isn't a file, which is left unopened,
    or no folder above it.
    """
    above, name = os.path.split(path)
    full = os.path.join(image_dir, path)
    try:
        folder = open_at(image_dir, above)
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, full) from error
    try:
        return open(full, "rb", opener=lambda *_: _open_regular(name, folder))
    finally:
        os.close(folder)


def _open_regular(name: str, folder: int) -> int:
    _require_regular(name, folder)
    try:
        return open_file(name, folder=folder)
    except OSError:
        # Why it can't be opened is of interest only if it is a file.
        _require_regular(name, folder)
        raise


def _require_regular(name: str, folder: int) -> None:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise FileNotFoundError(errno.ENOENT, f"it is {name_of(mode)}, not a file", name)


def open_at(image_dir: str, folder: str) -> int:
    """Open a folder of the image dir by its relative path; no link is followed below the image dir.

    Raises OSError, of which a NotADirectoryError says that there is a link, or something else that isn't a folder.
    """
    root = open_folder(image_dir)
    try:
        return open_beneath(root, folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, error.strerror, error.filename) from error
        raise
    finally:
        os.close(root)
