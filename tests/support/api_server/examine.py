"""Looks at uploaded bytes as the servers do: Pillow decodes all of it, and the EXIF has to be a Sticky Pi's.

The verdict on whether bytes decode is Pillow's own, not the client library's: tests hold the client to it.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from PIL import Image
from sticky_pi_api.images.exif_metadata import read_metadata
from sticky_pi_api.images.tiff import ExifError, read_exif


class Kind(Enum):
    """What bytes are."""

    PICTURE = "a JPEG that decodes"
    BROKEN = "begins as a JPEG and doesn't decode: a server's decoder may never return from it"
    OTHER = "no JPEG"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be known of bytes; all but `kind` only of a picture."""

    kind: Kind
    generation: int = 0
    """of the trap, 2020 or 2022; 0 where the EXIF is no trap's"""
    fields: Mapping[str, Any] | None = None
    """the row's; None where the EXIF is no trap's"""


def examine(blob):
    """Decode bytes to the end, and read the metadata in them."""
    try:
        picture = Image.open(io.BytesIO(blob), formats=["JPEG", "MPO"])
    except Exception:  # noqa: BLE001  # Pillow raises what the damage leads to, here and below
        return Picture(Kind.OTHER)
    with picture:
        try:
            picture.load()
        except Exception:  # noqa: BLE001
            return Picture(Kind.BROKEN)
        return _trap_picture(picture)


def _trap_picture(picture):
    tiff = picture.info.get("exif", b"").removeprefix(b"Exif\0\0")
    try:
        fields, _ = read_metadata(tiff or None)
        generation = 2020 if (read_exif(tiff).make or "").startswith("{") else 2022
    except ExifError:
        return Picture(Kind.PICTURE)
    return Picture(Kind.PICTURE, generation, {**fields, "width": picture.width, "height": picture.height})
