"""Read the trap's measurements of a picture from the EXIF of both generations of Sticky Pis.

2020 (OV5647 camera): `Make` holds the text of a Python dict. 2022 (IMX477 camera): `Make` is `StickyPi`, and
`UserComment` holds a line of column names and a line of values.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sticky_pi_api.exceptions import printable
from sticky_pi_api.images.doubts import NOTE
from sticky_pi_api.images.tiff import Exif, ExifError, read_exif, without_warnings

Fields = dict[str, Any]
"""Metadata by the names of the images table's columns"""

_LONGEST_LITERAL = 0x10000
_MOST_BRACKETS = 32
# Strings and comments of a literal: brackets in either don't nest.
_TEXT = re.compile(r"""('''|\"\"\"|'|")(?:\\.|(?!\1)[^\\])*(?:\1|\\?\Z)|#[^\n]*""", re.DOTALL)
_LONGEST_VERSION = 32
_COMMENT_LINES = 2
_MAKE_2022 = "StickyPi"
_FRACTIONS = ("no_flash_shutter_speed", "no_flash_exposure_time", "no_flash_bv")
_POSITION = ("lat", "lng", "alt")
# The servers look these keys up in a 2020 picture's dict that has no_flash_bv, and remove datetime from it then.
_NEEDED_2020 = (*_FRACTIONS, "no_flash_iso", "datetime")
# The servers know these fields from a picture's name and bytes; other values in the dict would replace them, and so the
# picture could be stored as another one.
_RESERVED = ("device", "datetime", "filename", "md5")
# The servers convert the numbers of a 2022 picture by these, and refuse it at a ValueError.
_SERVERS_CONVERT: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("T", "H", "B", "L", "lat", "lng", "a"), float),
    "b": int,
}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def read_metadata(tiff: bytes | None) -> tuple[Fields, list[str]]:
    """Return the metadata in an Exif segment, and doubts about it; a doubt names each value that can't be used.

    Raises ExifError where the servers refuse the picture.
    """
    if tiff is None:
        raise ExifError("it has no EXIF, so it isn't a Sticky Pi's picture")
    exif = read_exif(tiff)
    if exif.make == "":
        if not exif.is_sound:
            raise ExifError("its EXIF is damaged: there is no Make in it")
        raise ExifError("its EXIF has no Make, so it isn't a Sticky Pi's picture")
    doubts = [] if exif.is_sound else [f"{NOTE}a part of its EXIF is damaged that nobody needs"]
    values = _literal_values(exif.make)
    if values is not None:
        _check_literal(values)
        readers = _READERS_2020
    else:
        values, readers = _comment_values(exif), _READERS_2022
        if exif.make != _MAKE_2022:
            doubts.append(f"its Make is {_shown(exif.make)}, where a Sticky Pi's is '{_MAKE_2022}'")
    fields: Fields = {}
    doubts += _read_into(fields, values, readers)
    if all(fields.get(name) == 0 for name in _POSITION):
        fields.update(lat=None, lng=None, alt=None)
    return fields, doubts


def _read_into(fields: Fields, values: Mapping[str, Any], readers: Mapping[str, _Reader]) -> Iterator[str]:
    for key, (name, read) in readers.items():
        # The 2022 firmware cuts its comment at 127 characters: values may be missing at its end.
        if key not in values:
            continue
        try:
            fields[name] = read(values[key])
        except (ValueError, OverflowError, ZeroDivisionError):
            yield f"its metadata give no usable {name}: {_shown(values[key])}"


def _literal_values(make: str | None) -> Mapping[str, Any] | None:
    """Return the dict that a 2020 picture's `Make` is the text of; no code in it is evaluated.

    Returns None where `Make` is no literal, such as the name in a 2022 picture. Raises ExifError where it is damaged.
    """
    if make is None or "\0" in make:
        return None
    if len(make) > _LONGEST_LITERAL:
        raise ExifError(f"its EXIF is damaged: Make has more than {_LONGEST_LITERAL} characters, {_shown(make)}")
    if sum(map(_TEXT.sub("", make).count, "([{")) > _MOST_BRACKETS:
        raise ExifError(f"its EXIF is damaged: Make has more than {_MOST_BRACKETS} brackets, {_shown(make)}")
    try:
        with without_warnings():
            values = ast.literal_eval(make)
    except ValueError:
        return None
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ExifError(_no_metadata(make)) from error
    if not isinstance(values, dict):
        raise ExifError(_another_cameras(make))
    return values


def _check_literal(values: Mapping[str, Any]) -> None:
    """Raise ExifError where the servers miss a key, divide by zero, or would store the picture as another one."""
    is_whole = "no_flash_bv" in values
    needed = (*_position_needed(values), *(_NEEDED_2020 if is_whole else ()))
    if missing := [name for name in needed if name not in values]:
        raise ExifError(f"its EXIF is damaged: there is no {', '.join(missing)} in Make")
    if wrong := [name for name in _RESERVED if name in values and not (is_whole and name == "datetime")]:
        raise ExifError(f"its EXIF is damaged: {', '.join(wrong)} in Make would take the place of what servers store")
    for name in _FRACTIONS if is_whole else ():
        try:
            values[name][0] / values[name][1]
        except (TypeError, LookupError, ArithmeticError) as error:
            raise ExifError(f"its EXIF is damaged: {name} in Make is no fraction, {_shown(values[name])}") from error


def _position_needed(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the position that the servers look up: each next one only after a zero."""
    for name in _POSITION:
        yield name
        if values.get(name) != 0:
            return


def _comment_values(exif: Exif) -> Mapping[str, Any]:
    """Return a 2022 picture's values by column name. Raises ExifError where the servers can't convert its numbers."""
    if exif.make != _MAKE_2022 and not exif.user_comment:
        raise ExifError(_no_metadata(exif.make))
    try:
        lines = (exif.user_comment or b"").decode().split("\n")
    except UnicodeDecodeError as error:
        raise ExifError("its EXIF is damaged: UserComment is neither ASCII nor UTF-8") from error
    if len(lines) != _COMMENT_LINES:
        count = len(lines) if exif.user_comment else 0
        raise ExifError(f"its EXIF is damaged: UserComment has {count} lines, where a Sticky Pi's has {_COMMENT_LINES}")
    values = dict(zip(*(line.split(",") for line in lines), strict=False))
    for name, convert in _SERVERS_CONVERT.items():
        try:
            convert(values.get(name, "0"))
        except ValueError as error:
            raise ExifError(
                f"its EXIF is damaged: {name} in UserComment is no number, {_shown(values[name])}"
            ) from error
    return {name: value.strip() for name, value in values.items()}


def _no_metadata(make: str | None) -> str:
    if make is not None and make.startswith("{"):
        return f"its EXIF is damaged: Make can't be read, {_shown(make)}"
    return _another_cameras(make)


def _another_cameras(make: str | None) -> str:
    return f"its EXIF is another camera's: Make is {_shown(make)}"


def _number(value: object) -> float:
    if type(value) not in (int, float) and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError(value)
    number = float(value)  # type: ignore[arg-type] # int, float or str
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
    """Return the quotient of a pair (numerator, denominator), or a plain number."""
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
"""A column's name in the images table, and the function that reads its value, which raises ValueError"""

_READERS_2020: Mapping[str, _Reader] = {
    **{name: (name, _number) for name in (*_POSITION, "temp", "hum")},
    **{name: (name, _fraction) for name in _FRACTIONS},
    "no_flash_iso": ("no_flash_iso", _integer),
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
