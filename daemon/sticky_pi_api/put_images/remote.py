"""One `put_images` to a server: ask what it holds, send what it doesn't, believe only its receipts.

A picture's upload ends in one of these ways, and the outcome is the same whatever broke:

    receipt with our md5                        stored
    receipt for other bytes                     doubtful
    certainly nothing stored (401, no route…)   unsent, with all that are still to come: the destination is down
    its request is too large for the front      unsent, with those still to come that are as large
    anything else                               asked for again at once:
        held with our md5                       stored; held if the server had refused it (500)
        held with another md5                   conflict
        absent, and refused (500)               refused
        absent, and its body didn't go out whole    unsent
        absent, or no answer                    doubtful: the server may still be at work on it

A doubtful picture's key isn't sent again before the server, asked 30 s after that first time or later, says that it is
absent. The client remembers that as long as it lives; after a restart, the caller waits those 30 s (`retry_after`).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from sticky_pi_api.exceptions import (
    DoubtfulError,
    ImageError,
    RefusedError,
    RemoteError,
    RequestTooLargeError,
    UnavailableError,
    UnclearEndError,
)
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.concurrency import ConcurrencyLimit, Crashed, Settled, WorkerPool
from sticky_pi_api.put_images.picture import HeldRows, Picture, compare, failure_outcome, identify, read, recognise
from sticky_pi_api.types import FilePath, ImageOutcome, Key, Outcome, Row, key_of

KEYS_PER_QUESTION: Final = 500
"""Pictures that are asked for at once"""

FRESH: Final = 60.0
"""Age up to which an answer is acted on, in seconds"""

SECOND_QUESTION_AFTER: Final = 30.0
"""Seconds between the two times that a doubtful picture is asked for before it is sent again"""

_MOST_UNCLEAR: Final = 3
"""Uploads in a row without a clear end after which the destination counts as down"""

_MOST_STALE: Final = 3
"""Answers that may come too late to act on before a picture counts as unsent"""

_CANCEL_TIME: Final = 5.0
"""Time in which each thread should end once its requests are cancelled, in seconds"""


class StaleAnswerError(Exception):
    """The answer that an upload relies on has become too old to act on; nothing was sent."""


Ask = Callable[[Sequence[Key]], list[Row]]
"""Return the rows that are held under some keys. Raises RemoteError"""

Upload = Callable[[ImageParser, Callable[[], bool], Callable[[], object]], Row]
"""Upload a picture if the answer that it relies on is still fresh, and return the receipt, which has its md5.

The last argument is called once the picture is sent, and only its answer is missing.
Raises StaleAnswerError, UnclearEndError, RemoteError where nothing was stored, ImageError and OSError.
"""


class UnclearUploads:
    """The keys of a client's uploads without a clear end, and when each was asked for then."""

    def __init__(self) -> None:
        self._since: dict[Key, float] = {}
        self._lock = threading.Lock()

    def add(self, key: Key, asked_at: float) -> None:
        """Record that a picture was asked for, and the server didn't have it yet or didn't answer."""
        with self._lock:
            recent = {one: since for one, since in self._since.items() if asked_at - since < SECOND_QUESTION_AFTER}
            self._since = {**recent, key: asked_at}

    def wait(self, key: Key, asked_at: float) -> float:
        """Return the seconds by which an answer came too early to send the picture again, or 0."""
        with self._lock:
            since = self._since.get(key)
        return 0.0 if since is None else max(0.0, since + SECOND_QUESTION_AFTER - asked_at)


class _Answer(NamedTuple):
    """The server's answer about one picture, and when it was asked."""

    asked_at: float
    row: Row | None


class RemoteBatch:
    """One `put_images` to a server, which sends several pictures at a time."""

    def __init__(
        self,
        ask: Ask,
        upload: Upload,
        unclear: UnclearUploads,
        limit: ConcurrencyLimit,
        cache: FileCache,
        *,
        cancel: Callable[[], None],
        n_threads: int,
        parallel: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decode at most `n_threads` pictures, and send `parallel` of them, at a time.

        `cancel` ends the requests of `ask` and `upload` where the batch ends early.
        """
        self._ask = ask
        self._upload = upload
        self._unclear = unclear
        self._limit = limit
        self._cache = cache
        self._cancel = cancel
        self._clock = clock
        self._workers = WorkerPool(parallel)
        self._may_read = threading.BoundedSemaphore(n_threads)
        self._lock = threading.Lock()
        self._unclear_in_a_row = 0
        self._down: RemoteError | None = None
        self._too_large: tuple[int, RequestTooLargeError] | None = None
        self._held: HeldRows = {}
        self._known: set[str] = set()
        self._asked_at = 0.0

    def outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        """Yield each picture's outcome as soon as it is known.

        Closed before the end, it cancels the uploads under way: whether these pictures are stored isn't known.
        """
        remaining = iter(files)
        while pictures := [identify(file) for file in islice(remaining, KEYS_PER_QUESTION)]:
            while pictures:
                # Several with one key go one after the other.
                first = {picture.key or picture: picture for picture in reversed(pictures)}
                yield from self._round(list(reversed(first.values())))
                chosen = {id(picture) for picture in first.values()}
                pictures = [picture for picture in pictures if id(picture) not in chosen]

    def _round(self, pictures: Sequence[Picture]) -> Generator[ImageOutcome, None, None]:
        """Settle pictures that all have different keys."""
        waiting, workers = deque(pictures), self._workers
        self._refresh(waiting)
        try:
            while waiting or workers.is_busy:
                yield from self._start(waiting)
                if workers.is_busy:
                    match workers.next_event():
                        case Settled(outcome=outcome):
                            yield outcome
                        case Crashed(error=error):
                            raise error
        finally:
            if workers.is_busy:
                self._cancel()
                workers.join(_CANCEL_TIME)

    def _start(self, waiting: deque[Picture]) -> Iterator[ImageOutcome]:
        """Start workers for as many pictures as may be sent now; yield the outcomes of those that need none."""
        while waiting and not self._workers.is_full:
            may_start = self._workers.uploading < self._limit.uploads
            if self._clock() - self._asked_at > FRESH:
                if not may_start:
                    return
                self._refresh(waiting)
            if settled := self._settle(waiting[0]):
                waiting.popleft()
                yield settled
            elif may_start:
                picture = waiting.popleft()
                answer = _Answer(self._asked_at, self._held.get(picture.key))
                self._workers.start(partial(self._work, picture, answer))
            else:
                return

    def _refresh(self, pictures: Sequence[Picture]) -> None:
        """Ask which of the waiting pictures are held."""
        keys = [picture.key for picture in pictures if picture.key]
        if not keys or self._down:
            return
        self._asked_at = self._clock()
        try:
            self._held = {key_of(row): row for row in self._ask(keys)}
            self._known = recognise(self._cache, pictures, self._held)
        except RemoteError as error:
            self._down = error

    def _settle(self, picture: Picture) -> ImageOutcome | None:
        """Return the outcome of a picture that needs no worker."""
        if error := picture.error or self._down:
            return failure_outcome(picture, error)
        if (row := self._held.get(picture.key)) is None:
            return None
        if picture.parsed is not None:
            return compare(picture, picture.parsed["md5"], row)
        return compare(picture, row["md5"], row) if picture.file in self._known else None

    def _work(self, picture: Picture, answer: _Answer) -> ImageOutcome:
        """Settle a picture; runs on a thread."""
        try:
            return self._compare_or_send(picture, answer)
        except (ImageError, OSError, RequestTooLargeError) as error:
            return failure_outcome(picture, error)
        except RemoteError as error:
            self._down = error
            return failure_outcome(picture, error)

    def _compare_or_send(self, picture: Picture, answer: _Answer) -> ImageOutcome:
        found = self._read(picture, is_held=answer.row is not None)
        for _ in range(_MOST_STALE):
            if self._clock() - answer.asked_at > FRESH:
                answer = self._find(picture)
            if answer.row is not None:
                return compare(picture, found if isinstance(found, str) else found["md5"], answer.row)
            if isinstance(found, str):
                found = self._read(picture, is_held=False)
                continue
            if wait := self._unclear.wait(key_of(found), answer.asked_at):
                return _doubtful(picture, UnavailableError("an upload of it had no clear end"), wait)
            try:
                return self._send(picture, found, answer.asked_at)
            except StaleAnswerError:
                answer = self._find(picture)
        raise UnavailableError("the server's answers come so slowly that they are too old to act on")

    def _read(self, picture: Picture, *, is_held: bool) -> ImageParser | str:
        with self._may_read:
            found = read(picture, self._cache, is_held=is_held)
            if isinstance(found, ImageParser) and picture.parsed is None:
                # Its upload reads the file.
                found.forget_blob()
            return found

    def _find(self, picture: Picture) -> _Answer:
        asked_at = self._clock()
        rows = self._ask([picture.key] if picture.key else [])
        return _Answer(asked_at, rows[0] if rows else None)

    def _send(self, picture: Picture, image: ImageParser, asked_at: float) -> ImageOutcome:
        size = len(image.file_blob) if image.path is None else os.path.getsize(image.path)
        if self._too_large is not None and size >= self._too_large[0]:
            return failure_outcome(picture, self._too_large[1])
        # A picture that is sent for the second time doesn't count as uploading any more.
        began, beside = self._clock(), max(0, self._workers.uploading - 1)

        def on_sent() -> None:
            self._limit.measured(self._clock() - began, beside)
            self._workers.report_sent()

        try:
            row = self._upload(image, lambda: self._clock() - asked_at <= FRESH, on_sent)
        except UnclearEndError as unclear:
            return self._clear_up(picture, image, unclear)._replace(seconds=self._clock() - began)
        except RequestTooLargeError as error:
            with self._lock:
                if self._too_large is None or size < self._too_large[0]:
                    self._too_large = size, error
            raise
        self._unclear_in_a_row = 0
        return ImageOutcome(picture.file, Outcome.STORED, row, seconds=self._clock() - began)

    def _clear_up(self, picture: Picture, image: ImageParser, unclear: UnclearEndError) -> ImageOutcome:
        """Find out whether an upload without a clear end was stored."""
        end = unclear.end
        was_refused = isinstance(end, RefusedError)
        if unclear.row is not None:
            return ImageOutcome(picture.file, Outcome.DOUBTFUL, unclear.row, end)
        try:
            answer = self._find(picture)
        except RemoteError as error:
            self._down = error
            may_be_stored = unclear.whole or was_refused
            answer = _Answer(self._clock(), None)
        else:
            if answer.row is not None:
                outcome = compare(picture, image["md5"], answer.row)
                is_ours = outcome.outcome is Outcome.HELD and not was_refused
                return ImageOutcome(picture.file, Outcome.STORED, answer.row) if is_ours else outcome
            if was_refused:
                return ImageOutcome(picture.file, Outcome.REFUSED, error=end)
            self._count_unclear(end)
            may_be_stored = unclear.whole
        if not may_be_stored:
            return failure_outcome(picture, end)
        self._unclear.add(key_of(image), answer.asked_at)
        return _doubtful(picture, end, SECOND_QUESTION_AFTER)

    def _count_unclear(self, end: RemoteError) -> None:
        with self._lock:
            self._unclear_in_a_row += 1
            if self._unclear_in_a_row >= _MOST_UNCLEAR or end.retry_after is not None:
                self._down = end


def _doubtful(picture: Picture, end: RemoteError, wait: float) -> ImageOutcome:
    message = f"{end}; whether it was stored isn't known, so it is asked for again in {wait:.0f} s"
    return ImageOutcome(picture.file, Outcome.DOUBTFUL, error=DoubtfulError(message, end, retry_after=wait))
