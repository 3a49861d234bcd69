"""Sends what is due through the client's `put_images`, and records each picture's outcome as it comes.

A picture is claimed, sent, and its receipt and outcome recorded in one durable step. Trouble with a picture is charged
to the picture, and trouble with the destination holds the whole queue: see `_judge`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .hints import Hints
from .models import Destination, DestinationState, Picture, State
from .outbox import Outbox
from .retry import delay, is_due
from .thumbnails import ThumbnailFolder, Thumbnails

if TYPE_CHECKING:
    from sticky_pi_api.image_parser import ImageParser
    from sticky_pi_api.types import ImageOutcome

log = logging.getLogger(__name__)

BATCH: Final = 10
"""Pictures handed to the client at once; one while the destination is in trouble."""

DOUBTFUL_WAIT: Final = 30.0
"""Seconds to wait after an upload whose end isn't known: the destination may still be at work on it."""

PERIOD: Final = 3600.0
"""Seconds within which the destination must have taken a picture for a refusal to be another picture's own fault."""


class Client(Protocol):
    """What the uploader needs of `LocalClient`."""

    def put_images(self, files: Sequence[Any], *, on_outcome: Callable[[Any], None]) -> object:
        """Send pictures, and tell the outcome of each as it is known."""

    def close(self) -> None:
        """Give up what it holds open."""


class _Stopped(Exception):  # noqa: N818 - it is no error
    """Breaks off a batch between two pictures."""


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Send to the destination at `url`; its client is opened by `open_client` when it is first needed.

        A picture refused `give_up_after` times is rejected. Once `stopping()`, the batch in hand ends with the picture
        being sent.
        """
        self._outbox = outbox
        self._thumbnails = thumbnails
        self._hints = hints
        self._image_dir = image_dir
        self._url = url
        self._open_client = open_client
        self._give_up_after = give_up_after
        self._stopping = stopping
        self._clock = clock
        self._client: Client | None = None
        self._in_hand: dict[str, Picture] = {}
        self._held = False
        self.sent = 0
        """pictures that the destination turned out to hold, so far"""

    def step(self) -> float | None:
        """Send one batch.

        Returns the seconds until the next is worth it (0: at once), or None: not before there is something new.
        Raises StateError where the outbox can't be written; nothing is lost by that.
        """
        if self._in_hand:
            # An outcome couldn't be recorded, so what was in hand is asked for again.
            self._outbox.recover()
            self._in_hand.clear()
        wait = self._wait()
        if wait is None:
            return None if self._outbox.reoffer() == 0 else 0.0
        if wait > 0:
            return wait
        in_trouble = self._outbox.destination(self._url).failures > 0
        self._send(self._outbox.claim_canary() if in_trouble else self._outbox.claim(BATCH))
        return 0.0

    def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _wait(self) -> float | None:
        due_in = self._outbox.next_due()
        if due_in is None:
            return None
        now = self._clock()
        retry_at = self._outbox.destination(self._url).retry_at
        return due_in if retry_at is None or is_due(retry_at, now) else max(due_in, retry_at - now)

    def _send(self, batch: Sequence[Picture]) -> None:
        from sticky_pi_api.exceptions import StickyPiError

        self._in_hand = {self._full(picture): picture for picture in batch}
        self._held = False
        try:
            if self._client is None:
                self._client = self._open_client()
            items = [item for picture in batch if (item := self._item(picture)) is not None]
            self._client.put_images(items, on_outcome=self._record)
        except _Stopped:
            pass
        except (StickyPiError, OSError) as error:
            self._hold(DestinationState.UNREACHABLE, str(error))
        if self._held:
            # What is behind it may be another disk by the time that it is tried again.
            self.close()
        while self._in_hand:
            path, picture = next(iter(self._in_hand.items()))
            self._outbox.release(picture)
            del self._in_hand[path]

    def _full(self, picture: Picture) -> str:
        return os.path.join(self._image_dir, picture.path)

    def _item(self, picture: Picture) -> ImageParser | None:
        """Make what the client gets: the picture as it was parsed, with the thumbnails kept since."""
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.image_parser import ImageParser

        path = self._full(picture)
        thumbnails = self._thumbnails.find(str(picture.md5))
        if thumbnails is None:
            try:
                parser = ImageParser(path)
            except (ImageError, OSError) as error:
                self._read_again(picture, _reason(error))
                return None
            thumbnails = Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg)
            with contextlib.suppress(OSError):
                self._thumbnails.keep(str(parser["md5"]), thumbnails)
        fields = {
            "device": picture.device,
            "datetime": picture.datetime,
            "md5": picture.md5,
            **(picture.metadata or {}),
        }
        return ImageParser.restore(path, fields, thumbnails.large, thumbnails.mini)

    def _record(self, result: ImageOutcome) -> None:
        """Record one picture's outcome, durably, and say it once."""
        picture = self._in_hand[result.file]
        self._judge(picture, result)
        self._in_hand.pop(result.file, None)
        if self._stopping():
            raise _Stopped

    def _judge(self, picture: Picture, result: ImageOutcome) -> None:
        """Turn an outcome into a transition: what is the picture's is charged to it, what isn't holds the queue."""
        from sticky_pi_api.exceptions import ImageError, StoreError
        from sticky_pi_api.types import Outcome

        receipt = str((result.row or {}).get("md5", "")).lower()
        match result.outcome:
            case Outcome.STORED | Outcome.HELD if receipt == picture.md5:
                self._confirm(picture, receipt, stored=result.outcome is Outcome.STORED)
            case Outcome.CONFLICT | Outcome.HELD:
                self._clash(picture, receipt)
            case Outcome.REFUSED:
                self._refuse(picture, _reason(result.error))
            case Outcome.UNSENT if isinstance(result.error, ImageError | OSError):
                self._read_again(picture, _reason(result.error))
            case Outcome.UNSENT if isinstance(result.error, StoreError) and not result.error.whole_store:
                self._refuse(picture, _reason(result.error))
            case Outcome.UNSENT:
                self._outbox.release(picture)
                self._hold(DestinationState.UNREACHABLE, _reason(result.error))
            case _:
                self._doubt(picture, receipt, _reason(result.error))

    def _confirm(self, picture: Picture, receipt: str, *, stored: bool) -> None:
        why = "stored: its md5 there is the one here" if stored else "held there already, with the md5 that it has here"
        self._outbox.confirm(picture, receipt, why, accepted_by=self._url if stored else None)
        self.sent += 1
        self._answered(took=stored)
        _tell(logging.INFO, picture, State.UPLOADED, "uploaded" if stored else "was uploaded already")

    def _clash(self, picture: Picture, held: str) -> None:
        why = f"the destination holds another picture with this device and time (md5 {held or 'unknown'})"
        self._outbox.clash(picture, why)
        self._answered(took=False)
        _tell(logging.WARNING, picture, State.CONFLICT, f"not sent: {why}")

    def _refuse(self, picture: Picture, why: str) -> None:
        now = self._clock()
        if not self._outbox.accepted_since(self._url, now - PERIOD):
            # Nothing tells yet that it is this picture's fault.
            self._outbox.postpone(picture, why, not_before=now + delay(picture.attempts + 1))
            _tell(logging.WARNING, picture, State.PENDING, f"refused, and no other was taken lately: {why}")
            self._hold(DestinationState.REFUSING, why)
            return
        last = picture.attempts + 1 >= self._give_up_after
        wait = delay(picture.attempts + 1)
        self._outbox.refuse(picture, why, not_before=now + wait, last=last)
        state = State.REJECTED if last else State.PENDING
        then = "given up for a week" if last else f"tried again in {wait:.0f} s"
        _tell(logging.WARNING, picture, state, f"refused, {then}: {why}")

    def _read_again(self, picture: Picture, why: str) -> None:
        """Have the intake look at a file that isn't what it was when it was taken in."""
        self._outbox.recheck(picture, why)
        self._in_hand.pop(self._full(picture), None)
        self._hints.file(picture.path)
        _tell(logging.INFO, picture, State.PENDING, f"read again before it is sent: {why}")

    def _doubt(self, picture: Picture, receipt: str, why: str) -> None:
        if receipt:
            why = f"the destination says that it got other bytes (md5 {receipt})"
        self._outbox.postpone(picture, why, not_before=self._clock() + DOUBTFUL_WAIT)
        _tell(logging.WARNING, picture, State.PENDING, f"asked for again in {DOUBTFUL_WAIT:.0f} s: {why}")
        self._hold(DestinationState.UNREACHABLE, why)

    def _hold(self, state: DestinationState, why: str) -> None:
        """Let the whole queue wait: the destination is in trouble, and no picture is to blame."""
        if self._held:
            return  # the rest of a batch that failed as a whole
        self._held = True
        failures = self._outbox.destination(self._url).failures + 1
        wait = delay(failures)
        self._outbox.set_destination(Destination(self._url, state, why, self._clock() + wait, failures))
        log.warning("the destination is %s, tried again in %.0f s: %s", state.value, wait, why)

    def _answered(self, *, took: bool) -> None:
        """End the destination's trouble; an answer that took nothing doesn't prove that it would."""
        state = self._outbox.destination(self._url).state
        if state is DestinationState.OK or (not took and (self._held or state is DestinationState.REFUSING)):
            return
        self._held = False
        self._outbox.set_destination(Destination(self._url, DestinationState.OK))


def _reason(error: Exception | None) -> str:
    """Say why, without the file's name where that is known anyway."""
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    return str(getattr(error, "reason", None) or error or "no reason was given")


def _tell(level: int, picture: Picture, state: State, message: str) -> None:
    fields = {"STICKY_PI_IMAGE": os.path.basename(picture.path), "STICKY_PI_STATE": state.value}
    fields |= {"STICKY_PI_DEVICE": picture.device or "", "STICKY_PI_MD5": picture.md5 or ""}
    log.log(level, "%s: %s", picture.path, message, extra=fields)
