"""Decide how many pictures are sent at a time, and run the threads that send them.

Half of the pictures that are sent at a time may use the link, while the others wait for their answers: if all shared
the link, they would end together, and leave it idle while the server works. On a slow link only one uses it: a trap
that is awake for a minute would otherwise send a part of each picture again and again, and none of them whole.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from sticky_pi_api.transport.cancellation import starting
from sticky_pi_api.types import ImageOutcome

QUICK_UPLOAD: Final = 5.0
"""Longest upload of a picture alone on the link, in seconds, at which others may use the link as well"""


class ConcurrencyLimit:
    """The number of pictures that may use a client's link at a time; one until an upload was quick."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most // 2)
        self._seconds = math.inf

    @property
    def uploads(self) -> int:
        """How many pictures may use the link now."""
        return self._most if self._seconds <= QUICK_UPLOAD else 1

    def measured(self, seconds: float, beside: int) -> None:
        """Record how many seconds a picture used the link, beside how many others."""
        self._seconds = seconds / (1 + beside)


class Sent(NamedTuple):
    """A worker's picture is sent, and the link is free: only the answer is missing."""

    worker: str


class Settled(NamedTuple):
    """A worker has ended with its picture's outcome."""

    worker: str
    outcome: ImageOutcome


class Crashed(NamedTuple):
    """A worker has ended with an unexpected error."""

    worker: str
    error: BaseException


class WorkerPool:
    """At most `size` threads that settle a picture each, and report events to the thread that starts them.

    Unlike those of `concurrent.futures`, they are daemons: one that hangs in a file system doesn't keep the process
    from ending.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads: dict[str, threading.Thread] = {}
        self._uploading: set[str] = set()
        self._events: queue.SimpleQueue[Sent | Settled | Crashed] = queue.SimpleQueue()
        self._numbers = count(1)

    @property
    def is_busy(self) -> bool:
        """Whether any thread is running."""
        return bool(self._threads)

    @property
    def is_full(self) -> bool:
        """Whether no further thread may be started."""
        return len(self._threads) >= self._size

    @property
    def uploading(self) -> int:
        """How many threads have a picture that isn't sent yet."""
        return len(self._uploading)

    def start(self, settle: Callable[[], ImageOutcome]) -> None:
        """Settle a picture on a new thread. Raises OSError where none can be started."""

        def run() -> None:
            name = threading.current_thread().name
            try:
                self._events.put(Settled(name, settle()))
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                self._events.put(Crashed(name, error))

        thread = threading.Thread(target=run, name=f"send-{next(self._numbers)}", daemon=True)
        self._uploading.add(thread.name)
        with starting():
            thread.start()
        self._threads[thread.name] = thread

    def report_sent(self) -> None:
        """Report, from a worker's thread, that its picture is sent."""
        self._events.put(Sent(threading.current_thread().name))

    def next_event(self) -> Sent | Settled | Crashed:
        """Wait for the next event of a worker."""
        event = self._events.get()
        self._uploading.discard(event.worker)
        if not isinstance(event, Sent):
            self._threads.pop(event.worker).join()
        return event

    def join(self, seconds: float) -> None:
        """Wait at most so many seconds for each thread to end."""
        for thread in self._threads.values():
            thread.join(seconds)
