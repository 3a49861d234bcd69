"""Parse and format a picture's file name, `<device>.<YYYY-MM-DD_HH-MM-SS>.jpg`, which decides which picture it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime

from sticky_pi_api.exceptions import FilenameError, printable
from sticky_pi_api.types import EARLIEST

_DEVICE = re.compile(r"[0-9a-f]{8}", re.IGNORECASE | re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", re.ASCII)
_FIELDS = 3


def parse_filename(name: str) -> tuple[str, datetime]:
    """Return the device, in the case of the name, and the datetime (naive, UTC) of a picture's name or path.

    Raises FilenameError, whose reason explains each wrong field.
    """
    fields = os.path.basename(name).split(".")
    if len(fields) != _FIELDS:
        raise FilenameError(
            name,
            f"its name has {len(fields)} fields between dots, where a picture's has {_FIELDS}: "
            "<device>.<YYYY-MM-DD_HH-MM-SS>.jpg",
        )
    device, text, extension = fields
    if faults := list(_faults(device, text, extension)):
        raise FilenameError(name, "; ".join(faults))
    return device, _read_datetime(text)


def format_filename(device: str, when: datetime) -> str:
    """Return the name of a device's picture."""
    return f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg"


def _faults(device: str, text: str, extension: str) -> Iterator[str]:
    if not _DEVICE.fullmatch(device):
        yield f"the device in its name, '{_shown(device)}', isn't 8 hexadecimal digits"
    if not _DATETIME.fullmatch(text):
        yield f"the datetime in its name, '{_shown(text)}', isn't written as YYYY-MM-DD_HH-MM-SS"
    else:
        try:
            if _read_datetime(text) < EARLIEST:
                yield f"the datetime in its name, '{text}', is before {EARLIEST:%Y-%m-%d}: the trap's clock wasn't set"
        except ValueError as error:
            yield f"the datetime in its name, '{text}', doesn't exist: {error}"
    if extension.lower() != "jpg":
        yield f"the extension in its name, '{_shown(extension)}', isn't jpg"


def _read_datetime(text: str) -> datetime:
    return datetime(*map(int, re.split("[-_]", text)))  # type: ignore[arg-type] # noqa: DTZ001 - naive datetimes are UTC


def _shown(field: str) -> str:
    longest = 40
    text = printable(field)
    return text if len(text) <= longest else f"{text[:longest]}…"
