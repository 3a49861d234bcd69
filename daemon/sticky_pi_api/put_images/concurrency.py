"""Decide how many pictures are sent at a time, and run the threads that send them.

Several pictures go over the link at once only where each takes but a moment; the others that are sent at a time wait
for their answers meanwhile. If all of them shared the link, they would end together, and leave it idle while the server
is at work on them. On a slow link even two are too many: a trap that is awake for a minute would end with a part of
each, time and again, and with none of them sent.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from sticky_pi_api.transport.deadline import starting
from sticky_pi_api.types import ImageOutcome

QUICK_UPLOAD: Final = 5.0
"""Seconds that a picture may take, had it the link for itself, for others to go beside it"""


class ConcurrencyLimit:
    """How many pictures may go over a client's link at a time, by how long the last one took."""

    def __init__(self, most: int) -> None:
        """Let at most `most` pictures be sent at a time, half of them over the link.

        It is one until it is known how long that takes.
        """
        self._most = max(1, most // 2)
        self._seconds = math.inf

    @property
    def uploads(self) -> int:
        """How many pictures may go over the link now."""
        return self._most if self._seconds <= QUICK_UPLOAD else 1

    def measured(self, seconds: float, beside: int) -> None:
        """Take note of how many seconds a picture took over the link, beside so many others."""
        self._seconds = seconds / (1 + beside)


class Sent(NamedTuple):
    """A worker's picture is on its way: only the answer is waited for, and the link is free."""

    worker: str


class Settled(NamedTuple):
    """A worker has ended with its picture's outcome."""

    worker: str
    outcome: ImageOutcome


class Crashed(NamedTuple):
    """A worker has ended with an error that no picture has for its outcome."""

    worker: str
    error: BaseException


class WorkerPool:
    """Threads that settle a picture each, and report events to the one thread that starts them.

    They are daemons, as those of `concurrent.futures` aren't: one that hangs in a file system must not hold up the end
    of the process.
    """

    def __init__(self, size: int) -> None:
        """Run at most `size` threads at a time."""
        self._size = size
        self._threads: dict[str, threading.Thread] = {}
        self._uploading: set[str] = set()
        self._events: queue.SimpleQueue[Sent | Settled | Crashed] = queue.SimpleQueue()
        self._numbers = count(1)

    @property
    def is_busy(self) -> bool:
        """Whether any thread is at work."""
        return bool(self._threads)

    @property
    def is_full(self) -> bool:
        """Whether as many threads as may be are at work."""
        return len(self._threads) >= self._size

    @property
    def uploading(self) -> int:
        """How many threads have a picture that isn't on its way yet."""
        return len(self._uploading)

    def start(self, settle: Callable[[], ImageOutcome]) -> None:
        """Settle a picture on a thread. Raises OSError where there is none to be had."""

        def run() -> None:
            name = threading.current_thread().name
            try:
                self._events.put(Settled(name, settle()))
            except BaseException as error:  # noqa: BLE001 - it is the caller's thread that raises it
                self._events.put(Crashed(name, error))

        thread = threading.Thread(target=run, name=f"send-{next(self._numbers)}", daemon=True)
        self._uploading.add(thread.name)
        with starting():
            thread.start()
        self._threads[thread.name] = thread

    def report_sent(self) -> None:
        """Report, from a worker's thread, that its picture is on its way."""
        self._events.put(Sent(threading.current_thread().name))

    def next_event(self) -> Sent | Settled | Crashed:
        """Wait for the next event of a worker."""
        event = self._events.get()
        self._uploading.discard(event.worker)
        if not isinstance(event, Sent):
            self._threads.pop(event.worker).join()
        return event

    def join(self, seconds: float) -> None:
        """Wait for each thread to end, so many seconds at most."""
        for thread in self._threads.values():
            thread.join(seconds)
