"""What the trap measured when it took a picture, from the EXIF of both generations of Sticky Pis.

2020 (OV5647 camera): `Make` holds the text of a Python dict. 2022 (IMX477 camera): `Make` is `StickyPi`, and
`UserComment` holds a line of column names and a line of values.
"""

from __future__ import annotations

import ast
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sticky_pi_api.exceptions import printable
from sticky_pi_api.exif import ExifError, read_exif

Fields = dict[str, Any]
"""Metadata by the names of the images table's columns"""

_LONGEST_LITERAL = 4096
# Python 3.11's parser counts its depth once for all threads, and raises SystemError when they get in each other's way.
_PARSER = threading.Lock()
_MOST_BRACKETS = 32
_LONGEST_VERSION = 32
_COMMENT_LINES = 2
# What Python's parser warns of, on the caller's stderr: backslashes, and numbers that run into a keyword.
_WARNED_OF = re.compile(r"\\|\b\d[\w.]*?(?:and|else|for|if|in|is|not|or)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def read_metadata(tiff: bytes | None) -> tuple[Fields, list[str]]:
    """Return the metadata in an Exif segment, and what is doubtful: values that are none are left out, and named.

    Raises ExifError where the server would refuse the picture.
    """
    if tiff is None:
        raise ExifError("it has no EXIF, so it isn't a Sticky Pi's picture")
    exif = read_exif(tiff)
    if not exif.make:
        raise ExifError("its EXIF has no Make, so it isn't a Sticky Pi's picture")
    if exif.make == "StickyPi":
        values, readers = _comment_values(exif.user_comment), _READERS_2022
    else:
        values, readers = _literal_values(exif.make), _READERS_2020
    fields: Fields = {}
    doubts = list(_read_into(fields, values, readers))
    if all(fields.get(name) == 0 for name in ("lat", "lng", "alt")):
        fields.update(lat=None, lng=None, alt=None)
    return fields, doubts


def _read_into(fields: Fields, values: Mapping[str, Any], readers: Mapping[str, _Reader]) -> Iterator[str]:
    for key, (name, read) in readers.items():
        # The 2022 firmware cuts its comment: what it had no room for is simply not there.
        if (value := values.get(key, "")) == "":
            continue
        try:
            fields[name] = read(value)
        except (ValueError, OverflowError, ZeroDivisionError):
            yield f"its metadata give no usable {name}: {_shown(value)}"


def _literal_values(make: str) -> Mapping[str, Any]:
    """Return the dict that a 2020 picture's `Make` is the text of; nothing in it is evaluated."""
    other = f"its EXIF is another camera's: Make is {_shown(make)}"
    if not make.startswith("{"):
        raise ExifError(other)
    if len(make) > _LONGEST_LITERAL or sum(map(make.count, "([{")) > _MOST_BRACKETS or _WARNED_OF.search(make):
        raise ExifError(f"its EXIF is damaged: Make is no Sticky Pi's metadata, {_shown(make)}")
    try:
        with _PARSER:
            values = ast.literal_eval(make)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ExifError(f"its EXIF is damaged: Make can't be read, {_shown(make)}") from error
    if not isinstance(values, dict):
        raise ExifError(other)
    return values


def _comment_values(comment: str) -> Mapping[str, Any]:
    """Return a 2022 picture's values by their column names."""
    lines = [line.strip() for line in comment.splitlines() if line.strip()]
    if len(lines) != _COMMENT_LINES:
        raise ExifError(
            f"its EXIF is damaged: UserComment has {len(lines)} lines, where a Sticky Pi's has {_COMMENT_LINES}"
        )
    names, values = (line.split(",") for line in lines)
    return dict(zip(map(str.strip, names), map(str.strip, values), strict=False))


def _number(value: object) -> float:
    if type(value) not in (int, float) and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError(value)
    number = float(value)  # type: ignore[arg-type] # one of the three
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _integer(value: object) -> int:
    number = value if type(value) is int else _number(value)
    whole = int(number)
    if whole != number or not -(2**63) <= whole < 2**63:
        raise ValueError(value)
    return whole


def _integer_or_number(value: object) -> float:
    number = _number(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _fraction(value: object) -> float:
    """Return the quotient of a (numerator, denominator)."""
    if not isinstance(value, tuple | list):
        return _number(value)
    numerator, denominator = map(_integer, value)
    return _number(numerator / denominator)


def _flag(value: object) -> bool:
    if value not in ("0", "1"):
        raise ValueError(value)
    return value == "1"


def _version(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_VERSION:
        raise ValueError(value)
    return value


_Reader = tuple[str, Callable[[object], Any]]

_READERS_2020: Mapping[str, _Reader] = {
    "lng": ("lng", _number),
    "lat": ("lat", _number),
    "alt": ("alt", _number),
    "no_flash_exposure_time": ("no_flash_exposure_time", _fraction),
    "no_flash_iso": ("no_flash_iso", _integer),
    "no_flash_bv": ("no_flash_bv", _fraction),
    "no_flash_shutter_speed": ("no_flash_shutter_speed", _fraction),
    "temp": ("temp", _number),
    "hum": ("hum", _number),
}

_READERS_2022: Mapping[str, _Reader] = {
    "v": ("device_version", _version),
    "T": ("temp", _number),
    "H": ("hum", _number),
    "B": ("bat", _integer_or_number),
    "L": ("lum", _number),
    "lat": ("lat", _number),
    "lng": ("lng", _number),
    "a": ("alt", _number),
    "b": ("but", _flag),
}


def _shown(value: object) -> str:
    longest = 60
    text = printable(value) if isinstance(value, str) else ascii(value)
    return f"'{text}'" if len(text) <= longest else f"'{text[:longest]}…'"
