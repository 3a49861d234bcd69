"""What mutated pictures begin as: small ones of both generations, as the camera program and others write them."""

import io
import os
from datetime import datetime
from pathlib import Path

from PIL import Image
from sticky_pi_api.images.jpeg import read_jpeg
from sticky_pi_uploader.demo.pictures import picture_bytes

DEVICE = "1b74105a"
TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
NAME = f"{DEVICE}.{TAKEN:%Y-%m-%d_%H-%M-%S}.jpg"
SMALL = (64, 48)


def pictures():
    """Return whole pictures, some of which no trap takes."""
    made = [picture_bytes(DEVICE, TAKEN, generation=generation, size=SMALL) for generation in (2020, 2022)]
    made.append(
        picture_bytes(DEVICE, TAKEN, generation=2022, temp="-300.0", hum="-1.0", lat="0", lng="0", alt="0", size=SMALL)
    )
    return [*made, *_other_kinds(made[0]), *(_with_header_of(sample, made[0]) for sample in _samples())]


def exif():
    """Return the TIFF structures of their EXIF, each once."""
    return list(dict.fromkeys(read_jpeg(blob, None).exif for blob in pictures()))


def _other_kinds(blob):
    """Return the same picture as other programs would save it, with its EXIF."""
    with Image.open(io.BytesIO(blob)) as picture:
        exif = picture.info["exif"]
        for mode, options in (
            ("L", {}),
            ("CMYK", {}),
            ("RGB", {"progressive": True}),
            ("RGB", {"restart_marker_rows": 1}),
        ):
            with io.BytesIO() as file:
                picture.convert(mode).save(file, "JPEG", exif=exif, **options)
                yield file.getvalue()


def _with_header_of(sample, blob):
    """Return a small picture with a real one's EXIF."""
    exif, small = read_jpeg(sample, None).exif, read_jpeg(blob, None).exif
    header = len(exif) + 8
    start = blob.index(b"\xff\xe1")
    end = blob.index(small) + len(small)
    return blob[:start] + b"\xff\xe1" + header.to_bytes(2, "big") + b"Exif\0\0" + exif + blob[end:]


def _samples():
    folder = Path(os.environ.get("STICKY_PI_SAMPLES") or Path(__file__).parents[4] / "shared" / "samples")
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
