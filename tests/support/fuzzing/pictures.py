"""Mutated picture files: the intake takes each in or says why not, and what it takes in can be recorded and stored."""

import hashlib
import io
import json
import math
import os
from datetime import datetime

from PIL import Image
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import ImageError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.models import Candidate, Fingerprint
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder

from . import seeds
from .mutations import INTERESTING, mutate

_MARKERS = [
    bytes([0xFF, marker]) for marker in (*range(0xC0, 0xD0), 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE)
]
_TOKENS = [*_MARKERS, b"Exif\0\0", b"II*\0", b"MM\0*", b"JFIF\0", b"Adobe", bytes(64), bytes(4096), b"StickyPi", b"{}"]
_RECORDED_AT_ONCE = 50


class Target:
    """The intake's first half, on one file, and a store."""

    def __init__(self, folder):
        self._seeds = seeds.pictures()
        self._images = folder / "images"
        self._images.mkdir()
        thumbnails = ThumbnailFolder(os.fspath(folder / "thumbnails"))
        self._reader = PictureReader(os.fspath(self._images), thumbnails, lambda: datetime(2026, 11, 1).timestamp())  # noqa: DTZ001
        self._outbox = Outbox(os.fspath(folder / "outbox.db"), longest_wait=1800)
        self._store = LocalClient(folder / "store")
        self._taken = []

    def close(self):
        self._record()
        self._outbox.close()
        self._store.close()

    def try_one(self, random):
        blob = _mutated(random, random.choice(self._seeds))
        (self._images / seeds.NAME).write_bytes(blob)
        result = self._reader.read(Candidate(seeds.NAME, Fingerprint(0, 0, 0)), "the card")
        taken = result.taken
        assert taken.md5 == hashlib.md5(blob, usedforsecurity=False).hexdigest()
        assert not result.final or taken.rejected is None
        try:
            parser = ImageParser(os.fspath(self._images / seeds.NAME))
        except ImageError as refusal:
            return _check_refusal(refusal, taken)
        assert taken.rejected is None
        _check(parser)
        if random.random() < 0.1:
            self._put(random, parser)
        self._taken.append(taken)
        if len(self._taken) == _RECORDED_AT_ONCE:
            self._record()
        return "suspect" if taken.suspect else "taken in"

    def _put(self, random, parser):
        """Store a picture, as one of another time."""
        parser["datetime"] = datetime.fromtimestamp(random.randrange(1_577_836_800, 4_102_444_800))  # noqa: DTZ006
        row, *others = self._store.put_images([parser])
        assert others == []
        columns = {name: value for name, value in parser.items() if name != "filename"}
        assert {name: row[name] for name in columns} == columns

    def _record(self):
        """Record what was taken in, each under a name of its own, and read it again."""
        start = sum(self._outbox.counts().values())
        named = [taken._replace(path=f"{start + number}/{taken.path}") for number, taken in enumerate(self._taken)]
        self._outbox.catalog.record(named)
        for taken in named:
            picture = self._outbox.at(taken.path)
            assert (picture.metadata, picture.md5, picture.suspect) == (taken.metadata, taken.md5, taken.suspect)
        self._taken.clear()


def _check_refusal(refusal, taken):
    assert (refusal.reason, refusal.md5) == (taken.rejected, taken.md5)
    assert refusal.reason.isprintable(), refusal
    return "rejected"


def _check(parser):
    """See that every value is one that JSON and databases hold, and that the thumbnails are pictures."""
    json.dumps({name: value for name, value in parser.items() if name != "datetime"}, allow_nan=False)
    for value in parser.values():
        assert isinstance(value, str | int | float | datetime | None), value
        if isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**63
    for encoded, most in ((parser.thumbnail_jpeg, (512, 384)), (parser.thumbnail_mini_jpeg, (128, 96))):
        with Image.open(io.BytesIO(encoded)) as thumbnail:
            thumbnail.load()
            assert thumbnail.width <= most[0]
            assert thumbnail.height <= most[1]
    assert parser.suspect is None or parser.suspect.isprintable()


def _mutated(random, seed):
    step = random.randrange(4)
    if step == 0:
        blob = mutate(random, seed, _TOKENS)
    elif step == 1:
        blob = _with_other_segments(random, seed)
    else:
        # Header and data apart: most steps would else fall into the one that is longer.
        scan = seed.index(b"\xff\xda")
        head, data = seed[:scan], seed[scan:]
        blob = mutate(random, head, _TOKENS) + data if step == 2 else head + mutate(random, data, _TOKENS)
    if random.random() < 0.8:
        # Without these two, the file is "cut short", whatever else it may be.
        blob = b"\xff\xd8" + blob.removeprefix(b"\xff\xd8").removesuffix(b"\xff\xd9") + b"\xff\xd9"
    return blob


def _with_other_segments(random, seed):
    """Remove, repeat, swap and fill the parts of the header, and lie about sizes."""
    at, segments = 2, []
    while seed[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(seed[at + 2 : at + 4], "big")
        segments.append(bytearray(seed[at:end]))
        at = end
    for _ in range(random.randint(1, 3)):
        segment, step = random.choice(segments), random.randrange(6)
        if step == 0:
            segments.insert(random.randrange(len(segments)), segment[:])
        elif step == 1 and len(segments) > 1:
            segments.remove(segment)
        elif step == 2:
            random.shuffle(segments)
        elif step == 3:
            segment[1] = random.choice(_MARKERS)[1]
        elif step == 4:
            changed = mutate(random, bytes(segment[4:]), _TOKENS)[:65533]
            segment[2:] = (len(changed) + 2).to_bytes(2, "big") + changed
        else:
            _lie_about_size(random, segments)
    scans = seed[at:-2] * random.choice((1, 1, 1, 2, 40))
    return b"".join([seed[:2], *segments, scans, seed[-2:]])


def _lie_about_size(random, segments):
    for segment in segments:
        if segment[1] in (0xC0, 0xC1, 0xC2):
            place = random.choice((5, 7, 5 + 2 * random.randrange(2)))
            segment[place : place + 2] = random.choice((*INTERESTING, 9000, 20000, 65500)).to_bytes(2, "big")
