"""Mutated EXIF: metadata with usable values come of it, or an ExifError."""

import math
import struct

import piexif
from sticky_pi_api.images.exif_metadata import read_metadata
from sticky_pi_api.images.tiff import ExifError

from . import seeds
from .mutations import INTERESTING, mutate

_ENTRY = 12
_LITERAL_TOKENS = [
    *rb"""{ } ( ) [ ] , : ' " \ \x00 \N{ # - + ~ * 1e999 -1e999 nan inf 0x7f 0b1 1j 1_0 None True""".split(),
    *b"__import__('os') f'{1}' b'x' u'x' r'x' ... set() 'lat' 'lng' 'alt' 'temp' 'no_flash_iso' 'no_flash_bv'".split(),
    *(b"lambda: 0", b"1if 1else 2", b"not ", b"(1, 0)", b"(0, 0)", b"(1,)", b"\xff", b"9" * 400, b"9" * 5000),
    *(b"\n", b"\r", b"\t", b"\x0c", b"\0", b"\xc2\xa0", b"\xe2\x80\xa8", b"[" * 30, b"[" * 300, b"(" * 40, b"-" * 500),
]
_COMMENT_TOKENS = [
    *b", \x85 v T H B L lat lng a l b -300.0 -1 nan inf 1e400 1e308 0 1 2 -0.0 + . e".split(),
    *(b"\n", b"\r\n", b"\r", b"\x0b", b"ASCII\0\0\0", b"UNICODE\0", b"9" * 400, b" ", b"\xd9\xa1", b"\xef\xbc\x91"),
    *(b"2000-01-01 00:00:00", b"\0", b"\xff"),
]
_TAGS = (0x010F, 0x9286, 0x8769, 0x8825, 0xA005, 0x0201, 0x0202, 0x0132)


class Target:
    """The readers of EXIF."""

    def __init__(self, _):
        self._seeds = seeds.exif()

    def close(self):
        """Nothing is held."""

    def try_one(self, random):
        tiff = random.choice(self._seeds)
        step = random.randrange(4)
        if step == 0:
            tiff = mutate(random, tiff, [b"II*\0", b"MM\0*", b"Make"])
        elif step == 1:
            tiff = _with_other_entries(random, tiff)
        else:
            tiff = _with_other_texts(random, tiff)
        try:
            fields, doubts = read_metadata(tiff[:65533])
        except ExifError as refusal:
            return _check_reason(str(refusal))
        for value in fields.values():
            assert isinstance(value, str | int | float | None), value
            assert not isinstance(value, float) or math.isfinite(value)
            assert not isinstance(value, int) or -(2**63) <= value < 2**63
            assert not isinstance(value, str) or value.isprintable()
        assert all(doubt.isprintable() for doubt in doubts)
        return "doubtful" if doubts else "read"


def _check_reason(text):
    assert text.isprintable(), text
    return "refused"


def _with_other_entries(random, tiff):
    """Change entries of the directories: tag, type, number of values, value or place."""
    changed = bytearray(tiff)
    order = "<" if tiff.startswith(b"II") else ">"
    for _ in range(random.randint(1, 4)):
        (first,) = struct.unpack_from(order + "L", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, first)
        entry = first + 2 + _ENTRY * random.randrange(count)
        numbers = (*INTERESTING, len(tiff), len(tiff) - 1, first, 2**31, 2**32 - 1)
        place, width, choice = random.choice(
            ((0, "H", _TAGS), (2, "H", range(15)), (4, "L", numbers), (8, "L", numbers))
        )
        if random.random() < 0.1:
            entry, place, width, choice = first - 2, 0, "H", (0, 1, count - 1, count + 1, 1000, 65535)
        struct.pack_into(
            order + width, changed, max(0, entry + place), random.choice(choice) % 256 ** (4 if width == "L" else 2)
        )
    return bytes(changed)


def _with_other_texts(random, tiff):
    """Make new EXIF with other texts in the entries that are read."""
    found = piexif.load(b"Exif\0\0" + tiff)
    if random.random() < 0.5:
        found["0th"][piexif.ImageIFD.Make] = mutate(random, found["0th"][piexif.ImageIFD.Make], _LITERAL_TOKENS)
    else:
        comment = found["Exif"].get(piexif.ExifIFD.UserComment, b"")
        found["0th"][piexif.ImageIFD.Make] = b"StickyPi"
        found["Exif"][piexif.ExifIFD.UserComment] = mutate(random, comment or b"v,T\n3,1", _COMMENT_TOKENS)
    return piexif.dump({"0th": found["0th"], "Exif": found["Exif"]})[6:]
