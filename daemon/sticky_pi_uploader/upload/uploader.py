"""Sends what is due through the client's `put_images`, and records each picture's outcome as it comes.

A picture is claimed, sent, and its receipt and outcome recorded in one durable step, shared by those that come shortly
after one another. What follows from an outcome is for `judgement` to say.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from sticky_pi_api.types import ImageOutcome, Outcome

from ..exceptions import StateError
from ..models import Picture
from ..outbox import Outbox
from ..scan_requests import Hints
from ..state_dir.pending_removal import open_picture
from ..state_dir.thumbnails import ThumbnailFolder, Thumbnails
from .backoff import is_due
from .cancel import breaking_off
from .outcome_policy import Judge
from .time_budget import Allowance

if TYPE_CHECKING:
    from sticky_pi_api.image_parser import ImageParser

BATCH: Final = 20
"""Pictures handed to the client at once: enough that asking for them costs little. One while there is trouble."""


class Client(Protocol):
    """What the uploader needs of `LocalClient`."""

    def put_images(self, files: Sequence[Any], *, on_outcome: Callable[[Any], None]) -> object:
        """Send pictures, and tell the outcome of each as it is known."""

    def close(self) -> None:
        """Give up what it holds open."""

    def stalled_for(self) -> float:
        """Tell for how many seconds none of its requests got on; infinite for what makes none."""


class _Stopped(Exception):  # noqa: N818 - it is no error
    """Breaks off a batch between two outcomes."""


class Uploader:
    """The only one that talks to the destination."""

    def __init__(
        self,
        outbox: Outbox,
        thumbnails: ThumbnailFolder,
        hints: Hints,
        *,
        image_dir: str,
        url: str,
        open_client: Callable[[], Client],
        give_up_after: int,
        stopping: Callable[[], bool],
        beat: Callable[[], None] = lambda: None,
        left: Callable[[], float] = lambda: math.inf,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send to the destination at `url`; its client is opened by `open_client` when it is first needed.

        A picture refused `give_up_after` times while others are taken is rejected. Once `stopping()`, the batch in
        hand ends with the picture being sent. `beat` is called with each picture that is dealt with. None is
        begun that, by the rate of the last ones, wouldn't be sent in the seconds that `left()` tells.
        """
        self._outbox = outbox
        self._thumbnails = thumbnails
        self._image_dir = image_dir
        self._url = url
        self._open_client = open_client
        self._stopping = stopping
        self._left = left
        self._beat = beat
        self._clock = clock
        self._client: Client | None = None
        self._trial: Callable[[], None] | None = None
        self._in_hand: dict[str, Picture] = {}
        self._unsettled = False
        self._network_is_back = False
        self.is_out_of_time = False
        """whether pictures were due that wouldn't have been sent before the deadline"""
        self._is_store = url.startswith("file:")
        self._allowance = Allowance(left, monotonic=monotonic)
        self._judge = Judge(outbox, hints, url=url, give_up_after=give_up_after, clock=clock, monotonic=monotonic)

    @property
    def sent(self) -> int:
        """Tell how many pictures the destination turned out to hold, so far."""
        return self._judge.sent

    def step(self) -> float | None:
        """Send one batch.

        Returns the seconds until the next is worth it (0: at once), or None: not before there is something new.
        Raises StateError where the outbox can't be written; nothing is lost by that.
        """
        if self._unsettled:
            # An outcome couldn't be recorded, so what was in hand is asked for again.
            self._judge.forget_batch()
            self._outbox.recover()
            self._unsettled = False
        if self._network_is_back:
            # In this order: it may come back once more meanwhile.
            self._network_is_back = False
            try:
                self._outbox.end_wait_for_network()
            except StateError:
                self._network_is_back = True
                raise
        if self._trial is not None:
            self._try(self._trial)
            self._trial = None
        wait = self._wait()
        if wait != 0:
            return 0.0 if self._outbox.reoffer() else wait
        batch = self._claim()
        fitting = self._allowance.fitting(batch)
        for picture in batch[fitting:]:
            self._outbox.release(picture)
        self.is_out_of_time = bool(batch) and not fitting
        if self.is_out_of_time:
            return None
        self._send(batch[:fitting])
        return 0.0

    def begin_with(self, trial: Callable[[], None]) -> None:
        """Have the first step try the destination out, so that what is wrong is known before there is a picture.

        `trial` raises StickyPiError.
        """
        self._trial = trial

    def network_is_back(self) -> None:
        """Have the next step try what couldn't be reached; any thread may.

        A try that is under way, and fails as it began too early, is so followed by another.
        """
        self._network_is_back = True

    def stalled_for(self) -> float:
        """Tell for how many seconds no request to the destination got on; infinite where none is made."""
        client = self._client
        return math.inf if client is None else client.stalled_for()

    def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _wait(self) -> float | None:
        self._outbox.end_impossible_waits()
        due_in = self._outbox.next_due()
        if due_in is None:
            return None
        now = self._clock()
        destination = self._outbox.destination(self._url)
        if destination.retry_at is None or is_due(destination.retry_at, now):
            return due_in
        held_for = max(due_in, destination.retry_at - now)
        if (limit := self._judge.limit) is not None:
            smaller = self._outbox.next_due(untried=not limit.passes_smaller, smaller_than=limit.size)
            return held_for if smaller is None else min(held_for, smaller)
        if not destination.holds_all and self._outbox.next_due(untried=True) == 0:
            return 0.0
        return held_for

    def _claim(self) -> Sequence[Picture]:
        limit = self._judge.limit
        if limit is not None:
            smaller = self._outbox.claim(BATCH, untried=not limit.passes_smaller, smaller_than=limit.size)
            if smaller:
                return smaller
        in_trouble = self._outbox.destination(self._url).failures > 0
        return self._outbox.claim_canary() if in_trouble else self._outbox.claim(BATCH)

    def _send(self, batch: Sequence[Picture]) -> None:
        from sticky_pi_api.exceptions import StickyPiError

        self._unsettled = True
        self._in_hand = {self._full(picture): picture for picture in batch}
        try:
            if self._client is None:
                self._client = self._open_client()
            items = [item for picture in batch if (item := self._item(picture)) is not None]
            self._allowance.begin()
            with self._breaking_off(self._client):
                self._client.put_images(items, on_outcome=self._record)
        except _Stopped:
            pass
        except (StickyPiError, OSError) as error:
            self._judge.blame_destination(error)
        self._allowance.end()
        for picture in self._in_hand.values():
            self._outbox.release(picture)
        in_trouble = self._judge.end_batch()
        self._unsettled = False
        if in_trouble and self._is_store:
            # What is behind it may be another disk by the time that it is tried again.
            self.close()

    def _try(self, trial: Callable[[], None]) -> None:
        from sticky_pi_api.exceptions import StickyPiError

        try:
            trial()
        except StickyPiError as error:
            self._judge.blame_destination(error)
            self._judge.end_batch()
        else:
            self._judge.clear_destination()

    @contextmanager
    def _breaking_off(self, client: Client) -> Iterator[None]:
        """Give an upload to a server up when it would hold up the end, and let no receipt wait for it.

        A store needs but a moment for a picture.
        """
        if self._is_store:
            yield
            return
        with breaking_off(client.close, self._stopping, left=self._left, meanwhile=self._settle_late_receipts):
            yield

    def _settle_late_receipts(self) -> None:
        # What is in the way of it is met again by the thread that sends.
        with contextlib.suppress(StateError):
            self._judge.settle_late_receipts()

    def _full(self, picture: Picture) -> str:
        return os.path.join(self._image_dir, picture.path)

    def _item(self, picture: Picture) -> ImageParser | None:
        """Make what the client gets: the picture as it was parsed, with the thumbnails kept since."""
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.image_parser import ImageParser
        from sticky_pi_api.local.images import is_storable

        self._beat()
        path = self._full(picture)
        opener = partial(open_picture, self._image_dir, picture.path)
        thumbnails, fields = self._thumbnails.find(str(picture.md5)), picture.metadata
        # What is missing or damaged of these is in the file as well.
        if thumbnails is None or fields is None or not is_storable(fields):
            try:
                with opener() as file:
                    parser = ImageParser(file)
            except (ImageError, OSError) as error:
                self._judge.read_again(picture, error)
                del self._in_hand[path]
                return None
            thumbnails, fields = Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg), parser
            with contextlib.suppress(OSError):
                self._thumbnails.keep(str(parser["md5"]), thumbnails)
        key = {"device": picture.device, "datetime": picture.datetime, "md5": picture.md5}
        return ImageParser.restore(path, {**fields, **key}, thumbnails.large, thumbnails.mini, opener=opener)

    def _record(self, result: ImageOutcome) -> None:
        self._beat()
        if result.outcome is Outcome.STORED:
            self._allowance.sent(self._in_hand[result.file], result.seconds)
        self._judge.judge(self._in_hand[result.file], result)
        del self._in_hand[result.file]
        if self._stopping() or self._judge.refuses_all:
            raise _Stopped
