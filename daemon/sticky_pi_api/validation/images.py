"""Check the values of an image's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLUMNS: Final = (
    *("device", "datetime", "md5", "device_version", "width", "height", "alt", "lat", "lng", "temp", "hum"),
    *("no_flash_shutter_speed", "no_flash_exposure_time", "no_flash_bv", "no_flash_iso", "lum", "bat", "but"),
    *("datetime_created", "api_version"),
)
"""The columns of an image's row, beside its id"""

_TEXTS: Final = {"device", "datetime", "md5", "device_version", "datetime_created", "api_version"}


def is_storable(fields: object) -> bool:
    """Return whether a value is metadata that an image's row can hold, besides its key and md5."""
    return (
        isinstance(fields, Mapping)
        and {"width", "height"} <= fields.keys() <= set(COLUMNS)
        and all(type(fields[name]) is int for name in ("width", "height"))
        and fields.get("but") in (None, 0, 1)
        and all(
            isinstance(value, str if name in _TEXTS else int | float)
            for name, value in fields.items()
            if value is not None
        )
    )
