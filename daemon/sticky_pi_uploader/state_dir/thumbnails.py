"""Store both thumbnails of every picture in the state folder, named by the picture's md5: they outlive the picture.

They can be made again while the picture exists, so they are written without a flush. One that a power cut left
unfinished is recognised when it is read. Each is written under a temporary name of its own, as two threads may store
the same thumbnails at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import naming
from sticky_pi_api.filesystem.safe_open import open_file, open_folder

_LARGE: Final = ".thumbnail"
_MINI: Final = ".thumbnail_mini"
_PART: Final = ".part"
_NAMES: Final = (_LARGE, _MINI, _LARGE + _PART, _MINI + _PART)
"""Suffixes after the md5; the last two are those of unfinished files of earlier releases"""

_PREFIX: Final = 2
"""Characters of the md5 that name the folder of a thumbnail, as one folder would be too large for all"""


class Thumbnails(NamedTuple):
    """The two thumbnails of a picture, as JPEG bytes."""

    large: bytes
    """fits in 512×384 pixels"""
    mini: bytes
    """fits in 128×96 pixels"""


class ThumbnailFolder:
    """The folder of all thumbnails, made when the first ones are stored."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._numbers = count()
        self._suffix = f".{os.urandom(4).hex()}{_PART}"
        self._swept = False

    def keep(self, md5: str, thumbnails: Thumbnails) -> None:
        """Write both thumbnails of the picture with this md5. Raises OSError, but not where an obstacle is there."""
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError), self._opened(md5, make=True) as opened:
            root, folder = opened
            self._remove_leftovers(root)
            self._write(root, folder, md5 + _LARGE, thumbnails.large)
            self._write(root, folder, md5 + _MINI, thumbnails.mini)

    def find(self, md5: str) -> Thumbnails | None:
        """Return both thumbnails; None where one is missing, unfinished or unreadable."""
        try:
            with self._opened(md5) as (_, folder):
                found = Thumbnails(_read(md5 + _LARGE, folder), _read(md5 + _MINI, folder))
        except OSError:
            return None
        return found if _is_whole(found.large) and _is_whole(found.mini) else None

    def remove(self, md5: str) -> None:
        """Remove both thumbnails; errors don't matter."""
        with suppress(OSError), self._opened(md5) as (_, folder):
            for suffix in _NAMES:
                with suppress(OSError):
                    os.unlink(md5 + suffix, dir_fd=folder)

    def older_than(self, time: float) -> Iterator[str]:
        """Yield the md5 of each picture with a thumbnail, finished or not, that was written before a Unix time."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._folder)):
                with suppress(NotADirectoryError), self._opened(name) as (_, folder), os.scandir(folder) as entries:
                    old = [each.name for each in entries if each.stat(follow_symlinks=False).st_mtime < time]
                    parts = [name.partition(".") for name in old]
                    yield from sorted({md5 for md5, dot, end in parts if dot + end in _NAMES})

    @contextmanager
    def _opened(self, md5: str, *, make: bool = False) -> Iterator[tuple[int, int]]:
        """Open the folder of all thumbnails, and the one in it for this md5; a link is no folder. Raises OSError."""
        name = md5[:_PREFIX]
        with naming(os.path.join(self._folder, name)), ExitStack() as opened:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(self._folder)
            root = open_folder(self._folder)
            opened.callback(os.close, root)
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=root)
            folder = open_folder(name, folder=root)
            opened.callback(os.close, folder)
            yield root, folder

    def _write(self, root: int, folder: int, name: str, content: bytes) -> None:
        part = f"{name}.{next(self._numbers)}{self._suffix}"
        try:
            with naming(os.path.join(self._folder, part)):
                with open(part, "xb", opener=lambda _, flags: os.open(part, flags, 0o666, dir_fd=root)) as file:
                    file.write(content)
                os.replace(part, name, src_dir_fd=root, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=root)
            raise

    def _remove_leftovers(self, root: int) -> None:
        """Remove the temporary files of processes that were killed, once in the life of this object."""
        if self._swept:
            return
        self._swept = True
        for name in os.listdir(root):
            if name.endswith(_PART) and not name.endswith(self._suffix):
                with suppress(OSError):
                    os.unlink(name, dir_fd=root)


def _read(name: str, folder: int) -> bytes:
    with open(open_file(name, folder=folder), "rb") as file:
        return file.read()


def _is_whole(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")
