"""Send the pictures that are due through the client's `put_images`, and record each one's outcome as it comes.

A picture is claimed, sent, and its receipt and outcome are recorded in one durable step. `outcome_policy` decides what
follows from an outcome.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from sticky_pi_api.types import ImageOutcome, Outcome

from ..clock import Heartbeat
from ..exceptions import StateError
from ..image_dir.picture_file import open_picture
from ..models import Picture
from ..outbox import Destinations, Queue
from ..scan_requests import ScanRequests
from ..state_dir.thumbnails import ThumbnailFolder, Thumbnails
from .backoff import is_due

if TYPE_CHECKING:
    from sticky_pi_api.image_parser import ImageParser

    from .client_factory import Client
    from .outcome_recorder import OutcomeRecorder
    from .time_budget import TimeBudget

BATCH_SIZE: Final = 20
"""Pictures passed to the client at once: enough to share the cost of one query. During trouble it is one picture."""


class _BatchEnded(Exception):  # noqa: N818 - it is no error
    """Ends a batch between two outcomes."""


class Uploader:
    """Send pictures, batch by batch; no other part of the daemon sends pictures to the destination."""

    def __init__(
        self,
        queue: Queue,
        destinations: Destinations,
        thumbnails: ThumbnailFolder,
        scan_requests: ScanRequests,
        *,
        image_dir: str,
        url: str,
        open_client: Callable[[], Client],
        give_up_after: int,
        stopping: Callable[[], bool],
        left: Callable[[], float] = lambda: math.inf,
        is_held: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send to the destination at `url`; `open_client` opens its client when it is first needed.

        A picture that was refused `give_up_after` times, while others were taken, is rejected. Once `stopping()` is
        true, the current batch ends with the current picture. A picture is only begun if it can be sent in `left()`
        seconds, by the rate of the last ones. While `is_held()`, which is asked before each picture, only those that a
        person asked for are sent.
        """
        self._queue = queue
        self._destinations = destinations
        self._thumbnails = thumbnails
        self._scan_requests = scan_requests
        self._image_dir = image_dir
        self._url = url
        self._open_client = open_client
        self._give_up_after = give_up_after
        self._stopping = stopping
        self._left = left
        self._is_held = is_held
        self._clock = clock
        self._monotonic = monotonic
        self.wake = threading.Event()
        """set to have the next step at once"""
        self.heartbeat = Heartbeat(monotonic)
        """beat before and after each picture is sent"""
        self._client: Client | None = None
        self._first_check: Callable[[], None] | None = None
        self._in_hand: dict[str, Picture] = {}
        self._is_unrecorded = False
        self._network_is_back = False
        self.is_out_of_time = False
        """whether pictures that are due can't be sent before the deadline"""
        self.on_outcome: Callable[[Picture, ImageOutcome], None] | None = None
        """called with each picture that was handed to the client, and its outcome"""
        self._is_store = url.startswith("file:")

    # The next two are made and imported for the first picture: most runs of `drain` have none.

    @cached_property
    def _budget(self) -> TimeBudget:
        from .time_budget import TimeBudget

        return TimeBudget(self._left, monotonic=self._monotonic)

    @cached_property
    def _outcomes(self) -> OutcomeRecorder:
        from .outcome_recorder import OutcomeRecorder

        return OutcomeRecorder(
            self._queue,
            self._destinations,
            self._scan_requests,
            url=self._url,
            give_up_after=self._give_up_after,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    @property
    def sent(self) -> int:
        """Return the number of pictures that were found or stored at the destination so far."""
        return self._outcomes.sent if "_outcomes" in vars(self) else 0

    def step(self) -> float | None:
        """Send one batch; return the seconds until the next step, or None if no picture waits.

        Raises StateError if the outbox can't be written; no picture is lost by that.
        """
        if self._is_unrecorded:
            # An outcome couldn't be recorded, so the destination is asked again for the pictures of that batch.
            self._outcomes.forget_batch()
            self._queue.recover()
            self._is_unrecorded = False
        if self._network_is_back:
            # In this order: the network may come back once more in the meantime.
            self._network_is_back = False
            try:
                self._destinations.end_wait_for_network()
            except StateError:
                self._network_is_back = True
                raise
        if self._is_held is not None:
            self._queue.is_held = self._is_held()
        if self._first_check is not None and not self._queue.is_held:
            self._check(self._first_check)
            self._first_check = None
        wait = self._wait()
        if wait != 0:
            return 0.0 if self._queue.reoffer() else wait
        batch = self._claim()
        fitting = self._budget.count_fitting(batch)
        for picture in batch[fitting:]:
            self._queue.release(picture)
        self.is_out_of_time = bool(batch) and not fitting
        if self.is_out_of_time:
            return None
        self._send(batch[:fitting])
        return 0.0

    def check_first(self, check: Callable[[], None]) -> None:
        """Make the first step call `check`, so that trouble is reported before the first picture arrives.

        `check` raises StickyPiError if the destination can't be used.
        """
        self._first_check = check

    def network_is_back(self) -> None:
        """Make the next step try a destination that couldn't be reached; any thread may call this.

        If an attempt is running, and fails because it began too early, another one follows it.
        """
        self._network_is_back = True
        self.wake.set()

    def silence(self) -> float:
        """Return the seconds without progress; a request within its deadline makes progress, however slow the link."""
        client = self._client
        return min(self.heartbeat.silence(), math.inf if client is None else client.stalled_for())

    def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _wait(self) -> float | None:
        self._queue.end_impossible_waits()
        due_in = self._queue.next_due()
        if due_in is None:
            return None
        now = self._clock()
        destination = self._destinations.get(self._url)
        if destination.retry_at is None or is_due(destination.retry_at, now):
            return due_in
        held_for = max(due_in, destination.retry_at - now)
        if (limit := self._outcomes.limit) is not None:
            smaller = self._queue.next_due(untried=not limit.passes_smaller, smaller_than=limit.size)
            return held_for if smaller is None else min(held_for, smaller)
        if not destination.holds_all and self._queue.next_due(untried=True) == 0:
            return 0.0
        return held_for

    def _claim(self) -> Sequence[Picture]:
        limit = self._outcomes.limit
        if limit is not None:
            smaller = self._queue.claim(BATCH_SIZE, untried=not limit.passes_smaller, smaller_than=limit.size)
            if smaller:
                return smaller
        in_trouble = self._destinations.get(self._url).failures > 0
        return self._queue.claim_canary() if in_trouble else self._queue.claim(BATCH_SIZE)

    def _send(self, batch: Sequence[Picture]) -> None:
        from sticky_pi_api.exceptions import StickyPiError

        from .cancel import cancel_on_stop

        self._is_unrecorded = True
        self._in_hand = {self._full_path(picture): picture for picture in batch}
        try:
            if self._client is None:
                self._client = self._open_client()
            items = [item for picture in batch if (item := self._item(picture)) is not None]
            self._budget.begin()
            # A store takes a picture in a moment; an upload to a server may have to be cancelled.
            close = self._client.close
            with nullcontext() if self._is_store else cancel_on_stop(close, self._stopping, left=self._left):
                self._client.put_images(items, on_outcome=self._record)
        except _BatchEnded:
            pass
        except (StickyPiError, OSError) as error:
            self._outcomes.record_failure(error)
        self._budget.end()
        for picture in self._in_hand.values():
            self._queue.release(picture)
        in_trouble = self._outcomes.end_batch()
        self._is_unrecorded = False
        if in_trouble and self._is_store:
            # Before the next attempt, another disk may be mounted there.
            self.close()

    def _check(self, check: Callable[[], None]) -> None:
        from sticky_pi_api.exceptions import StickyPiError

        try:
            check()
        except StickyPiError as error:
            self._outcomes.record_failure(error)
            self._outcomes.end_batch()
        else:
            self._outcomes.record_success()

    def _full_path(self, picture: Picture) -> str:
        return os.path.join(self._image_dir, picture.path)

    def _item(self, picture: Picture) -> ImageParser | None:
        """Return the picture as it was parsed, with its thumbnails; None if the intake has to read it again."""
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.image_parser import ImageParser
        from sticky_pi_api.validation.images import is_storable

        self.heartbeat.beat()
        path = self._full_path(picture)
        opener = partial(open_picture, self._image_dir, picture.path)
        thumbnails, fields = self._thumbnails.find(str(picture.md5)), picture.metadata
        # If thumbnails or fields are missing or damaged, they are made from the file again.
        if thumbnails is None or fields is None or not is_storable(fields):
            try:
                with opener() as file:
                    parser = ImageParser(file)
            except (ImageError, OSError) as error:
                self._outcomes.record(picture, ImageOutcome(path, Outcome.UNSENT, error=error))
                del self._in_hand[path]
                return None
            thumbnails, fields = Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg), parser
            with suppress(OSError):
                self._thumbnails.keep(str(parser["md5"]), thumbnails)
        key = {"device": picture.device, "datetime": picture.datetime, "md5": picture.md5}
        return ImageParser.restore(path, {**fields, **key}, thumbnails.large, thumbnails.mini, opener=opener)

    def _record(self, result: ImageOutcome) -> None:
        self.heartbeat.beat()
        if result.outcome is Outcome.STORED:
            self._budget.sent(self._in_hand[result.file], result.seconds)
        picture = self._in_hand[result.file]
        self._outcomes.record(picture, result)
        del self._in_hand[result.file]
        if self.on_outcome is not None:
            self.on_outcome(picture, result)
        if self._stopping() or self._outcomes.refuses_all or self._hold_begins():
            raise _BatchEnded

    def _hold_begins(self) -> bool:
        return self._is_held is not None and not self._queue.is_held and self._is_held()
