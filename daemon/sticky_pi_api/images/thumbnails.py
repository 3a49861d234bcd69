"""Decoding and thumbnails, with Pillow: each picture once, at a reduced scale.

A decoder says nothing of data that end before the last row, or go on behind it. Both come of foreign bytes amid the
data: these hardly ever decode to as many rows as the bytes whose place they took. So it is watched which bytes the
decoder asks for until it has the last row.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.images.jpeg import JpegError

if TYPE_CHECKING:
    from PIL.Image import Image

    from sticky_pi_api.images.jpeg import Jpeg

THUMBNAIL = (512, 384)
THUMBNAIL_MINI = (128, 96)
"""The largest width and height of each thumbnail, in pixels"""

_HELD_BACK: Final = 8
"""How many bytes at the end of its data a decoder gets by themselves: without them it can't have the last row."""
_FILLER: Final = b"\x55" * 16
"""What it gets along with them, as it looks ahead; if data are missing, it can make no more than a few blocks of it."""
_ODD: Final = "its data are damaged: they end before the last row, or go on behind it"


class Decoded(NamedTuple):
    """The result of decoding a picture."""

    thumbnail: bytes
    """JPEG; fits in THUMBNAIL"""
    thumbnail_mini: bytes
    """JPEG; fits in THUMBNAIL_MINI"""
    doubt: str | None
    """doubts about its data"""


def most_pixels() -> int | None:
    """Return how many pixels Pillow takes for a picture rather than for an attack."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS


class _Watched(BytesIO):
    """The bytes of a picture of one scan, with a record of the ones that a decoder read."""

    def __init__(self, blob: bytes, data: slice) -> None:
        """Take a whole picture, and where its coded data are."""
        super().__init__(blob)
        self._last = max(data.start, data.stop - _HELD_BACK)
        self._data_end = data.stop
        self._helpings = 0

    @property
    def ends_with_last_row(self) -> bool:
        """Whether the decoder, which has the last row now, needed the last of the data for it, and nothing else."""
        return self._helpings == 1

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes: at most `size`, then the last of the data, and then all the rest."""
        at = self.tell()
        if at < self._last:
            return super().read(self._last - at if size is None or size < 0 else min(size, self._last - at))
        self._helpings += 1
        return super().read(self._data_end - at) + _FILLER if self._helpings == 1 else super().read()


def decode(jpeg: Jpeg) -> Decoded:
    """Decode a picture to its end, and make its two thumbnails.

    Raises JpegError when it doesn't decode.
    """
    from PIL import Image, JpegImagePlugin

    blob, data = jpeg.without_metadata()
    file = _Watched(blob, data) if jpeg.is_sequential else BytesIO(blob)
    try:
        # Not Image.open: it would load and try every format there is.
        with JpegImagePlugin.JpegImageFile(file) as picture:
            picture.draft("RGB", THUMBNAIL)
            picture.load()
            reduced = picture if picture.mode in ("RGB", "L") else picture.convert("RGB")
            encoded = []
            for size in (THUMBNAIL, THUMBNAIL_MINI):
                reduced.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
                encoded.append(_encode(reduced))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, … by the damage
        raise JpegError(f"it doesn't decode: {error}") from error
    is_odd = isinstance(file, _Watched) and not file.ends_with_last_row
    return Decoded(encoded[0], encoded[1], _ODD if is_odd else None)


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
