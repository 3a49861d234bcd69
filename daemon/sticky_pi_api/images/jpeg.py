"""Parse the structure of a JPEG file before anything decodes it: dimensions, EXIF, start and end of the data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sticky_pi_api.images.doubts import NOTE

START, END = b"\xff\xd8", b"\xff\xd9"
HOLE = bytes(64)
"""A run of zero bytes that no camera writes after the start of scan: a hole left by a power cut"""

_SCAN, _END, _EXIF, _RESTART_INTERVAL = 0xDA, 0xD9, 0xE1, 0xDD
# Any number of 0xFF may precede a marker; 0xFF00 and restart markers are parts of coded data.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_RESTARTS = bytes(range(0xD0, 0xD8))
_STANDALONE = frozenset({0x01, 0xD8, _END})
# SOF0 to SOF15 without DHT, JPG and DAC, which lie between them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
# Segments that decoding doesn't need. JFIF (APP0) and Adobe (APP14) give the colour space. Colour profiles and indexes
# of further pictures (APP2), and resources of Photoshop (APP13), are kept because the servers' Pillow refuses a picture
# in which they are damaged.
_METADATA = frozenset({0xE1, *range(0xE3, 0xED), 0xEF, 0xFE})
_EXIF_HEADER = b"Exif\0\0"
_MOST_SEGMENTS = 1000
_COEFFICIENT_BYTES = 2
_Segment = tuple[int, slice]
"""A marker, and the place of its segment in the file"""

# For a progressive picture, several scans, or a first scan of only some components, the decoder keeps all coefficients,
# and reads all of them again for each scan. Cameras write one scan, row by row. Without these limits a small file could
# take a trap's memory and hours of its time.
_MOST_SCANS = 32
_MOST_COEFFICIENT_BYTES = 128 * 1024 * 1024

# Other formats that people take for JPEG pictures: offset, bytes there, name.
_OTHER_FORMATS = (
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
    """The bytes of a JPEG picture, and what its header says."""

    blob: bytes
    width: int
    """pixels"""
    height: int
    """pixels"""
    exif: bytes | None
    """the TIFF structure in its Exif segments, joined as the servers join them"""
    scan: int
    """the offset of the first start of scan"""
    data: slice
    """the coded data between the start of scan and the next marker, which is the end mark in a camera's picture"""
    end: int
    """the offset behind the end mark"""
    needed: tuple[slice, ...]
    """the header's segments, without metadata that decoders would parse, and warn about"""
    is_sequential: bool
    """whether it has one scan, row by row, as cameras write it"""
    doubts: tuple[str, ...]
    """doubts about its segments and data, and harmless notes"""

    @property
    def has_hole(self) -> bool:
        """Whether a run of zero bytes in the coded data shows that a part of it was never written."""
        return self.blob.find(HOLE, self.data.start, self.end) >= 0

    @property
    def surplus(self) -> int:
        """How many bytes the file has behind the picture's end."""
        return len(self.blob) - self.end

    def bare_header(self) -> bytes:
        """Return everything up to the coded data, without metadata."""
        segments = (*self.needed, slice(self.scan, self.data.start))
        return b"".join([START, *(self.blob[segment] for segment in segments)])

    def coded(self) -> bytes:
        """Return everything from the start of the coded data to the end mark."""
        return self.blob[self.data.start : self.end]


def read_jpeg(blob: bytes, most_pixels: int | None) -> Jpeg:
    """Find a picture's segments, and check that decoding it takes no more memory and time than a camera's picture.

    Raises JpegError where it isn't a JPEG picture, is cut short, or claims more than `most_pixels`.
    """
    if not blob.startswith(START):
        raise JpegError(_describe(blob))
    segments = list(_segments(blob))
    at = next((number for number, (marker, _) in enumerate(segments) if marker == _SCAN), None)
    header, behind = segments[:at], [] if at is None else segments[at + 1 :]
    _check_end(blob, len(blob) if at is None else segments[at][1].stop, behind)
    if at is None:
        raise JpegError("its header is damaged: no picture data follow it")
    scan, end = segments[at][1], behind[-1][1].stop
    frames = [(marker, where) for marker, where in header if marker in _FRAMES]
    if len(frames) != 1:
        raise JpegError(f"its header is damaged: it describes {len(frames)} pictures, not one")
    height, width, components = _dimensions(blob, frames[0][1])
    _check_dimensions(width, height, most_pixels)
    is_sequential = frames[0][0] in _SEQUENTIAL and _payload(blob, scan)[:1] == bytes([components])
    scans = 1 + sum(marker == _SCAN for marker, _ in behind)
    _check_scans(scans, width * height * components, is_row_by_row=is_sequential and scans == 1)
    exifs = list(_exifs(blob, header))
    data = slice(scan.stop, _without_fill(blob, scan.stop, behind[0][1].start))
    return Jpeg(
        blob=blob,
        width=width,
        height=height,
        exif=b"".join(exifs) or None,
        scan=scan.start,
        data=data,
        end=end,
        needed=tuple(where for marker, where in header if marker not in _METADATA),
        is_sequential=is_sequential,
        doubts=(
            *_stray_bytes(blob, [where for _, where in segments[: at + 1]]),
            *(_unexpected_marker(behind[0][0]) if is_sequential else ()),
            *(_misplaced_restart(blob, data) if any(marker == _RESTART_INTERVAL for marker, _ in header) else ()),
            *([f"{NOTE}an empty Exif segment before the one with metadata"] if any(exifs) and not exifs[0] else []),
            *([f"{NOTE}{len(blob) - end} bytes behind the end"] if end < len(blob) else []),
        ),
    )


def _check_end(blob: bytes, data: int, behind: list[_Segment]) -> None:
    """Check that an end mark follows the start of the coded data, and that every decoder finds it.

    Some decoders read past the end of a picture whose end mark is hidden: a server may hang as with one cut short.
    """
    if behind and behind[-1][0] == _END:
        return
    if blob.find(END, min(data, len(blob) - len(END))) < 0:
        raise JpegError("it is cut short: the end of the picture is missing")
    if data < len(blob):
        raise JpegError("its data are damaged: a marker amid them hides the end of the picture")


def _describe(blob: bytes) -> str:
    if not blob:
        return "it is empty: nothing of it was written"
    if not any(blob):
        return "it isn't a JPEG picture: it holds nothing but zero bytes, so it was never written"
    names = (f"is {name}" for offset, magic, name in _OTHER_FORMATS if blob.startswith(magic, offset))
    return f"it isn't a JPEG picture: it {next(names, 'begins as no picture does')}"


def _segments(blob: bytes) -> Iterator[_Segment]:
    """Yield the segments as decoders find them, up to the end mark."""
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
    """Return the end of the data before a marker: any number of 0xFF may stand between."""
    return start + len(blob[start:marker].rstrip(b"\xff")) if blob[marker - 1] == 0xFF else marker  # noqa: PLR2004


def _stray_bytes(blob: bytes, segments: list[slice]) -> Iterator[str]:
    ends = [len(START), *(segment.stop for segment in segments)]
    strays = sum(len(blob[end : segment.start].rstrip(b"\xff")) for end, segment in zip(ends, segments, strict=False))
    if strays:
        yield f"its header is damaged: {strays} bytes in it belong to none of its parts"


def _unexpected_marker(marker: int) -> Iterator[str]:
    if marker != _END:
        yield f"its data are damaged: they end at a marker that doesn't belong there (FF {marker:02X})"


def _misplaced_restart(blob: bytes, data: slice) -> Iterator[str]:
    """Yield a doubt unless the restart markers count from D0 to D7 again and again, as every encoder writes them."""
    found = b"".join(_RESTART.findall(blob, data.start, data.stop))
    if found != (_RESTARTS * (len(found) // len(_RESTARTS) + 1))[: len(found)]:
        yield "its data are damaged: their restart markers are out of order"


def _payload(blob: bytes, segment: slice) -> bytes:
    """Return the contents of a segment, without its marker and length."""
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


def _exifs(blob: bytes, header: list[_Segment]) -> Iterator[bytes]:
    """Yield the part of the TIFF structure in each Exif segment."""
    for marker, where in header:
        if marker == _EXIF and (payload := _payload(blob, where)).startswith(_EXIF_HEADER):
            yield payload.removeprefix(_EXIF_HEADER)
