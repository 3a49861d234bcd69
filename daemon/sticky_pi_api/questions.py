"""What a request asks for, checked: the images and series that its entries name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sticky_pi_api.database import Key
from sticky_pi_api.types import Info
from sticky_pi_api.utils import string_to_datetime


def image_keys(info: Iterable[Info]) -> list[Key]:
    """Return the keys that a request asks for. Raises ValueError for an entry that makes no sense."""
    return [(_device(entry), _datetime(entry, "datetime")) for entry in info]


def series_of(info: Iterable[Info]) -> list[tuple[str, datetime, datetime]]:
    """Return the device patterns, starts and ends that a request asks for. Raises ValueError."""
    return [(_device(entry), _datetime(entry, "start_datetime"), _datetime(entry, "end_datetime")) for entry in info]


def _entry(entry: Info, key: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        raise ValueError(f"'{key}' is missing in {entry!r}")
    return entry[key]


def _device(entry: Info) -> str:
    if not isinstance(device := _entry(entry, "device"), str):
        raise ValueError(f"'device' isn't text in {entry!r}")  # noqa: TRY004 - all that is wrong with a request is one
    return device


def _datetime(entry: Info, key: str) -> datetime:
    try:
        when = string_to_datetime(_entry(entry, key))
    except ValueError as error:
        raise ValueError(f"'{key}' of {entry!r}: {error}") from None
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
