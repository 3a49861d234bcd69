"""Store both thumbnails of every picture in the state folder, named by the picture's md5: they outlive the picture.

They can be made again while the picture exists, so they are written without a flush. One that a power cut left
unfinished is recognised when it is read. Each is written under a temporary name of its own, as two threads may store
the same thumbnails at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import naming
from sticky_pi_api.filesystem.safe_open import open_file

_LARGE: Final = ".thumbnail"
_MINI: Final = ".thumbnail_mini"
_PART: Final = ".part"
_NAMES: Final = (_LARGE, _MINI, _LARGE + _PART, _MINI + _PART)
"""Suffixes after the md5; the last two are those of unfinished files of earlier releases"""


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
        path = self._path(md5)
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._remove_leftovers()
            self._write(path + _LARGE, thumbnails.large)
            self._write(path + _MINI, thumbnails.mini)

    def find(self, md5: str) -> Thumbnails | None:
        """Return both thumbnails; None where one is missing, unfinished or unreadable."""
        path = self._path(md5)
        try:
            found = Thumbnails(_read(path + _LARGE), _read(path + _MINI))
        except OSError:
            return None
        return found if _is_whole(found.large) and _is_whole(found.mini) else None

    def remove(self, md5: str) -> None:
        """Remove both thumbnails; errors don't matter."""
        path = self._path(md5)
        for suffix in _NAMES:
            with suppress(OSError):
                os.unlink(path + suffix)

    def older_than(self, time: float) -> Iterator[str]:
        """Yield the md5 of each picture with a thumbnail, finished or not, that was written before a Unix time."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._folder)):
                with suppress(NotADirectoryError), os.scandir(os.path.join(self._folder, name)) as entries:
                    found = [each.name for each in entries if each.stat(follow_symlinks=False).st_mtime < time]
                    yield from sorted({md5 for md5, dot, end in map(_parted, found) if dot + end in _NAMES})

    def _write(self, path: str, content: bytes) -> None:
        part = os.path.join(self._folder, f"{os.path.basename(path)}.{next(self._numbers)}{self._suffix}")
        try:
            with naming(part), open(part, "xb") as file:
                file.write(content)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of processes that were killed, once in the life of this object."""
        if self._swept:
            return
        self._swept = True
        for name in os.listdir(self._folder):
            if name.endswith(_PART) and not name.endswith(self._suffix):
                with suppress(OSError):
                    os.unlink(os.path.join(self._folder, name))

    def _path(self, md5: str) -> str:
        return os.path.join(self._folder, md5[:2], md5)


def _parted(name: str) -> tuple[str, str, str]:
    return name.partition(".")


def _read(path: str) -> bytes:
    with open(open_file(path), "rb") as file:
        return file.read()


def _is_whole(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")
