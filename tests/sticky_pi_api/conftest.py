"""What the client library's tests are made of: hostile pictures, made byte by byte."""

import io
import struct
from datetime import datetime

import piexif
import pytest
from PIL import Image
from sticky_pi_uploader.pictures import picture_bytes

TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
NAME = "1b74105a.2020-07-05_10-07-16.jpg"


@pytest.fixture
def picture():
    """The bytes of a 2020 trap's picture of 160x120 pixels."""
    return picture_bytes("1b74105a", TAKEN, size=(160, 120))


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file named as a picture, and return its path."""

    def write(blob, name=NAME):
        path = tmp_path / name
        path.write_bytes(blob)
        return path

    return write


@pytest.fixture
def tiff_of():
    """Make the TIFF structure of an Exif segment from the text of its two entries."""

    def make(make=None, user_comment=None):
        zeroth = {} if make is None else {piexif.ImageIFD.Make: make}
        exif = {} if user_comment is None else {piexif.ExifIFD.UserComment: user_comment}
        return piexif.dump({"0th": zeroth, "Exif": exif}).removeprefix(b"Exif\0\0")

    return make


@pytest.fixture
def with_exif():
    """Return a JPEG picture whose EXIF is a given TIFF structure, or that has none."""

    def make(tiff, size=(64, 48), **options):
        blob = io.BytesIO()
        exif = {} if tiff is None else {"exif": b"Exif\0\0" + tiff}
        Image.effect_noise(size, 80).convert("RGB").save(blob, "JPEG", **exif, **options)
        return blob.getvalue()

    return make


@pytest.fixture
def directory():
    """Make a big-endian TIFF structure of one directory, of entries as (tag, type, count, value), and more bytes."""

    def make(*entries, following=0, more=b"", count=None):
        head = b"MM\0*" + struct.pack(">LH", 8, len(entries) if count is None else count)
        return head + b"".join(struct.pack(">HHLL", *entry) for entry in entries) + struct.pack(">L", following) + more

    return make
