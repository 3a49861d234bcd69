"""Decode pictures with Pillow, each once and at a reduced scale, and make their thumbnails.

A decoder reports no error where the coded data end before the last row of pixels, or continue behind it. Both happen
when foreign bytes replace a part of the data: these hardly ever decode to as many rows. So this module records which
bytes the decoder has read when it has the last row.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.images.jpeg import JpegError
from sticky_pi_api.images.tiff import Tiff, without_warnings

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.JpegImagePlugin import JpegImageFile

    from sticky_pi_api.images.jpeg import Jpeg

THUMBNAIL = (512, 384)
THUMBNAIL_MINI = (128, 96)
"""The largest width and height of each thumbnail, in pixels"""

_LAST_BYTES: Final = 8
"""How many bytes at the end of the coded data a decoder gets separately: it needs them for the last row"""
_FILLER: Final = b"\x55" * 16
"""Bytes that follow them, as a decoder reads ahead; it can decode no more than a few blocks from these"""
_WRONG_ROWS: Final = "its data are damaged: they end before the last row, or go on behind it"


class Decoded(NamedTuple):
    """The result of decoding a picture."""

    thumbnail: bytes
    """JPEG; fits in THUMBNAIL"""
    thumbnail_mini: bytes
    """JPEG; fits in THUMBNAIL_MINI"""
    doubt: str | None
    """a doubt about the coded data"""


def most_pixels() -> int | None:
    """Return how many pixels a picture may have, by Pillow's limit against decompression bombs."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS


class _RecordedFile(BytesIO):
    """A picture of one scan as a file for a decoder: the header without metadata, then the coded data, uncopied."""

    def __init__(self, jpeg: Jpeg) -> None:
        super().__init__(jpeg.bare_header())
        self._jpeg = jpeg
        self._at = jpeg.data.start
        self._reads_at_end = 0

    @property
    def ends_with_last_row(self) -> bool:
        """Whether the decoder, which has the last row now, needed the last of the data for it, and nothing else."""
        return self._reads_at_end == 1

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes: of the header, of the data, the last bytes of the data, and then all the rest."""
        if header := super().read(size):
            return header
        jpeg, at = self._jpeg, self._at
        last = max(jpeg.data.start, jpeg.data.stop - _LAST_BYTES)
        if at < last:
            self._at = last if size is None or size < 0 else min(last, at + size)
            return jpeg.blob[at : self._at]
        self._reads_at_end += 1
        is_first = self._reads_at_end == 1
        self._at = jpeg.data.stop if is_first else jpeg.end
        return jpeg.blob[at : self._at] + (_FILLER if is_first else b"")


def decode(jpeg: Jpeg) -> Decoded:
    """Decode a picture to its end, and make its two thumbnails. Raises JpegError where it doesn't decode."""
    from PIL import Image, JpegImagePlugin

    file = _RecordedFile(jpeg) if jpeg.is_sequential else BytesIO(jpeg.bare_header() + jpeg.coded())
    try:
        # Not Image.open: it would load and try every format there is.
        with JpegImagePlugin.JpegImageFile(file) as picture:
            _check_index(picture)
            picture.draft("RGB", THUMBNAIL)
            picture.load()
            reduced = picture if picture.mode in ("RGB", "L") else picture.convert("RGB")
            encoded = []
            # The second is made of the first, which `reducing_gap` halves before it is resampled.
            for size, gap in ((THUMBNAIL, None), (THUMBNAIL_MINI, 2.0)):
                reduced.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=gap)
                encoded.append(_encode(reduced))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, … by the damage
        raise JpegError(f"it doesn't decode: {error}") from error
    is_wrong = isinstance(file, _RecordedFile) and not file.ends_with_last_row
    return Decoded(encoded[0], encoded[1], _WRONG_ROWS if is_wrong else None)


def _check_index(picture: JpegImageFile) -> None:
    """Raise where the servers' Pillow fails on an index of further pictures (MPF), which newer releases pass over."""
    index = Tiff(picture.info.get("mp", b""))
    if not index.blob or index.claims_too_much(index.whole_entries(index.first)):
        return
    with without_warnings():
        try:
            picture._getmp()  # noqa: SLF001 - as Image.open does
        except (SyntaxError, TypeError, IndexError) as error:
            # The servers' release raises the cause itself, and doesn't catch it.
            if "bad MP Entry" in str(error) and isinstance(error.__cause__, struct.error):
                raise


def open_thumbnail(encoded: bytes) -> Image:
    """Return one of the thumbnails that `decode` encoded, decoded."""
    from PIL import JpegImagePlugin

    picture = JpegImagePlugin.JpegImageFile(BytesIO(encoded))
    picture.load()
    return picture


def _encode(picture: Image) -> bytes:
    """Return a picture as JPEG, by the handler that `Image.save` calls after it has imported four other formats."""
    from PIL import Image

    encoded = BytesIO()
    picture.encoderinfo, picture.encoderconfig = {}, ()
    Image.SAVE["JPEG"](picture, encoded, "")
    return encoded.getvalue()
