"""Read the two EXIF entries into which a Sticky Pi's camera program writes its metadata, as the servers read them.

The servers use Pillow, which skips damaged parts. piexif reads all of an Exif segment or nothing, but is imported in a
fraction of the time. So piexif reads sound segments, and Pillow reads damaged ones.
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
_HEADER_SIZE, _ENTRY_SIZE, _INLINE_SIZE = 8, 12, 4
_NOWHERE = -1

# No camera writes nearly as much. The limits bound the work and memory of both libraries.
_MOST_ENTRIES = 1000
_MOST_BYTES = 0x10000

# All threads share the filters of warnings, and Python 3.11's parser counts the depth of nesting for all threads
# together: it raises SystemError where two threads parse at the same time.
_ONE_AT_A_TIME = threading.Lock()


class ExifError(ValueError):
    """The EXIF isn't a Sticky Pi's; the message says why."""


class Exif(NamedTuple):
    """The two entries."""

    make: str | None
    """'' where the entry is missing, None where it isn't text"""
    user_comment: bytes | None
    """None where the entry is missing, or isn't bytes"""
    is_sound: bool
    """whether all other entries and directories are undamaged"""


class _Entry(NamedTuple):
    """One entry of a directory; `kind` is the TIFF type of its `number` values, and `offset` where they are."""

    tag: int
    kind: int
    number: int
    offset: int

    @property
    def size(self) -> int:
        return self.number * _SIZES.get(self.kind, 1)


def read_exif(tiff: bytes) -> Exif:
    """Read `Make` and `UserComment` from the TIFF structure of an Exif segment.

    Raises ExifError where the servers can't read it either, or where Pillow would take too much memory for it.
    """
    if tiff.startswith(b"Exif\0\0"):
        # Pillow skips it only in newer releases than the servers'.
        raise ExifError("its EXIF is damaged: it begins twice")
    structure = Tiff(tiff)
    try:
        _check_all(structure)
        return _read_with_piexif(tiff)
    except Exception:  # noqa: BLE001 - piexif raises struct.error, ValueError, TypeError, … by the damage
        return _read_with_pillow(structure)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore the warnings of parsers within the block, which only one thread enters at a time."""
    import warnings

    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Tiff:
    """A TIFF structure, whose directories are read one by one; it may be damaged anywhere."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self._order = "<" if blob.startswith(b"II") else ">"
        self.first = self.integer("L", 4) if len(blob) >= _HEADER_SIZE else _NOWHERE
        """the offset of the first directory"""

    def integer(self, kind: str, at: int) -> int:
        """Return the number of a type of `struct` at an offset. Raises struct.error where it is missing."""
        if at < 0:  # `unpack_from` would count from the end
            raise struct.error(at)
        (value,) = struct.unpack_from(self._order + kind, self.blob, at)
        return int(value)

    def target(self, entry: _Entry) -> int:
        """Return the offset to which an entry points. Raises ValueError or struct.error where it is no pointer."""
        if entry.kind not in _POINTERS or entry.number != 1:
            raise ValueError(entry)
        return self.integer(_POINTERS[entry.kind], entry.offset)

    def entries(self, at: int) -> Iterator[_Entry]:
        """Yield the entries of the directory at an offset. Raises struct.error where a part of it is missing."""
        for place in range(at + 2, at + 2 + self.integer("H", at) * _ENTRY_SIZE, _ENTRY_SIZE):
            entry = _Entry(*struct.unpack_from(self._order + "HHLL", self.blob, place))
            is_inline = entry.size <= _INLINE_SIZE
            yield entry._replace(offset=place + _ENTRY_SIZE - _INLINE_SIZE) if is_inline else entry

    def whole_entries(self, at: int) -> list[_Entry]:
        """Return the entries before the first incomplete one of the directory at an offset."""
        entries: list[_Entry] = []
        with suppress(struct.error):
            for entry in self.entries(at):
                entries.append(entry)  # noqa: PERF402 - the entries before the error count
        return entries

    def claims_too_much(self, directory: Iterable[_Entry]) -> bool:
        """Return whether entries share so many bytes that Pillow would make hundreds of megabytes of them."""
        return _value_bytes(entry for entry in directory if entry.size <= len(self.blob)) > _MOST_BYTES


def _read_with_piexif(tiff: bytes) -> Exif:
    import piexif

    found = piexif.load(b"Exif\0\0" + tiff)
    make = found["0th"].get(_MAKE, b"").decode("latin-1")
    return Exif(make, found["Exif"].get(_COMMENT), is_sound=True)


def _read_with_pillow(tiff: Tiff) -> Exif:
    has_exif_ifd, has_small_gps_ifd = _has_exif_and_gps(tiff)
    from PIL import Image

    with without_warnings():
        try:
            exif = Image.Exif()
            exif.load(tiff.blob)
            found: dict[int, Any] = {**exif, **((has_exif_ifd and exif.get_ifd(_EXIF_IFD)) or {})}
            if has_small_gps_ifd:
                exif.get_ifd(_GPS_IFD)  # the servers do so, and refuse the picture where this raises
        except Exception as error:  # struct.error, SyntaxError, ValueError, …
            raise ExifError("its EXIF is damaged") from error
    make, comment = found.get(_MAKE, ""), found.get(_COMMENT)
    return Exif(
        make=make if isinstance(make, str) else None,
        user_comment=comment if isinstance(comment, bytes) else None,
        is_sound=False,
    )


def _check_all(tiff: Tiff) -> None:
    """Raise ValueError or struct.error unless all of it is sound: piexif and Pillow then read the same entries."""
    zeroth = list(tiff.entries(tiff.first))
    exif = _subdirectory(tiff, zeroth, _EXIF_IFD)
    following = tiff.integer("L", tiff.first + 2 + len(zeroth) * _ENTRY_SIZE)
    entries = [
        *(*zeroth, *exif, *_subdirectory(tiff, zeroth, _GPS_IFD)),
        *_subdirectory(tiff, exif, _INTEROPERABILITY_IFD),
        *(tiff.entries(following) if following else ()),
    ]
    is_sound = (
        tiff.blob[:4] in _HEADERS
        and len(entries) <= _MOST_ENTRIES
        and _value_bytes(entries) <= _MOST_BYTES
        and all(entry.offset + entry.size <= len(tiff.blob) for entry in entries)
        and all(
            entry in zeroth
            and entry.kind == _ASCII
            and tiff.blob[entry.offset : entry.offset + entry.size].endswith(b"\0")
            for entry in entries
            if entry.tag == _MAKE
        )
        and all(entry in exif and entry.kind == _UNDEFINED for entry in entries if entry.tag == _COMMENT)
    )
    if not is_sound:
        raise ValueError(entries)


def _subdirectory(tiff: Tiff, entries: Iterable[_Entry], tag: int) -> list[_Entry]:
    """Return the entries of the directory that the last entry with this tag points to, if there is one."""
    pointers = [entry for entry in entries if entry.tag == tag][-1:]
    return [entry for pointer in pointers for entry in tiff.entries(tiff.target(pointer))]


def _has_exif_and_gps(tiff: Tiff) -> tuple[bool, bool]:
    """Return whether there is an Exif directory, and whether there is a GPS directory of a size that can be read.

    Raises ExifError where Pillow would take too much memory.
    """
    zeroth = tiff.whole_entries(tiff.first)
    exif, gps = _directories(tiff, zeroth, _EXIF_IFD), _directories(tiff, zeroth, _GPS_IFD)
    if any(map(tiff.claims_too_much, (zeroth, *exif))):
        raise ExifError("its EXIF is damaged: it claims to hold more than there is")
    return bool(exif), bool(gps) and not any(map(tiff.claims_too_much, gps))


def _directories(tiff: Tiff, zeroth: Iterable[_Entry], tag: int) -> list[list[_Entry]]:
    """Return the directories that Pillow may read for a repeated tag: the first or last, depending on its release."""
    pointers = [entry for entry in zeroth if entry.tag == tag and entry.kind in _POINTERS and entry.number == 1]
    return [tiff.whole_entries(tiff.target(entry)) for entry in (*pointers[:1], *pointers[-1:])]


def _value_bytes(entries: Iterable[_Entry]) -> int:
    return sum(entry.size for entry in entries if entry.size > _INLINE_SIZE)
