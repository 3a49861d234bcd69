"""The two EXIF entries that a Sticky Pi's camera program writes its metadata into, read with piexif."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
_POINTERS = frozenset({_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD})
_SHORT, _LONG = 3, 4
_TYPE_SIZES = {1: 1, 2: 1, _SHORT: 2, _LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_ENTRY_SIZE = 12
_INLINE_SIZE = 4

# Far beyond any camera's; piexif's own work and memory follow from them.
_MOST_ENTRIES = 1000
_MOST_BYTES = 0x10000

_CHARACTER_CODES = (b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", bytes(8))


class ExifError(ValueError):
    """The EXIF isn't what a Sticky Pi writes; the message says why."""


class Exif(NamedTuple):
    """The text of the two entries, without NULs; '' where there is none."""

    make: str
    user_comment: str


def read_exif(tiff: bytes) -> Exif:
    """Read `Make` and `UserComment` from the TIFF structure of an Exif segment.

    Raises ExifError when any part of it is damaged: piexif, which the servers use as well, reads all of it or none.
    """
    _check_claims(tiff)
    import piexif

    try:
        found = piexif.load(b"Exif\0\0" + tiff)
    except Exception as error:  # it raises whatever the damage leads to: struct.error, ValueError, TypeError, …
        raise ExifError("its EXIF is damaged") from error
    return Exif(
        make=_text(found["0th"].get(piexif.ImageIFD.Make)),
        user_comment=_text(found["Exif"].get(piexif.ExifIFD.UserComment)),
    )


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return ""
    for code in _CHARACTER_CODES:
        value = value.removeprefix(code)
    return value.replace(b"\0", b"").decode("utf-8", "replace").strip()


def _check_claims(tiff: bytes) -> None:
    """Add up what the entries claim to hold: from a false count piexif would make gigabytes out of a few bytes."""
    entries = claimed = 0
    try:
        for size in _claimed_sizes(tiff):
            entries += 1
            claimed += size if size > _INLINE_SIZE else 0
            if entries > _MOST_ENTRIES or claimed > _MOST_BYTES or size > len(tiff):
                raise ExifError("its EXIF is damaged: it claims to hold more than there is")
    except struct.error as error:
        raise ExifError("its EXIF is damaged: a part of it is missing") from error


def _claimed_sizes(tiff: bytes) -> Iterator[int]:
    """Yield each entry's size in bytes, through all the directories that piexif reads."""
    order = "<" if tiff.startswith(b"II") else ">"
    (first,) = struct.unpack_from(order + "L", tiff, 4)
    directories = [(first, True)]
    while directories:
        at, is_first = directories.pop()
        (count,) = struct.unpack_from(order + "H", tiff, at)
        at += 2
        for entry in range(at, at + count * _ENTRY_SIZE, _ENTRY_SIZE):
            tag, kind, number = struct.unpack_from(order + "HHL", tiff, entry)
            yield number * _TYPE_SIZES.get(kind, 1)
            if tag in _POINTERS:
                directories.append((_pointer(tiff, order, entry, kind, number), False))
        if is_first:
            (following,) = struct.unpack_from(order + "L", tiff, at + count * _ENTRY_SIZE)
            directories += [(following, False)] if following else []


def _pointer(tiff: bytes, order: str, entry: int, kind: int, number: int) -> int:
    if number != 1 or kind not in (_SHORT, _LONG):
        raise ExifError("its EXIF is damaged: a part of it can't be found")
    (place,) = struct.unpack_from(order + ("L" if kind == _LONG else "H"), tiff, entry + 8)
    return int(place)
