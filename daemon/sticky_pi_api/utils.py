"""Small tools of the client library: checksums of files, and datetimes as text."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from sticky_pi_api.exceptions import ImageError
from sticky_pi_api.types import DatetimeLike, FileOrPath, FilePath

_DATETIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:_(\d\d)-(\d\d)-(\d\d)|T(\d\d):(\d\d):(\d\d)Z)",
    re.ASCII,
)


def md5(file: FileOrPath, chunk_size: int = 32768) -> str:
    """Return the md5 of a whole file in lower-case hexadecimal; a file-like object is left at position 0.

    Raises OSError where the file can't be read, ImageError where it isn't a regular file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with _from_start(file) as stream:
        for chunk in iter(lambda: stream.read(chunk_size), b""):
            digest.update(chunk)
    return digest.hexdigest()


def multipart_etag(file: FileOrPath, chunk_size: int) -> str:
    """Return the ETag that S3 gives a file sent in parts of `chunk_size` bytes.

    The md5 of the parts' md5s, a dash and their number; of one part its plain md5; of an empty file ''. A file-like
    object is left at position 0.
    """
    with _from_start(file) as stream:
        parts = [hashlib.md5(part, usedforsecurity=False) for part in iter(lambda: stream.read(chunk_size), b"")]
    if len(parts) <= 1:
        return parts[0].hexdigest() if parts else ""
    whole = hashlib.md5(b"".join(part.digest() for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


def datetime_to_string(dt: DatetimeLike) -> str:
    """Return a datetime as file names and requests have it, YYYY-MM-DD_HH-MM-SS; text is checked first."""
    when = string_to_datetime(dt)
    # C libraries differ in how they write years before 1000.
    return f"{when.year:04}-{when:%m-%d_%H-%M-%S}"


def string_to_datetime(string: DatetimeLike) -> datetime:
    """Return the naive UTC datetime of YYYY-MM-DD_HH-MM-SS or YYYY-MM-DDTHH:MM:SSZ; a datetime is taken as it is.

    Raises ValueError for any other text.
    """
    if isinstance(string, datetime):
        return string
    match = _DATETIME.fullmatch(string) if isinstance(string, str) else None
    if match is None:
        raise ValueError(f"{string!r} isn't a datetime: YYYY-MM-DD_HH-MM-SS or YYYY-MM-DDTHH:MM:SSZ is expected")
    try:
        return datetime(*(int(part) for part in match.groups() if part is not None))  # type: ignore[arg-type] # noqa: DTZ001 - naive datetimes are UTC throughout
    except ValueError as error:
        raise ValueError(f"{string!r} isn't a datetime: {error}") from None


def utc_now() -> datetime:
    """Return the naive UTC datetime of this moment, to the second."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def open_regular(path: FilePath) -> IO[bytes]:
    """Open a regular file for reading; what else may be there neither blocks nor is touched.

    Raises ImageError where it is something else, OSError where it can't be opened.
    """
    if "\0" in os.fspath(path):
        raise ImageError(os.fspath(path), "no file has such a path: it holds a zero byte")
    # Without O_NONBLOCK a FIFO would hold the caller until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ImageError(os.fspath(path), f"it is {_KINDS.get(kind, 'not a regular file')}, not a picture")


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def _from_start(file: FileOrPath) -> Iterator[IO[bytes]]:
    if isinstance(file, str | os.PathLike):
        with open_regular(file) as stream:
            yield stream
        return
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(0)
