"""Make trap pictures as the camera program does: for `demo`, and for tests without real pictures."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SENSOR_SIZES: Mapping[int, tuple[int, int]] = {2020: (2592, 1944), 2022: (4056, 3040)}
"""Width and height of a real picture in pixels, by generation."""

FIELDS_2020: Mapping[str, Any] = {
    "lng": -121.7552,
    "lat": 49.243553,
    "alt": 22.0,
    "datetime": "2020-06-20 04:50:10",
    "no_flash_exposure_time": (124990, 1000000),
    "no_flash_iso": 400,
    "no_flash_bv": (46, 100),
    "no_flash_shutter_speed": (3000115, 1000000),
    "temp": 20.700000762939453,
    "hum": 82.0,
}
"""The fields that a 2020 trap writes, in its order, with default values"""

FIELDS_2022: Mapping[str, Any] = {
    "device_version": "3.1.0",
    "temp": "17.0",
    "hum": "44.6",
    "bat": 72,
    "lum": "1.86",
    "lat": "49.26140",
    "lng": "-123.25103",
    "alt": "81.7",
    "datetime": 1652811355,
    "but": 1,
}
"""The same for a 2022 trap; rounded numbers are text, so that they keep their digits"""

_HEADER_2022 = "v,T,H,B,L,lat,lng,a,l,b"
_COMMENT_LIMIT = 127  # the firmware's buffer
_EXIF_DELAY = timedelta(seconds=8)  # a 2020 camera's clock time is this much later than the file's name


def make_picture(folder: str | os.PathLike[str], device: str, taken: datetime, **options: Any) -> str:
    """Write one picture into `folder`, made if necessary, and return its path.

    Like the camera, it writes `.jpg~`, closes and renames it. `options` are the keyword arguments of `picture_bytes`.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{device}.{taken:%Y-%m-%d_%H-%M-%S}.jpg")
    blob = picture_bytes(device, taken, **options)
    with open(path + "~", "wb") as file:
        file.write(blob)
    os.rename(path + "~", path)
    return path


def picture_bytes(
    device: str,
    taken: datetime,
    *,
    generation: int = 2020,
    size: tuple[int, int] | None = None,
    quality: int = 85,
    seed: int = 0,
    **fields: Any,
) -> bytes:
    """Return one picture: a yellow sticky card with insects, and the EXIF of its generation (2020 or 2022).

    `taken` is UTC; `size` is in pixels, by default a quarter of `SENSOR_SIZES` each way. `fields` replace values of
    `FIELDS_2020` or `FIELDS_2022`, and are written unchanged. The same arguments give the same bytes; another device,
    time or seed gives other bytes.
    """
    if size is None:
        width, height = SENSOR_SIZES[generation]
        size = (width // 4, height // 4)
    exif = _exif(generation, taken, size, fields)
    image = _sticky_card(size, Random(f"{seed} {device} {taken:%Y-%m-%d_%H-%M-%S}"))  # noqa: S311  # no secret
    with io.BytesIO() as file:
        image.save(file, "JPEG", quality=quality, exif=exif)
        return file.getvalue()


def _exif(generation: int, taken: datetime, size: tuple[int, int], fields: Mapping[str, Any]) -> bytes:
    import piexif

    known = {2020: FIELDS_2020, 2022: FIELDS_2022}[generation]
    if unknown := fields.keys() - known.keys():
        raise TypeError(f"a {generation} picture has no {', '.join(sorted(unknown))}")
    values = {**known, **fields}
    width, height = size
    main: dict[int, Any] = {piexif.ImageIFD.ImageWidth: width, piexif.ImageIFD.ImageLength: height}
    # The zero bytes stand for the firmware's padding: real headers contain long runs of them.
    detail: dict[int, Any] = {piexif.ExifIFD.MakerNote: b"ev=-1 mlux=-1 exp=9985 ag=256 focus=255" + bytes(512)}
    if generation == 2020:  # noqa: PLR2004  # its name
        clock = taken + _EXIF_DELAY
        main |= {piexif.ImageIFD.Make: repr(values).encode(), piexif.ImageIFD.Model: b"RP_ov5647"}
    else:
        clock = taken
        main |= {piexif.ImageIFD.Make: b"StickyPi", piexif.ImageIFD.Model: b"RP_imx477"}
        comment = f"{_HEADER_2022}\n{','.join(map(str, values.values()))}"
        detail[piexif.ExifIFD.UserComment] = comment.encode()[:_COMMENT_LIMIT]
    stamp = f"{clock:%Y:%m:%d %H:%M:%S}".encode()
    main[piexif.ImageIFD.DateTime] = stamp
    detail[piexif.ExifIFD.DateTimeOriginal] = stamp
    return bytes(piexif.dump({"0th": main, "Exif": detail}))


def _sticky_card(size: tuple[int, int], random: Random) -> Image.Image:
    """Draw the card: uneven light, the sensor's grain, and insects."""
    from PIL import Image, ImageChops, ImageDraw

    light = bytes(v for _ in range(8 * 6) for level in [random.randint(175, 215)] for v in (level, level + 5, 60))
    card = Image.frombytes("RGB", (8, 6), light).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(card)
    for _ in range(random.randint(15, 60)):
        _insect(draw, size, random)
    grain = Image.frombytes("L", size, random.randbytes(size[0] * size[1])).point([v // 16 for v in range(256)])
    return ImageChops.add(card, Image.merge("RGB", (grain, grain, grain)))


def _insect(draw: ImageDraw.ImageDraw, size: tuple[int, int], random: Random) -> None:
    x, y = random.uniform(0, size[0]), random.uniform(0, size[1])
    length = size[0] * random.uniform(0.004, 0.015)
    heading = random.uniform(0, math.tau)
    for wing in (heading - 0.5, heading + 0.5):
        draw.polygon(_ellipse(x, y, length * 1.3, length * 0.35, wing), fill=(150, 150, 110))
    for leg in range(6):
        angle = heading + 0.6 + leg * 0.35 + (leg > 2) * math.pi / 2  # noqa: PLR2004  # three on each side
        draw.line((x, y, x + length * math.cos(angle), y + length * math.sin(angle)), fill=(45, 40, 25))
    shade = random.randint(10, 50)
    draw.polygon(_ellipse(x, y, length, length * 0.4, heading), fill=(shade + 10, shade, shade // 2))


def _ellipse(x: float, y: float, long: float, short: float, heading: float) -> list[tuple[float, float]]:
    cos, sin = math.cos(heading), math.sin(heading)
    around = [(long * math.cos(t * 0.4), short * math.sin(t * 0.4)) for t in range(16)]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in around]
