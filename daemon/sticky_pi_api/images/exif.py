"""Read the two EXIF entries into which a Sticky Pi's camera program writes its metadata, as the servers read them.

The servers read them by Pillow, which skips damaged parts. piexif reads all of an Exif segment or none of it,
but it is loaded in a fraction of the time: it reads what is sound, and Pillow the rest.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

_MAKE, _COMMENT = 0x010F, 0x9286
_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
_ASCII, _UNDEFINED = 2, 7
_SIZES = {1: 1, _ASCII: 1, 3: 2, 4: 4, 5: 8, 6: 1, _UNDEFINED: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_POINTERS = {3: "H", 4: "L", 8: "h", 9: "l", 13: "L"}
_HEADERS = (b"II*\0", b"MM\0*")
_ENTRY_SIZE = 12
_INLINE_SIZE = 4

# Far beyond any camera's; the readers' own work and memory follow from them.
_MOST_ENTRIES = 1000
_MOST_BYTES = 0x10000

# Which warnings are shown is one setting for all threads, and Python 3.11's parser counts its depth once for all: it
# raises SystemError when they get in each other's way.
_ONE_AT_A_TIME = threading.Lock()


class ExifError(ValueError):
    """The EXIF isn't what a Sticky Pi writes; the message says why."""


class Exif(NamedTuple):
    """The two entries."""

    make: str | None
    """'' where there is none, None where it isn't text"""
    user_comment: bytes | None
    """None where there is none, or it isn't bytes"""
    is_sound: bool
    """whether everything else is as it should be"""


class _Entry(NamedTuple):
    tag: int
    kind: int
    number: int
    place: int
    """where its value is"""

    @property
    def size(self) -> int:
        return self.number * _SIZES.get(self.kind, 1)


def read_exif(tiff: bytes) -> Exif:
    """Read `Make` and `UserComment` from the TIFF structure of an Exif segment.

    Raises ExifError where the servers can't read it either, or where that would take too much memory.
    """
    if tiff.startswith(b"Exif\0\0"):
        raise ExifError("its EXIF is damaged: it begins twice")  # new Pillows skip that, and the servers' refuse it
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        _check_all(tiff, order)
        return _with_piexif(tiff)
    except Exception:  # noqa: BLE001 - piexif raises whatever the damage leads to: struct.error, ValueError, TypeError, …
        return _with_pillow(tiff, order)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence the warnings of parsers within the block, which one thread at a time enters."""
    import warnings

    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_piexif(tiff: bytes) -> Exif:
    import piexif

    found = piexif.load(b"Exif\0\0" + tiff)
    make = found["0th"].get(_MAKE, b"").decode("latin-1")
    return Exif(make, found["Exif"].get(_COMMENT), is_sound=True)


def _with_pillow(tiff: bytes, order: str) -> Exif:
    has_exif_ifd, has_small_gps_ifd = _check_needed(tiff, order)
    from PIL import Image

    with without_warnings():
        try:
            exif = Image.Exif()
            exif.load(tiff)
            found: dict[int, Any] = {**exif, **((has_exif_ifd and exif.get_ifd(_EXIF_IFD)) or {})}
            if has_small_gps_ifd:
                exif.get_ifd(_GPS_IFD)  # as the servers do: where that raises, they refuse the picture
        except Exception as error:  # struct.error, SyntaxError, ValueError, …
            raise ExifError("its EXIF is damaged") from error
    make, comment = found.get(_MAKE, ""), found.get(_COMMENT)
    return Exif(
        make=make if isinstance(make, str) else None,
        user_comment=comment if isinstance(comment, bytes) else None,
        is_sound=False,
    )


def _check_all(tiff: bytes, order: str) -> None:
    """Raise ValueError or struct.error unless all of it is sound: then piexif reads it, and finds what Pillow would."""
    first = _first(tiff, order)
    zeroth = list(_entries(tiff, order, first))
    exif = _below(tiff, order, zeroth, _EXIF_IFD)
    (following,) = struct.unpack_from(order + "L", tiff, first + 2 + len(zeroth) * _ENTRY_SIZE)
    entries = [
        *(*zeroth, *exif, *_below(tiff, order, zeroth, _GPS_IFD), *_below(tiff, order, exif, _INTEROPERABILITY_IFD)),
        *(_entries(tiff, order, following) if following else ()),
    ]
    is_sound = (
        tiff[:4] in _HEADERS
        and len(entries) <= _MOST_ENTRIES
        and _claimed(entries) <= _MOST_BYTES
        and all(entry.place + entry.size <= len(tiff) for entry in entries)
        and all(
            entry in zeroth and entry.kind == _ASCII and tiff[entry.place : entry.place + entry.size].endswith(b"\0")
            for entry in entries
            if entry.tag == _MAKE
        )
        and all(entry in exif and entry.kind == _UNDEFINED for entry in entries if entry.tag == _COMMENT)
    )
    if not is_sound:
        raise ValueError(entries)


def _check_needed(tiff: bytes, order: str) -> tuple[bool, bool]:
    """Check that Pillow won't make hundreds of megabytes of a few bytes that many entries share.

    Tells whether there is an Exif directory, and whether there is one of GPS that can be read. Raises ExifError.
    """
    zeroth = _readable(tiff, order, None)
    exif, gps = _directories(tiff, order, zeroth, _EXIF_IFD), _directories(tiff, order, zeroth, _GPS_IFD)
    if any(_claims_too_much(tiff, directory) for directory in (zeroth, *exif)):
        raise ExifError("its EXIF is damaged: it claims to hold more than there is")
    return bool(exif), bool(gps) and not any(_claims_too_much(tiff, directory) for directory in gps)


def _directories(tiff: bytes, order: str, zeroth: Iterable[_Entry], tag: int) -> list[list[_Entry]]:
    """Return the directories that may be those which Pillow finds by a tag: the first or the last, by its version."""
    pointers = [entry for entry in zeroth if entry.tag == tag and entry.kind in _POINTERS and entry.number == 1]
    return [_readable(tiff, order, _pointed(tiff, order, entry)) for entry in (*pointers[:1], *pointers[-1:])]


def _claims_too_much(tiff: bytes, directory: Iterable[_Entry]) -> bool:
    return _claimed(entry for entry in directory if entry.size <= len(tiff)) > _MOST_BYTES


def _claimed(entries: Iterable[_Entry]) -> int:
    return sum(entry.size for entry in entries if entry.size > _INLINE_SIZE)


def _first(tiff: bytes, order: str) -> int:
    (first,) = struct.unpack_from(order + "L", tiff, 4)
    return int(first)


def _readable(tiff: bytes, order: str, at: int | None) -> list[_Entry]:
    """Return the entries of a directory, the first one if `at` is None, up to the first of which a part is missing."""
    entries: list[_Entry] = []
    with suppress(struct.error):
        for entry in _entries(tiff, order, _first(tiff, order) if at is None else at):
            entries.append(entry)  # noqa: PERF402 - those before the error count
    return entries


def _below(tiff: bytes, order: str, entries: Iterable[_Entry], tag: int) -> list[_Entry]:
    """Return the entries of the directory that the last entry with this tag points to, if there is one."""
    pointers = [entry for entry in entries if entry.tag == tag][-1:]
    return [entry for pointer in pointers for entry in _entries(tiff, order, _pointed(tiff, order, pointer))]


def _pointed(tiff: bytes, order: str, entry: _Entry) -> int:
    if entry.kind not in _POINTERS or entry.number != 1:
        raise ValueError(entry)
    (place,) = struct.unpack_from(order + _POINTERS[entry.kind], tiff, entry.place)
    return int(place)


def _entries(tiff: bytes, order: str, at: int) -> Iterator[_Entry]:
    """Yield the entries of the directory at an offset. Raises struct.error where a part of it is missing."""
    if at < 0:
        raise struct.error(at)  # else it would count from the end
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + count * _ENTRY_SIZE, _ENTRY_SIZE):
        tag, kind, number, place = struct.unpack_from(order + "HHLL", tiff, entry)
        is_inline = number * _SIZES.get(kind, 1) <= _INLINE_SIZE
        yield _Entry(tag, kind, number, entry + _ENTRY_SIZE - _INLINE_SIZE if is_inline else place)
