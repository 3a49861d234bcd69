"""Mutated file names: what lies under one is taken in with its reason, and found again in the outbox, byte for byte."""

import os
from datetime import datetime

from sticky_pi_api.exceptions import FilenameError
from sticky_pi_api.images.filename import format_filename, parse_filename
from sticky_pi_uploader.cli.commands.pictures.list import list_line
from sticky_pi_uploader.intake.directory_sync import DirectorySync
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder

from . import seeds
from .mutations import mutate

_SEEDS = (
    *(b"1b74105a.2020-07-05_10-07-16.jpg", b"5C173FF2.2022-12-31_23-59-59.JPG", b"00000000.2019-11-01_00-00-00.jpg"),
    *(b"1b74105a/2020-07-05/1b74105a.2020-07-05_10-07-16.jpg", b"copies/of mine/IMG_0001.JPG"),
)
_TOKENS = [
    *b". .. / // - _ ~ .jpg .JPG .jpeg .jpg~ 9999 0000 2019-10-31 02-30 24-00-00 23-59-60 2020-02-29 %s %00".split(),
    *(b" ", b"'", b'"', b"\\", b"\n", b"\r", b"\t", b"\x1b[31m", b"\x07", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9"),
    *(b"e\xcc\x81", b"\xe2\x80\xae", b"\xf0\x9f\xa6\x8b", b"\xed\xa0\x80", b"\xd9\xa1", b"\xef\xbc\x91", b"a" * 120),
    *b"? # * ABCDEF01 abcdef01 0x123456 -1234567".split(),
]
_LONGEST = 255  # bytes of a file's name
_RECORDED_AT_ONCE = 500


class Target:
    """The way of a file's name from a scan to the outbox and the tables that people read."""

    def __init__(self, folder):
        self._folder = os.fsencode(folder / "images")
        os.mkdir(self._folder)
        self._picture = os.fsencode(folder / "picture")
        with open(self._picture, "wb") as file:
            file.write(seeds.pictures()[0])
        image_dir = os.fsdecode(self._folder)
        self._entries = DirectorySync(image_dir)
        self._scanner = Scanner(image_dir)
        thumbnails = ThumbnailFolder(os.fspath(folder / "thumbnails"))
        self._reader = PictureReader(image_dir, thumbnails, lambda: datetime(2026, 11, 1).timestamp())  # noqa: DTZ001
        self._outbox = Outbox(os.fspath(folder / "outbox.db"), longest_wait=1800)

    def close(self):
        self._outbox.close()

    def try_one(self, random):
        path = mutate(random, random.choice(_SEEDS), _TOKENS)
        parts = [part[:_LONGEST] for part in path.replace(b"\0", b"").split(b"/") if part.strip(b".")]
        path = os.path.join(b"", *parts[-4:])
        is_valid = _check_name(os.fsdecode(os.path.basename(path)))
        if not path:
            return "no name"
        file = os.path.join(self._folder, path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        os.link(self._picture, file)
        try:
            return self._take_in(os.fsdecode(path), is_valid=is_valid)
        finally:
            os.unlink(file)
            if folder := os.path.dirname(path):
                os.removedirs(os.path.join(self._folder, folder))
                os.makedirs(self._folder, exist_ok=True)

    def _take_in(self, path, *, is_valid):
        found = [one for folder in self._scanner.folders() for one in self._scanner.candidates(folder)]
        if not self._scanner.is_candidate_name(path):
            assert found == []
            return "ignored"
        assert [one.path for one in found] == [path]
        result = self._reader.read(found[0], "the card")
        assert (result.taken.rejected is None) == is_valid
        assert self._entries.flush([os.path.dirname(path)]) == {os.path.dirname(path)}
        self._outbox.catalog.record([result.taken])
        picture = self._outbox.at(path)
        assert picture.path == path
        assert picture in self._outbox.named(os.path.basename(path))
        assert picture.state in ((State.PENDING, State.CONFLICT) if is_valid else (State.REJECTED,))
        assert (picture.device is not None) == is_valid
        line = list_line(picture)
        assert line.isprintable(), line
        line.encode()
        self._outbox.catalog.lose(picture)
        return "taken in" if is_valid else "rejected"


def _check_name(name):
    """See that a name is read back as it is, or refused with a reason; tells which."""
    try:
        device, taken = parse_filename(name)
    except FilenameError as refusal:
        return _check_reason(str(refusal))
    assert format_filename(device, taken) == name[:-3] + "jpg"
    return True


def _check_reason(text):
    assert text.isprintable(), text
    text.encode()
    return False
