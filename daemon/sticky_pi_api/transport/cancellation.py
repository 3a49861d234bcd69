"""Limit the time of a request, and cancel it wherever it waits: a socket's own timeout is for each read alone.

A server that sends one byte a second would otherwise hold its client without end. There are three parts: the time
(`Deadline`), the requests that are cancelled together (`CancelScope`, and the `Cancellation` of each request), and the
state of one request, for its thread (`Guard`).
"""

from __future__ import annotations

import errno
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    # Modules that only start threads don't need it.
    import socket

_RESET_ON_CLOSE: Final = (1).to_bytes(4, sys.byteorder) + bytes(4)
"""The C structure linger, switched on with a time of 0 s"""


class Timeouts(NamedTuple):
    """Time limits of the parts of a request, in seconds."""

    connect: float = 10.0
    """for the name's look-up, the connection and the TLS handshake, each"""
    read: float = 75.0
    """between two reads or writes; the web server in front of the API gives its workers 60"""
    whole: float = 60.0
    """for the whole request, in addition to the time that its body needs"""
    question: float = 30.0
    """the same for a login and for a question about pictures, in addition to the time that the answer needs"""
    again: float = 30.0
    """for repeating a question to a server that fails because it has just started"""


class Deadline:
    """A time limit in seconds, counted from now, which can be extended."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def overdue(self) -> float:
        """Seconds since the time was up."""
        return max(0.0, time.monotonic() - self._ends_at)

    def extend(self, seconds: float) -> None:
        """Allow more seconds."""
        self.seconds += seconds
        self._ends_at += seconds


class CancelScope:
    """Requests, and pauses between them, that are cancelled together, or with those of the scope's parent.

    Once it is cancelled, later requests are cancelled as they begin.
    """

    def __init__(self, parent: CancelScope | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._live: set[Guard | _Pause] = set()
        self._is_cancelled = False
        self._ended_at = time.monotonic()

    @contextmanager
    def holding(self, one: Guard | _Pause) -> Iterator[None]:
        """Make a request a part of the scope during a block; cancel it if the scope is cancelled."""
        with nullcontext() if self._parent is None else self._parent.holding(one):
            with self._lock:
                self._live.add(one)
                is_cancelled = self._is_cancelled
            try:
                if is_cancelled:
                    one.cancel()
                yield
            finally:
                with self._lock:
                    self._live.discard(one)
                    self._ended_at = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait, or until the scope is cancelled; return whether it is."""
        pause = _Pause()
        with self.holding(pause):
            return pause.wait(seconds)

    def stalled_for(self) -> float:
        """Return the seconds by which a request is past its deadline; without requests, the seconds since the last."""
        with self._lock:
            if self._live:
                return max(one.overdue for one in self._live)
            return time.monotonic() - self._ended_at

    def cancel(self) -> None:
        """Cancel all requests."""
        with self._lock:
            self._is_cancelled = True
            live = list(self._live)
        for one in live:
            one.cancel()


class _Pause(threading.Event):
    overdue = 0.0

    def cancel(self) -> None:
        self.set()


class Cancellation:
    """The means to cancel one request from any thread: its connections, or a function that wakes it."""

    def __init__(self) -> None:
        self.is_done = False
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._wake: Callable[[], None] | None = None

    def watch(self, *socks: socket.socket) -> None:
        """Shut these connections down when cancelled, instead of earlier ones. Raises OSError without descriptors."""
        with ExitStack() as opened:
            # Descriptors of their own: TLS takes the socket object apart, and responses outlive it.
            handles = [opened.enter_context(_second(sock)) for sock in socks]
            opened.pop_all()
        with self._lock:
            self._close_handles()
            self._handles = handles
            if self.is_done:
                self._shut_down()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` if cancelled during a block. Raises TimeoutError if cancelled before it."""
        with self._lock:
            self._wake = wake
            if self.is_done:
                raise TimeoutError
        try:
            yield
        finally:
            with self._lock:
                self._wake = None

    def check(self) -> None:
        """Raise ConnectionAbortedError where the request was cancelled."""
        if self.is_done:
            raise ConnectionAbortedError

    def cancel(self) -> None:
        """Cancel the request."""
        with self._lock:
            self.is_done = True
            self._shut_down()
            wake = self._wake
        if wake is not None:
            wake()

    def close(self) -> None:
        """Forget the connections, so that none is shut down any more."""
        with self._lock:
            self._close_handles()

    def _shut_down(self) -> None:
        import socket

        for handle in self._handles:
            with suppress(OSError):  # it isn't connected any more
                # Bytes that the kernel holds back must not be sent: a reset instead of an orderly end.
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                handle.shutdown(socket.SHUT_RDWR)

    def _close_handles(self) -> None:
        while self._handles:
            self._handles.pop().close()


class Guard:
    """The state of one request, and a context manager that cancels the request at its deadline.

    A cancelled request fails at once in its own thread, wherever this waits.
    """

    def __init__(
        self, seconds: float, scope: CancelScope | None = None, *, fresh: bool = False, silence: float = math.inf
    ) -> None:
        """Limit the request to so many seconds, and a connection's silence to `silence` seconds.

        `fresh` asks for a new connection.
        """
        self.deadline = Deadline(seconds)
        self.cancellation = Cancellation()
        self.fresh = fresh
        self.silence = silence
        self.expired = False
        """whether it was cancelled at its deadline"""
        self.reused = False
        """whether it used a kept connection"""
        self.cause: Exception | None = None
        """the error from connecting"""
        self.silent_for = 0.0
        """seconds for which the peer had been silent when the request was cancelled"""
        self._waits_since: float | None = None
        self._held = (scope or CancelScope()).holding(self)
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Begin. Raises OSError where no thread can watch the deadline."""
        with starting():
            threading.Thread(target=self._watch_time, name="deadline", daemon=True).start()
        self._held.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.__exit__(None, None, None)
        self._ended.set()
        self.cancellation.close()

    @property
    def overdue(self) -> float:
        """Seconds by which the request is past its deadline: few, unless its thread can't be woken."""
        return self.deadline.overdue

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a block that waits for the peer."""
        outer, self._waits_since = self._waits_since, time.monotonic()
        try:
            yield
        finally:
            self._waits_since = None if outer is None else time.monotonic()

    def cancel(self) -> None:
        """Cancel the request."""
        since = self._waits_since
        if not self.cancellation.is_done and since is not None:
            self.silent_for = time.monotonic() - since
        self.cancellation.cancel()

    def _watch_time(self) -> None:
        # It may be extended meanwhile.
        while self.deadline.left > 0:
            if self._ended.wait(self.deadline.left):
                return
        if not self._ended.is_set():
            self.expired = True
            self.cancel()


def _second(sock: socket.socket) -> socket.socket:
    import socket

    return socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))


@contextmanager
def starting() -> Iterator[None]:
    """Start threads in the block. Raises OSError where Python raises RuntimeError, which would look like a bug."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "the system has no room for a further thread") from error
