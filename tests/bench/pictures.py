"""The pictures that benchmarks take: the real ones of a folder, if there is one, or else some of real size."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from benchmark import HERE
from padding import padded
from sticky_pi_uploader.demo.pictures import SENSOR_SIZES, picture_bytes

SAMPLES = Path(os.environ.get("STICKY_PI_SAMPLES", HERE.parents[2] / "shared/samples"))
DEVICE = "5c173ff2"
TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001 - naive datetimes are UTC
TWENTY_MINUTES = timedelta(minutes=20)
_REAL = {2020: "5c173ff2.2020-06-20_21-33-24.jpg", 2022: "512858f4.2022-05-17_18-34-50.jpg"}


def full_size(generation):
    """Return the bytes of a picture as large as a trap's."""
    real = SAMPLES / _REAL[generation]
    if real.is_file():
        return real.read_bytes()
    return picture_bytes(DEVICE, TAKEN, generation=generation, size=SENSOR_SIZES[generation])


def small(number):
    """Return the bytes of a picture as small as can be, each number's its own."""
    return padded(_SMALL, 0, number)


def file_name(number):
    """Return the name of the picture that is taken so many times 20 minutes after the first."""
    return f"{DEVICE}.{TAKEN + number * TWENTY_MINUTES:%Y-%m-%d_%H-%M-%S}.jpg"


def day_folder(number):
    """Return the folder that it lies in: one for each day, as on a trap."""
    return f"{DEVICE}/{TAKEN + number * TWENTY_MINUTES:%Y-%m-%d}"


def put(images, number, blob):
    """Write a picture as the camera does, into its folder; return its path."""
    folder = Path(images, day_folder(number))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(number)
    unfinished = path.with_suffix(".jpg~")
    unfinished.write_bytes(blob)
    unfinished.rename(path)
    return path


_SMALL = picture_bytes(DEVICE, TAKEN, size=(160, 120))
