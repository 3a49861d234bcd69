"""Small tools of the client library: checksums of files, and datetimes as text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from sticky_pi_api.filesystem.safe_open import open_regular
from sticky_pi_api.types import DatetimeLike, FileOrPath

if TYPE_CHECKING:
    from hashlib import _Hash

    from sticky_pi_api.bundles.files import local_bundle_files_info

__all__ = [
    "datetime_to_string",
    "local_bundle_files_info",
    "md5",
    "multipart_etag",
    "string_to_datetime",
    "utc_now",
]

_DATETIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:_(\d\d)-(\d\d)-(\d\d)|T(\d\d):(\d\d):(\d\d)Z)",
    re.ASCII,
)
_BLOCK = 2**20


def __getattr__(name: str) -> object:
    """Import `local_bundle_files_info` where it is asked for: this module is its published place."""
    if name == "local_bundle_files_info":
        from sticky_pi_api.bundles.files import local_bundle_files_info

        return local_bundle_files_info
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def new_md5(content: bytes = b"") -> _Hash:
    """Return an md5 object, as `hashlib.md5` does, without OpenSSL: to load that takes 3 ms and 3 MB."""
    try:
        from _md5 import md5  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import md5
    digest: _Hash = md5(content, usedforsecurity=False)
    return digest


def md5(file: FileOrPath, chunk_size: int = 32768) -> str:
    """Return the md5 of a whole file in lower-case hexadecimal; a file-like object is left at position 0.

    Raises OSError where the file can't be read, ImageError where it isn't a regular file.
    """
    digest = new_md5()
    with from_start(file) as stream:
        for chunk in iter(lambda: stream.read(chunk_size), b""):
            digest.update(chunk)
    return digest.hexdigest()


def multipart_etag(file: FileOrPath, chunk_size: int) -> str:
    """Return the ETag that S3 gives a file sent in parts of `chunk_size` bytes; otherwise as `md5`.

    It is the md5 of the parts' md5s, a dash and their number; for one part its plain md5; for an empty file ''.
    """
    from sticky_pi_api.bundles.etag import Etag

    etag = Etag(chunk_size)
    with from_start(file) as stream:
        for block in iter(lambda: stream.read(min(chunk_size, _BLOCK)), b""):
            etag.update(block)
    return str(etag)


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


@contextmanager
def from_start(file: FileOrPath) -> Iterator[IO[bytes]]:
    """Open a file for the block, or use a file-like object from its start and leave it at position 0.

    Raises OSError, and ImageError where the path isn't a regular file's.
    """
    if isinstance(file, str | os.PathLike):
        with open_regular(file) as stream:
            yield stream
        return
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(0)
