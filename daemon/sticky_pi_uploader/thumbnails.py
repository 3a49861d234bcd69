"""Keeps both thumbnails of every picture in the state folder, named by the picture's md5, so that they outlive it.

They can be made again as long as the picture is there, so writing them costs no flush; one that a power cut left
unfinished is noticed when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from sticky_pi_api.durable import naming

_LARGE: Final = ".thumbnail"
_MINI: Final = ".thumbnail_mini"


class Thumbnails(NamedTuple):
    """The two thumbnails of a picture, as JPEG bytes."""

    large: bytes
    """fits in 512×384 pixels"""
    mini: bytes
    """fits in 128×96 pixels"""


class ThumbnailFolder:
    """The folder that they are kept in."""

    def __init__(self, folder: str) -> None:
        """Keep them below `folder`, made when the first one comes."""
        self._folder = folder

    def keep(self, md5: str, thumbnails: Thumbnails) -> None:
        """Write both thumbnails of the picture with this md5, unless a file or folder is in the way. Raises OSError."""
        path = self._path(md5)
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(path + _LARGE, thumbnails.large)
            _write(path + _MINI, thumbnails.mini)

    def find(self, md5: str) -> Thumbnails | None:
        """Read both; None where one is missing, unfinished or can't be read."""
        path = self._path(md5)
        try:
            found = Thumbnails(_read(path + _LARGE), _read(path + _MINI))
        except OSError:
            return None
        return found if _is_whole(found.large) and _is_whole(found.mini) else None

    def remove(self, md5: str) -> None:
        """Remove both; where they can't be removed, or are gone, that is no matter."""
        path = self._path(md5)
        for suffix in (_LARGE, _MINI):
            with suppress(OSError):
                os.unlink(path + suffix)

    def older_than(self, time: float) -> Iterator[str]:
        """Yield the md5s of pictures whose larger thumbnail was written before a Unix time."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._folder)):
                with suppress(NotADirectoryError), os.scandir(os.path.join(self._folder, name)) as entries:
                    found = [each.name for each in entries if each.stat(follow_symlinks=False).st_mtime < time]
                    yield from (each.removesuffix(_LARGE) for each in found if each.endswith(_LARGE))

    def _path(self, md5: str) -> str:
        return os.path.join(self._folder, md5[:2], md5)


def _write(path: str, content: bytes) -> None:
    with naming(path), open(path + ".part", "wb") as file:
        file.write(content)
    os.replace(path + ".part", path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_whole(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")
