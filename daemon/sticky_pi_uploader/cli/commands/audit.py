"""Accounts for every picture, as plain data: what is recorded against what is on the card and at the destination."""

from __future__ import annotations

import calendar
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sticky_pi_api.exceptions import ImageError, StickyPiError

from ...intake.scanner import Scanner
from ...intake.stranded_files import WHY, left_over
from ...models import Candidate, Picture, State
from ...outbox import Outbox, OutboxReader, outbox_path
from ...retention.remover import claim_of
from ...state_dir.mounts import image_dir_problem
from ...state_dir.pending_removal import hidden, is_there, open_picture, place_of
from ...upload.backoff import LONGEST_WAIT
from ..reports import Warn, pictures, utc
from ..sequence import gaps, learn_interval
from .retry import TOGETHER

if TYPE_CHECKING:
    from sticky_pi_api.put_images.verification import Holding

    from ...retention.remover import Client

STOPPED: Final = 3
"""Pictures that the trap's camera owes from which on it is taken to have stopped"""

ON_CARD: Final = "on_card"
GONE: Final = "gone_after_upload"
REMOVED: Final = "removed"

_BATCH: Final = 100
_TO_BE_HERE: Final = (State.PENDING, State.UPLOADING, State.CONFLICT, State.REJECTED)


class Questions(NamedTuple):
    """What an audit is to find out."""

    scanner: Scanner
    open_client: Callable[[], Client] | None = None
    """opens a client of the destination where receipts are to be checked there"""
    deep: bool = False
    """whether the files on the card are to be read and hashed"""
    interval: float | None = None
    """seconds between two pictures of a camera; None: learnt from them"""


class Copy(NamedTuple):
    """What was found out of the destination's copy of a picture, where that is to be recorded."""

    picture: Picture
    wrong: str | None
    """None where nothing is wrong with it any more"""
    send_again: bool = False
    """whether there is none, and the picture is still on the card"""


def audit(reader: OutboxReader, questions: Questions, warn: Warn) -> tuple[dict[str, Any], list[Copy]]:
    """Compare what is recorded with what is there; `adds_up` says whether every picture is accounted for.

    Returns the report, and what `record` is to take of it.
    """
    one = _Audit(questions)
    return one.report(reader, warn), one.copies


def record(state_dir: str, copies: Sequence[Copy]) -> None:
    """Have pictures sent again that the destination doesn't have, and note whose copy is wrong. Raises StateError."""
    if copies:
        remaining = iter(copies)
        with Outbox(outbox_path(state_dir), longest_wait=LONGEST_WAIT) as outbox:
            while batch := list(islice(remaining, TOGETHER)):
                with outbox.together():
                    for copy in batch:
                        if copy.send_again:
                            outbox.unconfirm(copy.picture, f"{copy.wrong}; it is sent again")
                        else:
                            outbox.note_copy(copy.picture, copy.wrong)


class _Audit:
    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._image_dir = questions.scanner.image_dir
        self._counts = dict.fromkeys((*(state.value for state in State), ON_CARD, GONE, REMOVED), 0)
        self._problems: list[dict[str, str]] = []
        self._times: dict[str, set[float]] = defaultdict(set)
        self._read = 0
        self.copies: list[Copy] = []

    def report(self, reader: OutboxReader, warn: Warn) -> dict[str, Any]:
        said: list[str] = []
        files = self._files()
        uploaded = list(self._account(pictures(reader, (), said.append), files))
        for path in sorted(files):
            self._problem(path, "on the card, and not taken in: the next scan takes it in")
        for line in said:
            warn(line)
            self._problem("", line)
        verified = self._verify(uploaded)
        cameras = list(self._cameras())
        return {
            "image_dir": self._image_dir,
            "counts": self._counts,
            "verified": verified,
            "read": self._read if self._questions.deep else None,
            "cameras": cameras,
            "problems": self._problems,
            "adds_up": not self._problems,
        }

    def _problem(self, path: str, what: str) -> None:
        self._problems.append({"path": os.path.join(self._image_dir, path), "what": what})

    def _files(self) -> dict[str, Candidate]:
        """Find what is on the card, by path."""
        if (wrong := image_dir_problem(self._image_dir)) is not None:
            self._problem("", wrong)
            return {}
        found = {}
        for folder in self._questions.scanner.folders():
            candidates = self._questions.scanner.candidates(folder)
            if candidates is None:
                self._problem(folder, "the folder can't be read, so nothing is known of what is in it")
            found.update({candidate.path: candidate for candidate in candidates or ()})
        for path in left_over(self._questions.scanner):
            self._problem(hidden(path), WHY)
        return found

    def _account(self, recorded: Iterator[Picture], files: dict[str, Candidate]) -> Iterator[Picture]:
        """Account for what is recorded, and take its files out of `files`; yields the pictures with a receipt."""
        for picture in recorded:
            self._counts[picture.state.value] += 1
            if picture.device and picture.datetime and (taken_at := _unix(picture.datetime)) is not None:
                self._times[picture.device.lower()].add(taken_at)
            candidate = files.pop(picture.path, None)
            if candidate is not None:
                self._counts[ON_CARD] += 1
                self._look_at(picture, candidate)
            elif picture.removed_at is not None:
                self._counts[REMOVED] += 1
            elif picture.state is State.UPLOADED:
                self._counts[GONE] += 1
            elif picture.state in _TO_BE_HERE:
                self._problem(picture.path, f"{picture.state}, and its file isn't to be found on the card")
            if picture.state is State.UPLOADED:
                yield picture

    def _look_at(self, picture: Picture, candidate: Candidate) -> None:
        if picture.state is State.LOST:
            self._problem(picture.path, "lost, and its file is back: the next scan takes it in")
        elif self._questions.deep and picture.md5 is not None:
            self._read += 1
            if (wrong := self._compare(picture)) is not None:
                self._problem(picture.path, wrong)
        elif picture.fingerprint is not None and not picture.fingerprint.is_like(candidate.fingerprint):
            self._problem(picture.path, "its file changed since it was taken in: the next scan reads it")

    def _compare(self, picture: Picture) -> str | None:
        from sticky_pi_api.utils import md5

        try:
            place = place_of(self._image_dir, picture.path) or os.path.join(self._image_dir, picture.path)
            with open_picture(self._image_dir, os.path.relpath(place, self._image_dir)) as file:
                found = md5(file)
        except OSError as error:
            return f"its file can't be read: {error.strerror}"
        except ImageError as error:
            return error.reason
        return (
            None if found == picture.md5 else f"its bytes are no longer those taken in (md5 {found}, not {picture.md5})"
        )

    def _verify(self, uploaded: list[Picture]) -> dict[str, int] | None:
        """Ask the destination for all that it is said to have; returns how many answers of each kind came."""
        if self._questions.open_client is None:
            return None
        counts = Counter[str]()
        try:
            client = self._questions.open_client()
            try:
                remaining = iter(uploaded)
                while batch := list(islice(remaining, _BATCH)):
                    for picture, holding in zip(batch, client.holdings([claim_of(one) for one in batch]), strict=True):
                        counts[holding.value] += 1
                        self._judge(picture, holding)
            finally:
                client.close()
        except StickyPiError as error:
            self._problem("", f"the destination can't be asked what it has: {error}")
        return dict(counts)

    def _judge(self, picture: Picture, holding: Holding) -> None:
        from sticky_pi_api.put_images.verification import Holding

        wrong = {
            Holding.ABSENT: "uploaded, but the destination doesn't have it",
            Holding.OTHER: "uploaded, but the destination has another picture in its place",
            Holding.OVERWRITTEN: "uploaded, but at the destination the stored file is missing, or isn't this picture",
        }
        if holding in wrong:
            self._problem(picture.path, wrong[holding])
            is_lost_there = holding is Holding.ABSENT and is_there(self._image_dir, picture.path)
            self.copies.append(Copy(picture, f"an audit found: {wrong[holding]}", is_lost_there))
        elif holding is Holding.CONFIRMED and picture.reason is not None:
            self.copies.append(Copy(picture, None))

    def _cameras(self) -> Iterator[dict[str, Any]]:
        """Tell of each camera how often it takes a picture, and when it didn't."""
        now = time.time()
        newest = max(self._times, key=lambda device: max(self._times[device]), default=None)
        for device, found in sorted(self._times.items()):
            times = sorted(found)
            interval = self._questions.interval or learn_interval(times)
            missed = gaps(times, interval, now) if interval else []
            yield {
                "device": device,
                "pictures": len(times),
                "last": utc(times[-1]),
                "interval": interval,
                "gaps": [{"from": utc(gap.begins), "to": utc(gap.ends), "missing": gap.missing} for gap in missed],
            }
            if device == newest and missed and missed[-1].ends is None and missed[-1].missing >= STOPPED:
                owed = missed[-1].missing
                self._problem("", f"the camera {device} has taken no picture since {utc(times[-1])}: it owes {owed}")


def _unix(stamp: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return None
