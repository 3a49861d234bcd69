"""Parse the structure of a JPEG file before anything decodes it: dimensions, EXIF, start and end of the data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sticky_pi_api.images.doubts import NOTE

START, END = b"\xff\xd8", b"\xff\xd9"
HOLE = bytes(64)
"""A run of zero bytes that no camera writes after the start of scan: a hole left by a power cut."""

_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
# Any number of 0xFF may stand before a marker; 0xFF00 and restarts are parts of coded data.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_STANDALONE = frozenset({0x01, 0xD8, _END})
# SOF0 to SOF15 without DHT, JPG and DAC, which lie between them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
# Metadata that a decoder needs not: all but JFIF (APP0) and Adobe (APP14), which tell the colour space.
_METADATA = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
_EXIF_HEADER = b"Exif\0\0"
_MOST_SEGMENTS = 1000
_COEFFICIENT_BYTES = 2
_Part = tuple[int, slice]

# Several scans, a progressive picture, and a first scan of some components only make the decoder keep every
# coefficient, and go over all of them for each scan. Cameras write one scan, row by row; without these limits a small
# file could take a trap's memory and hours of its time.
_MOST_SCANS = 32
_MOST_COEFFICIENT_BYTES = 128 * 1024 * 1024

# How the files begin that people take for JPEG pictures: offset, bytes, what to call it.
_OTHERS = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF or raw picture"),
    (0, b"MM\0*", "a TIFF or raw picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"SQLite format 3\0", "a database"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"{", "a JSON text"),
)


class JpegError(ValueError):
    """The bytes aren't a whole JPEG picture; the message says why."""


class Jpeg(NamedTuple):
    """A JPEG picture's bytes and the contents of its header."""

    blob: bytes
    width: int
    """pixels"""
    height: int
    """pixels"""
    exif: bytes | None
    """the TIFF structure in its Exif segments, which the servers put together"""
    scan: int
    """the offset of the first start of scan"""
    data: slice
    """the coded data between it and the next marker, which is the end mark in a camera's picture"""
    end: int
    """the offset behind the end mark"""
    needed: tuple[slice, ...]
    """the segments that a decoder can't do without"""
    is_sequential: bool
    """whether its one scan holds it row by row, as cameras write it"""
    doubts: tuple[str, ...]
    """doubts about its parts, and harmless notes"""

    def __repr__(self) -> str:
        """Show its size, but not its bytes."""
        return f"{type(self).__name__}({self.width}x{self.height})"

    @property
    def has_hole(self) -> bool:
        """Whether a run of zero bytes in the coded data shows that a part of it was never written."""
        return self.blob.find(HOLE, self.data.start, self.end) >= 0

    @property
    def surplus(self) -> int:
        """How many bytes the file has behind the picture's end."""
        return len(self.blob) - self.end

    def without_metadata(self) -> tuple[bytes, slice]:
        """Return the picture for a decoder, and where its coded data are.

        That is without EXIF and its like, which decoders parse, and warn about.
        """
        whole = memoryview(self.blob)
        bare = b"".join([START, *(whole[segment] for segment in self.needed), whole[self.scan : self.end]])
        removed = self.end - len(bare)
        return bare, slice(self.data.start - removed, self.data.stop - removed)


def read_jpeg(blob: bytes, most_pixels: int | None) -> Jpeg:
    """Find a picture's parts, and make sure that decoding it takes no more memory and time than it should.

    Raises JpegError when it is no JPEG, is cut short, or claims more than `most_pixels`.
    """
    _check_start(blob)
    parts = list(_parts(blob))
    at = next((number for number, (marker, _) in enumerate(parts) if marker == _SCAN), None)
    header, behind = parts[:at], [] if at is None else parts[at + 1 :]
    _check_end(blob, len(blob) if at is None else parts[at][1].stop, behind)
    if at is None:
        raise JpegError("its header is damaged: no picture data follow it")
    scan, end = parts[at][1], behind[-1][1].stop
    frames = [(marker, where) for marker, where in header if marker in _FRAMES]
    if len(frames) != 1:
        raise JpegError(f"its header is damaged: it describes {len(frames)} pictures, not one")
    height, width, components = _dimensions(blob, frames[0][1])
    _check_dimensions(width, height, most_pixels)
    is_sequential = frames[0][0] in _SEQUENTIAL and _payload(blob, scan)[:1] == bytes([components])
    scans = 1 + sum(marker == _SCAN for marker, _ in behind)
    _check_scans(scans, width * height * components, is_row_by_row=is_sequential and scans == 1)
    exifs = list(_exifs(blob, header))
    return Jpeg(
        blob=blob,
        width=width,
        height=height,
        exif=b"".join(exifs) or None,
        scan=scan.start,
        data=slice(scan.stop, _without_fill(blob, scan.stop, behind[0][1].start)),
        end=end,
        needed=tuple(where for marker, where in header if marker not in _METADATA),
        is_sequential=is_sequential,
        doubts=(
            *_strays(blob, [where for _, where in [*header, parts[at]]]),
            *(_intruder(behind[0][0]) if is_sequential else ()),
            *([f"{NOTE}an empty Exif segment before the one with metadata"] if any(exifs) and not exifs[0] else []),
            *([f"{NOTE}{len(blob) - end} bytes behind the end"] if end < len(blob) else []),
        ),
    )


def _check_start(blob: bytes) -> None:
    if not blob:
        raise JpegError("it is empty: nothing of it was written")
    if not blob.startswith(START):
        raise JpegError(f"it isn't a JPEG picture: {_what_it_is(blob)}")


def _check_end(blob: bytes, data: int, behind: list[_Part]) -> None:
    """Check that there is an end mark behind the start of the coded data, and that decoders find it.

    A picture that leads some past its end is as bad for a server as one that is cut short.
    """
    if behind and behind[-1][0] == _END:
        return
    if blob.find(END, min(data, len(blob) - len(END))) < 0:
        raise JpegError("it is cut short: the end of the picture is missing")
    if data < len(blob):
        raise JpegError("its data are damaged: a marker amid them hides the end of the picture")


def _what_it_is(blob: bytes) -> str:
    if not any(blob):
        return "it holds nothing but zero bytes, so it was never written"
    for offset, magic, name in _OTHERS:
        if blob.startswith(magic, offset):
            return f"it is {name}"
    return "it begins as no picture does"


def _parts(blob: bytes) -> Iterator[_Part]:
    """Yield each segment's marker and place, and at last the end mark's, as decoders find them."""
    at = len(START)
    for _ in range(_MOST_SEGMENTS):
        if (found := _MARKER.search(blob, at)) is None:
            return
        marker, at = blob[found.start() + 1], found.end()
        if marker not in _STANDALONE:
            length = int.from_bytes(blob[at : at + 2], "big")
            at += length
            if length < 2 or at > len(blob):  # noqa: PLR2004 - the length counts its own two bytes
                return
        yield marker, slice(found.start(), at)
        if marker == _END:
            return


def _without_fill(blob: bytes, start: int, marker: int) -> int:
    """Return where the data before a marker end: any number of 0xFF may stand between."""
    return start + len(blob[start:marker].rstrip(b"\xff")) if blob[marker - 1] == 0xFF else marker  # noqa: PLR2004


def _strays(blob: bytes, segments: list[slice]) -> Iterator[str]:
    ends = [len(START), *(segment.stop for segment in segments)]
    strays = sum(len(blob[end : segment.start].rstrip(b"\xff")) for end, segment in zip(ends, segments, strict=False))
    if strays:
        yield f"its header is damaged: {strays} bytes in it belong to none of its parts"


def _intruder(marker: int) -> Iterator[str]:
    if marker != _END:
        yield f"its data are damaged: they end at a marker that doesn't belong there (FF {marker:02X})"


def _payload(blob: bytes, segment: slice) -> bytes:
    """Return the content of a segment, without its marker and length."""
    return blob[segment][4:]


def _dimensions(blob: bytes, frame: slice) -> tuple[int, int, int]:
    """Return the height, width and number of components of a start of frame."""
    payload = _payload(blob, frame)[:6].ljust(6, b"\0")
    return int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big"), payload[5]


def _check_dimensions(width: int, height: int, most_pixels: int | None) -> None:
    if not width or not height:
        raise JpegError(f"its header is damaged: it claims {width}x{height} pixels")
    if most_pixels is not None and width * height > most_pixels:
        raise JpegError(f"it claims {width}x{height} pixels, more than any trap's camera has")


def _check_scans(scans: int, coefficients: int, *, is_row_by_row: bool) -> None:
    if scans > _MOST_SCANS:
        raise JpegError(f"it has {scans} scans: decoding it would take too long")
    if not is_row_by_row and coefficients * _COEFFICIENT_BYTES > _MOST_COEFFICIENT_BYTES:
        raise JpegError("it is large, and not kept row by row: decoding it would take too much memory")


def _exifs(blob: bytes, header: list[_Part]) -> Iterator[bytes]:
    """Yield the part of the TIFF structure in each Exif segment."""
    for marker, where in header:
        if marker == _EXIF and (payload := _payload(blob, where)).startswith(_EXIF_HEADER):
            yield payload.removeprefix(_EXIF_HEADER)
