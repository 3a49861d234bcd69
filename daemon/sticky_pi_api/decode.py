"""Decoding and thumbnails, with Pillow: each picture once, at a reduced scale."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from sticky_pi_api.jpeg import JpegError

if TYPE_CHECKING:
    from PIL.Image import Image

    from sticky_pi_api.jpeg import Jpeg

THUMBNAIL = (512, 384)
THUMBNAIL_MINI = (128, 96)
"""What thumbnails fit in, width and height in pixels"""


def most_pixels() -> int | None:
    """Return how many pixels Pillow takes for a picture rather than for an attack."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS


def thumbnails(jpeg: Jpeg) -> tuple[bytes, bytes]:
    """Decode a picture to its end, and return its two thumbnails as JPEG, the large one first.

    Raises JpegError when it doesn't decode.
    """
    from PIL import Image, JpegImagePlugin

    try:
        # Not Image.open: it would load and try every format there is.
        with JpegImagePlugin.JpegImageFile(BytesIO(jpeg.without_metadata())) as picture:
            picture.draft("RGB", THUMBNAIL)
            picture.load()
            reduced = picture if picture.mode in ("RGB", "L") else picture.convert("RGB")
            encoded = []
            for size in (THUMBNAIL, THUMBNAIL_MINI):
                reduced.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
                encoded.append(_encode(reduced))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, … by the damage
        raise JpegError(f"it doesn't decode: {error}") from error
    return encoded[0], encoded[1]


def open_thumbnail(encoded: bytes) -> Image:
    """Return a thumbnail that `thumbnails` made, decoded."""
    from PIL import JpegImagePlugin

    picture = JpegImagePlugin.JpegImageFile(BytesIO(encoded))
    picture.load()
    return picture


def _encode(picture: Image) -> bytes:
    encoded = BytesIO()
    picture.save(encoded, "JPEG")
    return encoded.getvalue()
