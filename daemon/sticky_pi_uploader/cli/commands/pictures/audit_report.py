"""Account for every picture: compare the records with the files on the card and the copies at the destination."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sticky_pi_api.exceptions import ImageError, StickyPiError

from ....clock import unix_time, utc_text
from ....image_dir.pending_removal import STUCK, hidden, is_there, place_of
from ....image_dir.picture_file import open_picture
from ....intake.scanner import Scanner
from ....models import Candidate, Picture, State
from ....retention.remover import claim_of
from ....sequence import gaps, learn_interval
from ....state_dir.mounts import image_dir_problem
from ...state_reader import StateReader, Warn

if TYPE_CHECKING:
    from sticky_pi_api.put_images.holdings import Holding

    from ....outbox import OutboxReader
    from ....upload.client_factory import Client

STOPPED: Final = 3
"""Missing pictures after which the newest camera counts as stopped"""

ON_CARD: Final = "on_card"
GONE: Final = "gone_after_upload"
REMOVED: Final = "removed"

_PER_QUESTION: Final = 100
"""Pictures that the destination is asked for at once"""

_STATES_WITH_FILE: Final = (State.PENDING, State.UPLOADING, State.CONFLICT, State.REJECTED)


class Copy(NamedTuple):
    """A finding about the destination's copy of a picture, to be recorded."""

    picture: Picture
    wrong: str | None
    """None where the copy is right again"""
    send_again: bool = False
    """whether the copy is missing, and the picture is still on the card"""


class Audit:
    """One audit; `copies` are its findings about the destination's copies, to be recorded after the report."""

    def __init__(
        self, scanner: Scanner, *, open_client: Callable[[], Client] | None, deep: bool, interval: float | None
    ) -> None:
        """Ask the destination through a client that `open_client` opens; if `deep`, read and hash each file.

        `interval` is the number of seconds between two pictures of a camera; None: learnt from them.
        """
        self._scanner = scanner
        self._open_client = open_client
        self._deep = deep
        self._interval = interval
        self._image_dir = scanner.image_dir
        self._counts = dict.fromkeys((*(state.value for state in State), ON_CARD, GONE, REMOVED), 0)
        self._problems: list[dict[str, str]] = []
        self._times: dict[str, set[float]] = defaultdict(set)
        self._read = 0
        self.copies: list[Copy] = []

    def report(self, outbox: OutboxReader, warn: Warn) -> dict[str, Any]:
        """Return the report for JSON, in which `adds_up` says whether all is accounted for."""
        damage: list[str] = []
        files = self._files()
        uploaded = list(self._account(StateReader(outbox, damage.append).pictures(), files))
        for path in sorted(files):
            self._problem(path, "on the card, and not taken in: the next scan takes it in")
        for line in damage:
            warn(line)
            self._problem("", line)
        verified = self._verify(uploaded)
        cameras = list(self._cameras())
        return {
            "image_dir": self._image_dir,
            "counts": self._counts,
            "verified": verified,
            "read": self._read if self._deep else None,
            "cameras": cameras,
            "problems": self._problems,
            "adds_up": not self._problems,
        }

    def _problem(self, path: str, what: str) -> None:
        self._problems.append({"path": os.path.join(self._image_dir, path), "what": what})

    def _files(self) -> dict[str, Candidate]:
        """Return the files on the card, by path."""
        if (wrong := image_dir_problem(self._image_dir)) is not None:
            self._problem("", wrong)
            return {}
        found = {}
        for folder in self._scanner.folders():
            candidates = self._scanner.candidates(folder) or ()
            found.update({candidate.path: candidate for candidate in candidates})
        for path in self._scanner.interrupted_removals():
            self._problem(hidden(path), STUCK)
        return found

    def _account(self, recorded: Iterator[Picture], files: dict[str, Candidate]) -> Iterator[Picture]:
        """Account for each record and take its file out of `files`; yield the pictures that were uploaded."""
        for picture in recorded:
            self._counts[picture.state.value] += 1
            if picture.device and picture.datetime:
                with suppress(ValueError):
                    taken_at = unix_time(picture.datetime)
                    self._times[picture.device.lower()].add(taken_at)
            candidate = files.pop(picture.path, None)
            if candidate is not None:
                self._counts[ON_CARD] += 1
                self._check_file(picture, candidate)
            elif picture.removed_at is not None:
                self._counts[REMOVED] += 1
            elif picture.state is State.UPLOADED:
                self._counts[GONE] += 1
            elif picture.state in _STATES_WITH_FILE:
                self._problem(picture.path, f"{picture.state}, and its file isn't to be found on the card")
            if picture.state is State.UPLOADED:
                yield picture

    def _check_file(self, picture: Picture, candidate: Candidate) -> None:
        if picture.state is State.LOST:
            self._problem(picture.path, "lost, and its file is back: the next scan takes it in")
        elif self._deep and picture.md5 is not None:
            self._read += 1
            if (wrong := self._difference(picture)) is not None:
                self._problem(picture.path, wrong)
        elif picture.fingerprint is not None and not picture.fingerprint.is_like(candidate.fingerprint):
            self._problem(picture.path, "its file changed since it was taken in: the next scan reads it")

    def _difference(self, picture: Picture) -> str | None:
        """Read the file of a picture, and say how it differs from the recorded md5; None where it doesn't."""
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
        """Ask the destination for all uploaded pictures; return the number of answers of each kind."""
        if self._open_client is None:
            return None
        counts = Counter[str]()
        try:
            client = self._open_client()
            try:
                remaining = iter(uploaded)
                while batch := list(islice(remaining, _PER_QUESTION)):
                    for picture, holding in zip(batch, client.holdings([claim_of(one) for one in batch]), strict=True):
                        counts[holding.value] += 1
                        self._check_copy(picture, holding)
            finally:
                client.close()
        except StickyPiError as error:
            self._problem("", f"the destination can't be asked what it has: {error}")
        return dict(counts)

    def _check_copy(self, picture: Picture, holding: Holding) -> None:
        from sticky_pi_api.put_images.holdings import Holding

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
        """Yield each camera with its interval and its gaps."""
        now = time.time()
        newest = max(self._times, key=lambda device: max(self._times[device]), default=None)
        for device, found in sorted(self._times.items()):
            times = sorted(found)
            interval = self._interval or learn_interval(times)
            missed = gaps(times, interval, now)
            yield {
                "device": device,
                "pictures": len(times),
                "last": utc_text(times[-1]),
                "interval": interval,
                "gaps": [
                    {"from": utc_text(gap.begins), "to": utc_text(gap.ends), "missing": gap.missing} for gap in missed
                ],
            }
            owed = missed[-1].missing if missed and missed[-1].ends is None else None
            if device == newest and owed is not None and owed >= STOPPED:
                last = utc_text(times[-1])
                self._problem("", f"the camera {device} has taken no picture since {last}: it owes {owed}")
