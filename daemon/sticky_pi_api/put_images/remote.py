"""One `put_images` to a server: ask what it holds, send what it doesn't, believe only its receipts.

A picture's upload ends in one of these ways, and what follows is the same whatever broke:

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
absent. That is kept here as long as the client lives; who asks after a restart waits those 30 s (`retry_after`).
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import count, islice
from typing import Final

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
from sticky_pi_api.put_images.common import Held, Picture, compare, failure_outcome, identify, is_known, look, recognise
from sticky_pi_api.put_images.concurrency import Pace
from sticky_pi_api.transport.deadline import CancelScope, starting
from sticky_pi_api.types import FilePath, ImageOutcome, Key, Outcome, Row, key_of

CHUNK: Final = 500
"""How many pictures are asked for at once"""

FRESH: Final = 60.0
"""Seconds for which an answer is acted on"""

SECOND_LOOK: Final = 30.0
"""Seconds between the two times that a doubtful picture is asked for before it is sent again"""

_MOST_UNCLEAR = 3
"""Uploads in a row without a clear end after which the destination is taken for down"""

_MOST_STALE = 3
_PATIENCE = 5.0
_numbers = count(1)


class StaleAnswerError(Exception):
    """The answer that an upload relies on has become too old to act on; nothing was sent."""


Ask = Callable[[Sequence[Key], CancelScope], list[Row]]
"""Returns the rows that are held under some keys. Raises RemoteError."""

Upload = Callable[[ImageParser, Callable[[], bool], CancelScope, Callable[[], object]], Row]
"""Uploads a picture if the answer that it relies on is still fresh, and returns the receipt, which has its md5.

The last argument is called once it is on its way, and only its answer is waited for.
Raises StaleAnswerError, UnclearEndError, RemoteError where nothing was stored, ImageError and OSError.
"""


class Doubts:
    """The keys that a client's uploads had no clear end for, and since when."""

    def __init__(self) -> None:
        """Begin with none."""
        self._since: dict[Key, float] = {}
        self._lock = threading.Lock()

    def add(self, key: Key, asked_at: float) -> None:
        """Remember that a picture wasn't there yet, or that nobody could say so, when it was asked for."""
        with self._lock:
            self._since = {one: since for one, since in self._since.items() if asked_at - since < SECOND_LOOK}
            self._since[key] = asked_at

    def wait(self, key: Key, asked_at: float) -> float:
        """Return the seconds by which an answer came too early to send the picture again; 0 if it didn't."""
        with self._lock:
            since = self._since.get(key)
        return 0.0 if since is None else max(0.0, since + SECOND_LOOK - asked_at)


class RemoteBatch:
    """Puts pictures on a server, several at a time, and says what became of each."""

    def __init__(
        self,
        ask: Ask,
        upload: Upload,
        doubts: Doubts,
        pace: Pace,
        cache: FileCache,
        *,
        scope: CancelScope,
        n_threads: int,
        parallel: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the server's two verbs; at most `n_threads` pictures are decoded, and `parallel` sent, at a time.

        `scope` is for the requests of this batch alone: it is cancelled where the batch ends early.
        """
        self._ask = ask
        self._upload = upload
        self._doubts = doubts
        self._pace = pace
        self._cache = cache
        self._clock = clock
        self._parallel = parallel
        self._may_look = threading.BoundedSemaphore(n_threads)
        self._scope = scope
        self._results: queue.SimpleQueue[tuple[str, ImageOutcome | BaseException | None]] = queue.SimpleQueue()
        self._going_up: set[str] = set()
        self._lock = threading.Lock()
        self._unclear_in_a_row = 0
        self._down: RemoteError | None = None
        self._too_large: tuple[int, RequestTooLargeError] | None = None
        self._held: Held = {}
        self._known: set[str] = set()
        self._asked_at = 0.0

    def outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        """Yield each picture's outcome as soon as it is known.

        Closed before the end, it breaks off the uploads under way: whether these pictures are stored isn't known.
        """
        remaining = iter(files)
        while chunk := [identify(file) for file in islice(remaining, CHUNK)]:
            while chunk:
                # Several with one key go one after the other.
                first = {picture.key or picture: picture for picture in reversed(chunk)}
                yield from self._round(list(reversed(first.values())))
                chosen = {id(picture) for picture in first.values()}
                chunk = [picture for picture in chunk if id(picture) not in chosen]

    def _round(self, pictures: Sequence[Picture]) -> Generator[ImageOutcome, None, None]:
        """Settle pictures that all have different keys."""
        waiting = deque(pictures)
        running: dict[str, threading.Thread] = {}
        self._refresh(waiting)
        try:
            while waiting or running:
                while waiting and len(running) < self._parallel:
                    may_start = len(self._going_up) < self._pace.at_once
                    if self._clock() - self._asked_at > FRESH:
                        if not may_start:
                            break
                        self._refresh(waiting)
                    if settled := self._settle(waiting[0]):
                        waiting.popleft()
                        yield settled
                    elif may_start:
                        thread = self._start(waiting.popleft())
                        running[thread.name] = thread
                    else:
                        break
                if running and (result := self._next_result(running)):
                    yield result
        finally:
            if running:
                self._scope.cancel()
                for thread in running.values():
                    thread.join(_PATIENCE)

    def _refresh(self, pictures: Sequence[Picture]) -> None:
        """Ask what is held of the pictures that are still to come."""
        keys = [picture.key for picture in pictures if picture.key]
        if not keys or self._down:
            return
        self._asked_at = self._clock()
        try:
            self._held = {key_of(row): row for row in self._ask(keys, self._scope)}
            self._known = recognise(self._cache, pictures, self._held)
        except RemoteError as error:
            self._down = error

    def _settle(self, picture: Picture) -> ImageOutcome | None:
        """Return the outcome of a picture that takes no work."""
        if error := picture.error or self._down:
            return failure_outcome(picture, error)
        if (row := self._held.get(picture.key)) is None:
            return None
        if is_known(picture, self._known):
            return compare(picture, row["md5"], row)
        return compare(picture, picture.source["md5"], row) if isinstance(picture.source, ImageParser) else None

    def _start(self, picture: Picture) -> threading.Thread:
        row, asked_at = self._held.get(picture.key), self._asked_at

        def work() -> None:
            name = threading.current_thread().name
            try:
                self._results.put((name, self._work(picture, row, asked_at)))
            except BaseException as error:  # noqa: BLE001 - it is the caller's thread that raises it
                self._results.put((name, error))

        # A daemon: one that hangs in a file system must not hold up the end of the process.
        thread = threading.Thread(target=work, name=f"send-{next(_numbers)}", daemon=True)
        self._going_up.add(thread.name)
        with starting():
            thread.start()
        return thread

    def _next_result(self, running: dict[str, threading.Thread]) -> ImageOutcome | None:
        """Wait until a picture is settled, or, without a result yet, on its way up no longer."""
        name, result = self._results.get()
        self._going_up.discard(name)
        if result is None:
            return None
        running.pop(name).join()
        if isinstance(result, BaseException):
            raise result
        return result

    def _work(self, picture: Picture, row: Row | None, asked_at: float) -> ImageOutcome:
        """Settle a picture; runs on a thread."""
        try:
            return self._compare_or_send(picture, row, asked_at)
        except (ImageError, OSError, RequestTooLargeError) as error:
            return failure_outcome(picture, error)
        except RemoteError as error:
            self._down = error
            return failure_outcome(picture, error)

    def _compare_or_send(self, picture: Picture, row: Row | None, asked_at: float) -> ImageOutcome:
        found = self._look(picture, is_held=row is not None)
        for _ in range(_MOST_STALE):
            if self._clock() - asked_at > FRESH:
                asked_at, row = self._find(picture)
            if row is not None:
                return compare(picture, found if isinstance(found, str) else found["md5"], row)
            if isinstance(found, str):
                found = self._look(picture, is_held=False)
                continue
            if wait := self._doubts.wait(key_of(found), asked_at):
                return _doubtful(picture, UnavailableError("an upload of it had no clear end"), wait)
            try:
                return self._send(picture, found, asked_at)
            except StaleAnswerError:
                asked_at, row = self._find(picture)
        raise UnavailableError("what the server says comes so slowly that it is too old to act on")

    def _look(self, picture: Picture, *, is_held: bool) -> ImageParser | str:
        with self._may_look:
            found = look(picture, self._cache, is_held=is_held)
            if isinstance(found, ImageParser) and found is not picture.source:
                # It is streamed from its file.
                found.forget_blob()
            return found

    def _find(self, picture: Picture) -> tuple[float, Row | None]:
        """Ask for one picture; return since when the answer holds, and the row."""
        asked_at = self._clock()
        rows = self._ask([picture.key] if picture.key else [], self._scope)
        return asked_at, rows[0] if rows else None

    def _send(self, picture: Picture, image: ImageParser, asked_at: float) -> ImageOutcome:
        size = _size_of(image)
        if self._too_large is not None and size >= self._too_large[0]:
            return failure_outcome(picture, self._too_large[1])
        # One that is sent a second time isn't among those going up any more.
        began, beside = self._clock(), max(0, len(self._going_up) - 1)

        def on_sent() -> None:
            self._pace.took(self._clock() - began, beside)
            self._results.put((threading.current_thread().name, None))

        try:
            row = self._upload(image, lambda: self._clock() - asked_at <= FRESH, self._scope, on_sent)
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
        """Find out what became of an upload without a clear end."""
        end = unclear.end
        was_refused = isinstance(end, RefusedError)
        if unclear.row is not None:
            return ImageOutcome(picture.file, Outcome.DOUBTFUL, unclear.row, end)
        try:
            asked_at, row = self._find(picture)
        except RemoteError as error:
            self._down = error
            if not (unclear.whole or was_refused):
                return failure_outcome(picture, end)
            self._doubts.add(key_of(image), self._clock())
            return _doubtful(picture, end, SECOND_LOOK)
        if row is None:
            return self._still_absent(picture, image, unclear, asked_at)
        outcome = compare(picture, image["md5"], row)
        is_ours = outcome.outcome is Outcome.HELD and not was_refused
        return ImageOutcome(picture.file, Outcome.STORED, row) if is_ours else outcome

    def _still_absent(
        self, picture: Picture, image: ImageParser, unclear: UnclearEndError, asked_at: float
    ) -> ImageOutcome:
        if isinstance(unclear.end, RefusedError):
            return ImageOutcome(picture.file, Outcome.REFUSED, error=unclear.end)
        self._count_unclear(unclear.end)
        if not unclear.whole:
            return failure_outcome(picture, unclear.end)
        self._doubts.add(key_of(image), asked_at)
        return _doubtful(picture, unclear.end, SECOND_LOOK)

    def _count_unclear(self, end: RemoteError) -> None:
        with self._lock:
            self._unclear_in_a_row += 1
            if self._unclear_in_a_row >= _MOST_UNCLEAR or end.retry_after is not None:
                self._down = end


def _size_of(image: ImageParser) -> int:
    """Return a picture's bytes. Raises OSError."""
    return len(image.file_blob) if image.path is None else os.path.getsize(image.path)


def _doubtful(picture: Picture, end: RemoteError, wait: float) -> ImageOutcome:
    message = f"{end}; whether it was stored isn't known, so it is asked for again in {wait:.0f} s"
    return ImageOutcome(picture.file, Outcome.DOUBTFUL, error=DoubtfulError(message, end, retry_after=wait))
