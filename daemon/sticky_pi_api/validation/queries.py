"""Check the entries of queries: the keys and series in them, and their texts and datetimes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

from sticky_pi_api.types import Info, Key
from sticky_pi_api.utils import string_to_datetime

LONGEST_PATTERN: Final = 1000
"""Characters; databases refuse patterns that are much longer"""

IMAGE_WHATS: Final = ("metadata", "image", "thumbnail", "thumbnail_mini")
"""The values of `what` for images; `thumbnail-mini` is accepted as well"""

_LAST_SECOND: Final = datetime.max.replace(microsecond=0)  # noqa: DTZ901 - naive datetimes are UTC throughout

Series = tuple[str, datetime, datetime]
"""A pattern of devices, the start and the end (naive, UTC); the end is excluded"""


def checked_image_what(what: str) -> str:
    """Return one of IMAGE_WHATS. Raises ValueError, which lists them, for anything else."""
    if (known := what.replace("-", "_") if isinstance(what, str) else what) in IMAGE_WHATS:
        return known
    raise ValueError(f"what is {what!r}; it must be one of {', '.join(IMAGE_WHATS)}")


def image_keys(info: Iterable[Info]) -> list[Key]:
    """Return the keys of a request. Raises ValueError for an entry without a valid device and datetime."""
    return [(text_of(entry, "device"), datetime_of(entry, "datetime")) for entry in info]


def series_of(info: Iterable[Info]) -> list[Series]:
    """Return the series of a request. Raises ValueError for an entry without a valid pattern, start and end."""
    return [
        (_pattern_of(entry), datetime_of(entry, "start_datetime"), datetime_of(entry, "end_datetime")) for entry in info
    ]


def next_second(when: datetime) -> datetime:
    """Round a bound of a series up to whole seconds, which rows have: only texts of one form can be compared."""
    whole = when.replace(microsecond=0)
    return whole if whole in (when, _LAST_SECOND) else whole + timedelta(seconds=1)


def text_of(entry: Info, key: str) -> str:
    """Return a text of an entry that every database can hold. Raises ValueError."""
    if not is_text(value := _value_of(entry, key)):
        raise ValueError(f"'{key}' isn't text in {entry!r}")
    return value


def datetime_of(entry: Info, key: str) -> datetime:
    """Return a datetime of an entry, naive in UTC. Raises ValueError."""
    try:
        when = string_to_datetime(_value_of(entry, key))
        return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'{key}' of {entry!r}: {error}") from None


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is text with a UTF-8 form and without zero bytes, at which databases end a pattern."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _pattern_of(entry: Info) -> str:
    if len(device := text_of(entry, "device")) > LONGEST_PATTERN:
        raise ValueError(f"'device' is longer than {LONGEST_PATTERN} characters: '{device[:20]}…'")
    return device


def _value_of(entry: Info, key: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        raise ValueError(f"'{key}' is missing in {entry!r}")
    return entry[key]
