"""Read one file for its record in the outbox: its bytes once, name, end, EXIF, md5, and one reduced decode.

A complete picture is final at once. An incomplete file may still be being written, so the intake reads it again. The
bytes of a picture are flushed before it is recorded: the camera doesn't do that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.filesystem.durable import flush
from sticky_pi_api.images.doubts import summary

from ..clock import PLATFORM_START, datetime_text, is_synchronised
from ..image_dir.picture_file import fingerprint_of, open_picture
from ..models import Candidate, Fingerprint, Taken
from ..state_dir.thumbnails import ThumbnailFolder, Thumbnails

if TYPE_CHECKING:
    from sticky_pi_api.image_parser import ImageParser

FUTURE_LIMIT: Final = 86400.0
"""Seconds ahead of the trap's clock from which a picture's time is suspect"""

MAY_GROW_FOR: Final = 2.0
"""Seconds since its last change in which a file with bytes after the picture's end may still grow"""

_LACK_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of this process or the system, which aren't caused by the file"""

_COLUMNS = frozenset({"device", "datetime", "filename", "md5"})


class ReadResult(NamedTuple):
    """The record of one file, and whether it is final."""

    taken: Taken
    final: bool
    """False if the file isn't a complete picture, or has bytes after its end, and may still be being written"""


class PictureReader:
    """Read the files of one image dir."""

    def __init__(
        self,
        image_dir: str,
        thumbnails: ThumbnailFolder,
        clock: Callable[[], float],
        is_synchronised: Callable[[], bool | None] = is_synchronised,
    ) -> None:
        """Store the pictures' thumbnails; `clock` gives the Unix time, to recognise pictures from the future.

        The record of each picture says whether the clock `is_synchronised` with a time server's.
        """
        self._image_dir = image_dir
        self._thumbnails = thumbnails
        self._clock = clock
        self._is_synchronised = is_synchronised

    def read(self, candidate: Candidate, file_system: str) -> ReadResult:
        """Read a candidate's file and return its record.

        Raises FileNotFoundError if the file is gone, and OSError if its thumbnails can't be written or the system lacks
        descriptors or memory.
        """
        device, taken_at = _key_in_name(candidate.path)
        taken = Taken(candidate.path, None, file_system, device, taken_at, clock_synchronised=self._is_synchronised())
        try:
            file = open_picture(self._image_dir, candidate.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            return _unreadable(taken, error)
        with file:
            return self._read(file, taken)

    def fingerprint_if_unchanged(self, candidate: Candidate) -> Fingerprint | None:
        """Hash a file of which only the ctime changed; return its fingerprint, or None if its md5 changed, too."""
        from sticky_pi_api.utils import md5

        try:
            with open_picture(self._image_dir, candidate.path) as file:
                before = fingerprint_of(os.fstat(file.fileno()))
                same = md5(file) == candidate.md5
                return before if same and fingerprint_of(os.fstat(file.fileno())) == before else None
        except OSError:
            return None

    def _read(self, file: IO[bytes], taken: Taken) -> ReadResult:
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.image_parser import ImageParser

        before = fingerprint_of(os.fstat(file.fileno()))
        taken = taken._replace(fingerprint=before)
        try:
            parser = ImageParser(file)
            flush(file.fileno())
        except ImageError as error:
            return ReadResult(taken._replace(md5=error.md5, rejected=error.reason), final=False)
        except OSError as error:
            return _unreadable(taken, error)
        if fingerprint_of(os.fstat(file.fileno())) != before:
            return ReadResult(taken._replace(rejected="it changed while it was read"), final=False)
        may_grow = self._clock() - before.mtime_ns / 1e9 < MAY_GROW_FOR
        return ReadResult(self._complete(parser, taken), final=not (parser.surplus and may_grow))

    def _complete(self, parser: ImageParser, taken: Taken) -> Taken:
        md5 = str(parser["md5"])
        self._thumbnails.keep(md5, Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg))
        fields = {name: value for name, value in parser.items() if name not in _COLUMNS}
        doubts = filter(None, (parser.suspect, self._doubt_time(parser["datetime"])))
        return taken._replace(md5=md5, metadata=fields, suspect=summary(doubts))

    def _doubt_time(self, taken_at: datetime) -> str | None:
        now = self._clock()
        if PLATFORM_START <= now < taken_at.replace(tzinfo=UTC).timestamp() - FUTURE_LIMIT:
            return "dated in the future: the camera's clock was wrong, or the trap's is"
        return None


def _key_in_name(path: str) -> tuple[str, str] | tuple[None, None]:
    from sticky_pi_api.exceptions import FilenameError
    from sticky_pi_api.images.filename import parse_filename

    try:
        device, taken_at = parse_filename(os.path.basename(path))
    except FilenameError:
        return None, None
    return device, datetime_text(taken_at)


def _unreadable(taken: Taken, error: OSError) -> ReadResult:
    if error.errno in _LACK_OF_RESOURCES:
        raise error
    # Without a fingerprint, every scan reads it again: it may become readable without changing.
    return ReadResult(taken._replace(fingerprint=None, rejected=f"can't be read: {error.strerror}"), final=False)
