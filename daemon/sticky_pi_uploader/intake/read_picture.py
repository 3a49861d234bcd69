"""Makes of one file what the outbox records: one read of its bytes, name, end, EXIF, md5, one reduced decode.

A file that is whole is settled at once. One that isn't may still be being written: the intake decides when to believe
it. The bytes of a picture are flushed before it counts as taken in: the camera doesn't do that.
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
from ..models import Candidate, Fingerprint, Taken
from ..state_dir.pending_removal import open_picture
from ..state_dir.thumbnails import ThumbnailFolder, Thumbnails
from .scanner import fingerprint_of

if TYPE_CHECKING:
    from sticky_pi_api.image_parser import ImageParser

FAR_FUTURE: Final = 86400.0
"""Seconds ahead of the trap's clock from which a picture's time is doubted."""

STILL_YOUNG: Final = 2.0
"""Seconds since its last change for which a file with bytes behind the picture's end may still grow."""

_NOT_THE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of this process or the system, which say nothing of the file that was to be opened or read"""

_COLUMNS = frozenset({"device", "datetime", "filename", "md5"})


class Ingested(NamedTuple):
    """What became of one file."""

    taken: Taken
    settled: bool
    """False where it is no whole picture as it stands, or has more behind it, and may still be being written"""


class Ingest:
    """Takes in the files of one image dir."""

    def __init__(
        self,
        image_dir: str,
        thumbnails: ThumbnailFolder,
        clock: Callable[[], float],
        is_synchronised: Callable[[], bool | None] = is_synchronised,
    ) -> None:
        """Keep the thumbnails of what is taken in; `clock` gives the Unix time, to doubt pictures from the future.

        Whether that `is_synchronised` with a time server's is noted of each.
        """
        self._image_dir = image_dir
        self._thumbnails = thumbnails
        self._clock = clock
        self._is_synchronised = is_synchronised

    def take_in(self, candidate: Candidate, file_system: str) -> Ingested:
        """Read a candidate's file and say what it is.

        Raises FileNotFoundError where it is gone, and OSError where its thumbnails can't be written or the system has
        no descriptor or memory to read it with.
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

    def still_is(self, candidate: Candidate) -> Fingerprint | None:
        """Hash a file that looks as it did, but for its ctime: how it looks now, where it has the bytes that it had."""
        from sticky_pi_api.utils import md5

        try:
            with open_picture(self._image_dir, candidate.path) as file:
                before = fingerprint_of(os.fstat(file.fileno()))
                same = md5(file) == candidate.md5
                return before if same and fingerprint_of(os.fstat(file.fileno())) == before else None
        except OSError:
            return None

    def _read(self, file: IO[bytes], taken: Taken) -> Ingested:
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.image_parser import ImageParser

        before = fingerprint_of(os.fstat(file.fileno()))
        taken = taken._replace(fingerprint=before)
        try:
            parser = ImageParser(file)
            flush(file.fileno())
        except ImageError as error:
            return Ingested(taken._replace(md5=error.md5, rejected=error.reason), settled=False)
        except OSError as error:
            return _unreadable(taken, error)
        if fingerprint_of(os.fstat(file.fileno())) != before:
            return Ingested(taken._replace(rejected="it changed while it was read"), settled=False)
        # Behind a picture's end, something may still be being written.
        is_young = self._clock() - before.mtime_ns / 1e9 < STILL_YOUNG
        return Ingested(self._keep(parser, taken), settled=not (parser.surplus and is_young))

    def _keep(self, parser: ImageParser, taken: Taken) -> Taken:
        md5 = str(parser["md5"])
        self._thumbnails.keep(md5, Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg))
        fields = {name: value for name, value in parser.items() if name not in _COLUMNS}
        doubts = filter(None, (parser.suspect, self._doubt_time(parser["datetime"])))
        return taken._replace(md5=md5, metadata=fields, suspect=summary(doubts))

    def _doubt_time(self, taken_at: datetime) -> str | None:
        now = self._clock()
        if PLATFORM_START <= now < taken_at.replace(tzinfo=UTC).timestamp() - FAR_FUTURE:
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


def _unreadable(taken: Taken, error: OSError) -> Ingested:
    if error.errno in _NOT_THE_FILES:
        raise error
    # Without a fingerprint, every scan looks at it again: it may become readable without changing.
    return Ingested(taken._replace(fingerprint=None, rejected=f"can't be read: {error.strerror}"), settled=False)
