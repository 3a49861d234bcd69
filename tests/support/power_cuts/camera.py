"""The camera: writes one picture after another as the real one does, in steps between which a cut may come."""

import os
from datetime import UTC, datetime, timedelta
from functools import cache

from sticky_pi_uploader.demo.pictures import picture_bytes

DEVICES = ("5c173ff2", "512858f4")
SIZES = ((160, 120), (160, 120), (320, 240), (648, 486))
_FIRST = datetime.now(UTC).replace(minute=34, second=50, microsecond=0) - timedelta(days=90)


@cache
def picture(number):
    """Return the folder, name and bytes of a camera's picture; a new date folder comes with every eighth."""
    device = DEVICES[number % len(DEVICES)]
    when = _FIRST + timedelta(hours=3 * number)
    blob = picture_bytes(device, when, generation=(2020, 2022)[number % 2], size=SIZES[number % len(SIZES)])
    return f"{device}/{when:%Y-%m-%d}", f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg", blob


class Camera:
    """Puts pictures on a card."""

    def __init__(self, card, *, flushes=False):
        """Write below `card`; a camera that `flushes` makes a picture's bytes durable, and not its name."""
        self._card = card
        self._flushes = flushes
        self._steps = iter(())
        self._taken = 0
        self.finished = {}
        """the bytes of the pictures that have their name, by name"""

    def step(self):
        """Do the next bit of what it takes to write a picture."""
        if next(self._steps, None) is None:
            self._steps = self._write(*picture(self._taken))
            self._taken += 1

    def _write(self, folder, name, blob):
        folder = self._card / folder
        folder.mkdir(parents=True, exist_ok=True)
        yield "made a folder"
        with (folder / f"{name}~").open("wb", buffering=0) as file:
            file.write(blob[: len(blob) // 2])
            yield "wrote a half"
            file.write(blob[len(blob) // 2 :])
            if self._flushes:
                os.fsync(file.fileno())
        yield "wrote it"
        (folder / f"{name}~").rename(folder / name)
        self.finished[name] = blob
        yield "renamed it"
