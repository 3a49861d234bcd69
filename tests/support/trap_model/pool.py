"""The pictures that the camera takes: few and small, so that they meet again under other names."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import md5

from sticky_pi_uploader.demo.pictures import picture_bytes

DEVICES = ("5c173ff2", "1b74105a")
FIRST = datetime(2022, 5, 17, 18, 34, 50)  # noqa: DTZ001  # UTC, as in the file names
TIMES = tuple(FIRST + timedelta(hours=9 * number) for number in range(3))
SMALL = (48, 36)


@dataclass(frozen=True)
class Content:
    """A file's bytes, and what they are: `whole`, `suspect` or `broken`."""

    blob: bytes
    kind: str
    md5: str

    def __repr__(self):
        return f"<{self.kind} {self.md5[:6]}>"


@cache
def pool():
    """Make all contents, once."""
    whole = [picture_bytes(DEVICES[0], FIRST, generation=(2020, 2022)[n % 2], size=SMALL, seed=n) for n in range(6)]
    holed = [blob[: len(blob) - 700] + bytes(64) + blob[len(blob) - 636 :] for blob in whole[:2]]
    broken = [b"", whole[2][:-2], whole[3][: len(whole[3]) // 2], bytes(500)]
    # Bytes behind the end are no more than noted.
    longer = [whole[4] + b"\n", whole[5] + bytes(5000)]
    kinds = [*[(blob, "whole") for blob in (*whole, *longer)], *[(blob, "suspect") for blob in holed]]
    kinds += [(blob, "broken") for blob in broken]
    return tuple(Content(blob, kind, md5(blob, usedforsecurity=False).hexdigest()) for blob, kind in kinds)


def file_name(device, time, *, upper=False):
    """Name a picture's file; the case of the device makes no difference to its key."""
    return f"{device.upper() if upper else device}.{time:%Y-%m-%d_%H-%M-%S}.jpg"


def key_in(path):
    """Return the key that a path stands for, as text."""
    device, time, _ = path.rsplit("/", 1)[-1].split(".")
    return device.lower(), time
