"""Read a trap's picture once and decode it once, for its metadata, checksum and thumbnails."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from sticky_pi_api.exceptions import DamagedImageError, FilenameError, ImageChangedError, ImageError, MetadataError
from sticky_pi_api.filesystem.safe_open import open_regular
from sticky_pi_api.images.doubts import summary
from sticky_pi_api.images.filename import format_filename, parse_filename
from sticky_pi_api.types import FileOrPath, FilePath
from sticky_pi_api.utils import from_start, new_md5, string_to_datetime

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIZE = 100_000_000
"""Largest request that the servers accept, in bytes"""


class ImageParser(dict[str, Any]):
    """One picture: a dict of its metadata, with its bytes and thumbnails as properties.

    Keys: `device`, `datetime` (naive, UTC), `filename`, `md5`, `width`, `height` (pixels), and by the trap's generation
    some of `lng`, `lat` (degrees), `alt` (m), `temp` (°C), `hum` (%), `device_version`, `bat` (%), `lum`, `but`,
    `no_flash_exposure_time` (s), `no_flash_iso`, `no_flash_bv`, `no_flash_shutter_speed`.
    """

    suspect: str | None
    """doubts about a picture that decodes, such as a hole in its data or an unusable value; the text begins with
    `note: ` where all are harmless: bytes behind its end, or a damaged part of its EXIF that nobody needs"""

    surplus: int
    """how many bytes the file has behind the picture's end; 0 for a restored picture"""

    path: str | None
    """the path from which its bytes can be read again; None for a file-like object that isn't a file on disk"""

    thumbnail_jpeg: bytes
    """the picture at a size that fits in 512x384 pixels, as JPEG"""

    thumbnail_mini_jpeg: bytes
    """the picture at a size that fits in 128x96 pixels, as JPEG"""

    def __init__(self, file: FileOrPath) -> None:
        """Read and parse `file`: a path, or a file-like object with a `name` (or `filename`), left at position 0.

        Raises the subclass of ImageError for the fault of the picture, and OSError.
        """
        super().__init__()
        if isinstance(file, str | os.PathLike):
            name = self.path = os.fspath(file)
        else:
            name, self.path = _name_of(file), _path_of(file)
        device, when = parse_filename(name)
        self._blob: bytes | None = _read_all(file, name)
        self._opener: Callable[[], IO[bytes]] | None = None
        self.update(
            device=device, datetime=when, filename=format_filename(device, when), md5=new_md5(self._blob).hexdigest()
        )
        self._parse(self._blob, name)

    @classmethod
    def restore(
        cls,
        path: FilePath,
        fields: Mapping[str, Any],
        thumbnail_jpeg: bytes,
        thumbnail_mini_jpeg: bytes,
        *,
        suspect: str | None = None,
        opener: Callable[[], IO[bytes]] | None = None,
    ) -> ImageParser:
        """Return the parser of a picture that was parsed earlier, perhaps by another process; no file is read.

        `fields` are its items (`datetime` may be text). `opener` opens its file where `path` may lead through links;
        it may raise OSError.
        """
        parser = cls.__new__(cls)
        dict.__init__(parser, fields)
        parser["datetime"] = string_to_datetime(fields["datetime"])
        parser["filename"] = parser.filename
        parser.path, parser.suspect, parser._blob = os.fspath(path), suspect, None  # noqa: SLF001 - one of us
        parser.surplus, parser._opener = 0, opener  # noqa: SLF001
        parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg = thumbnail_jpeg, thumbnail_mini_jpeg
        return parser

    @property
    def filename(self) -> str:
        """The name of the picture's file, its extension in lower case."""
        return format_filename(self["device"], self["datetime"])

    @property
    def file_blob(self) -> bytes:
        """The parsed bytes, kept or read again. Raises ImageChangedError where the file has changed, and OSError."""
        if self._blob is not None:
            return self._blob
        if self.path is None:
            raise FileNotFoundError(f"{self.filename}: its bytes were dropped, and it has no path to read them from")
        try:
            with self.open() as stream:
                blob = _read_all(stream, self.path)
        except ImageError as error:
            raise ImageChangedError(self.path, f"it is no longer the file that was parsed: {error.reason}") from error
        md5 = new_md5(blob).hexdigest()
        if md5 != self["md5"]:
            text = f"its bytes are no longer those that were parsed (md5 {self['md5']})"
            raise ImageChangedError(self.path, text, md5)
        return blob

    def open(self) -> IO[bytes]:
        """Open the picture's file, or its bytes where it has none. Raises ImageError and OSError."""
        if self._opener is not None:
            return self._opener()
        return io.BytesIO(self.file_blob) if self.path is None else open_regular(self.path)

    def forget_blob(self) -> None:
        """Drop the bytes if they can be read again: from now on `file_blob` reads them each time."""
        if self.path is not None:
            self._blob = None

    @property
    def thumbnail(self) -> Image:
        """The picture, decoded, at a size that fits in 512x384 pixels."""
        from sticky_pi_api.images.thumbnails import open_thumbnail

        return open_thumbnail(self.thumbnail_jpeg)

    @property
    def thumbnail_mini(self) -> Image:
        """The picture, decoded, at a size that fits in 128x96 pixels."""
        from sticky_pi_api.images.thumbnails import open_thumbnail

        return open_thumbnail(self.thumbnail_mini_jpeg)

    def _parse(self, blob: bytes, name: str) -> None:
        # A restored picture needs none of these, and Pillow costs more than all other imports of a start.
        from sticky_pi_api.images.exif_metadata import read_metadata
        from sticky_pi_api.images.jpeg import JpegError, read_jpeg
        from sticky_pi_api.images.thumbnails import decode, most_pixels
        from sticky_pi_api.images.tiff import ExifError

        try:
            jpeg = read_jpeg(blob, most_pixels())
            fields, doubts = read_metadata(jpeg.exif)
            self.thumbnail_jpeg, self.thumbnail_mini_jpeg, of_data = decode(jpeg)
        except JpegError as error:
            raise DamagedImageError(name, str(error), self["md5"]) from error
        except ExifError as error:
            raise MetadataError(name, str(error), self["md5"]) from error
        self.update(width=jpeg.width, height=jpeg.height, **fields)
        hole = "a part of its data was never written: there are zero bytes in its place" if jpeg.has_hole else None
        self.suspect = summary([*filter(None, (hole, of_data)), *doubts, *jpeg.doubts])
        self.surplus = jpeg.surplus


def _name_of(file: IO[bytes]) -> str:
    for attribute in ("name", "filename"):
        if isinstance(name := getattr(file, attribute, None), str):
            return name
    raise FilenameError(type(file).__name__, "the file-like object has no name: it needs a picture's file name")


def _path_of(file: IO[bytes]) -> str | None:
    name = getattr(file, "name", None)
    try:
        return name if isinstance(name, str) and file.fileno() >= 0 else None
    except (AttributeError, OSError):  # io.BytesIO and its like
        return None


def _read_all(file: FileOrPath, name: str) -> bytes:
    with from_start(file) as stream:
        _check_size(stream.seek(0, os.SEEK_END), name)
        stream.seek(0)
        blob = stream.read(MAX_SIZE + 1)
    _check_size(len(blob), name)
    return blob


def _check_size(size: int, name: str) -> None:
    if size > MAX_SIZE:
        raise DamagedImageError(name, f"it is larger than the {MAX_SIZE // 10**6} MB that a picture can have")
