"""What a JPEG file says of itself before anything decodes it: its dimensions, its EXIF, its start and end of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

START, END = b"\xff\xd8", b"\xff\xd9"
HOLE = bytes(64)
"""A run of zero bytes that no camera writes after the start of scan: a hole left by a power cut."""

_SCAN, _EXIF = 0xDA, 0xE1
_STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
# SOF0 to SOF15 without DHT, JPG and DAC, which lie between them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Metadata that a decoder needs not: all but JFIF (APP0) and Adobe (APP14), which tell the colour space.
_METADATA = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
_EXIF_HEADER = b"Exif\0\0"
_MOST_SEGMENTS = 1000
_COEFFICIENT_BYTES = 2

# Several scans (a progressive picture) make the decoder keep every coefficient and go over all of them for each
# scan. Cameras write one scan; without these limits a small file could take a trap's memory and hours of its time.
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
    """A JPEG picture's bytes and what its header says."""

    blob: bytes
    width: int
    """pixels"""
    height: int
    """pixels"""
    exif: bytes | None
    """the TIFF structure in its first Exif segment"""
    scan: int
    """where the coded data begin: the offset of the first start of scan"""
    needed: tuple[slice, ...]
    """the segments that a decoder can't do without"""

    def __repr__(self) -> str:
        """Tell its size, but not its bytes."""
        return f"{type(self).__name__}({self.width}x{self.height})"

    @property
    def has_hole(self) -> bool:
        """Whether a run of zero bytes in the coded data shows that a part of it was never written."""
        return self.blob.find(HOLE, self.scan) >= 0

    def without_metadata(self) -> bytes:
        """Return the picture for a decoder: without EXIF and its like, which decoders parse, and warn about."""
        whole = memoryview(self.blob)
        return b"".join([START, *(whole[segment] for segment in self.needed), whole[self.scan :]])


def read_jpeg(blob: bytes, most_pixels: int | None) -> Jpeg:
    """Find a picture's parts, and make sure that decoding it takes no more memory and time than it should.

    Raises JpegError when it is no JPEG, is cut short, or claims more than `most_pixels`.
    """
    _check_ends(blob)
    segments = list(_segments(blob))
    scan = segments.pop()[1].start
    frames = [(marker, where) for marker, where in segments if marker in _FRAMES]
    if len(frames) != 1:
        raise JpegError(f"its header is damaged: it describes {len(frames)} pictures, not one")
    height, width, components = _dimensions(blob, frames[0][1])
    _check_dimensions(width, height, most_pixels)
    _check_scans(blob.count(b"\xff\xda", scan), width * height * components)
    return Jpeg(
        blob=blob,
        width=width,
        height=height,
        exif=_exif(blob, segments),
        scan=scan,
        needed=tuple(where for marker, where in segments if marker not in _METADATA),
    )


def _check_ends(blob: bytes) -> None:
    if not blob:
        raise JpegError("it is empty: nothing of it was written")
    if not blob.startswith(START):
        raise JpegError(f"it isn't a JPEG picture: {_what_it_is(blob)}")
    if not blob.endswith(END):
        raise JpegError("it is cut short: the end of the picture is missing")


def _what_it_is(blob: bytes) -> str:
    if not any(blob):
        return "it holds nothing but zero bytes, so it was never written"
    for offset, magic, name in _OTHERS:
        if blob.startswith(magic, offset):
            return f"it is {name}"
    return "it begins as no picture does"


def _segments(blob: bytes) -> Iterator[tuple[int, slice]]:
    """Yield each segment's marker and place, from its marker to its end, up to the first start of scan."""
    at = len(START)
    for _ in range(_MOST_SEGMENTS):
        # JPEG allows more than one 0xFF here; piexif doesn't, and no camera writes it.
        if at + 4 > len(blob) or blob[at] != 0xFF:  # noqa: PLR2004 - what every marker begins with
            break
        start, marker = at, blob[at + 1]
        at += 2
        if marker not in _STANDALONE:
            length = int.from_bytes(blob[at : at + 2], "big")
            at += length
            if length < 2 or at > len(blob):  # noqa: PLR2004 - the length counts its own two bytes
                break
        yield marker, slice(start, at)
        if marker == _SCAN:
            return
    raise JpegError("its header is damaged: no picture data follow it")


def _payload(blob: bytes, segment: slice) -> bytes:
    """Return what follows a segment's marker and length."""
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


def _check_scans(scans: int, coefficients: int) -> None:
    if scans > _MOST_SCANS:
        raise JpegError(f"it has {scans} scans: decoding it would take too long")
    if scans > 1 and coefficients * _COEFFICIENT_BYTES > _MOST_COEFFICIENT_BYTES:
        raise JpegError("it is progressive and large: decoding it would take too much memory")


def _exif(blob: bytes, segments: list[tuple[int, slice]]) -> bytes | None:
    for marker, where in segments:
        if marker == _EXIF and (payload := _payload(blob, where)).startswith(_EXIF_HEADER):
            return payload.removeprefix(_EXIF_HEADER)
    return None
