"""Ends what would otherwise wait for the network for ever: whole requests, and the look-up of names.

A socket's timeout is for each read: a server that drips a byte a second holds its client as long as it likes.
"""

from __future__ import annotations

import math
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol, Self

from sticky_pi_api.transport.threads import starting

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Address = tuple[Any, ...]
"""What getaddrinfo gives: family, type, protocol, canonical name, socket address"""


class _Breakable(Protocol):
    @property
    def overdue(self) -> float:
        """Seconds by which it is past its time."""

    def break_off(self) -> None:
        """End it now."""


class Scope:
    """Requests, and pauses between them, that are broken off together, those still to come too."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._live: set[_Breakable] = set()
        self._broken = False
        self._ended_at = time.monotonic()

    def add(self, one: _Breakable) -> None:
        """Take a request in; where the scope is broken off, so is the request."""
        with self._lock:
            self._live.add(one)
            broken = self._broken
        if broken:
            one.break_off()

    def remove(self, one: _Breakable) -> None:
        """Forget a request that has ended."""
        with self._lock:
            self._live.discard(one)
            self._ended_at = time.monotonic()

    def stalled_for(self) -> float:
        """Tell by how many seconds a request is past its end, or where there is none, for how long there was none."""
        with self._lock:
            if self._live:
                return max(one.overdue for one in self._live)
            return time.monotonic() - self._ended_at

    def break_off(self) -> None:
        """End all requests now, and each one to come as it begins."""
        with self._lock:
            self._broken = True
            live = list(self._live)
        for one in live:
            one.break_off()


class Pause:
    """A pause before a request is sent again, which ends early with any of some scopes."""

    overdue = 0.0

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        """Take the scopes."""
        self._scopes = scopes
        self._over = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for so many seconds; tells whether there is to be no further request."""
        for scope in self._scopes:
            scope.add(self)
        try:
            return self._over.wait(seconds)
        finally:
            for scope in self._scopes:
                scope.remove(self)

    def break_off(self) -> None:
        """End the pause now, and each one to come as it begins."""
        self._over.set()


class Guard:
    """Watches over one request, from its start to its end, as a context manager.

    What it breaks off fails in the thread that is at it, within moments, wherever that waits.
    """

    def __init__(
        self, seconds: float, scopes: tuple[Scope, ...] = (), *, fresh: bool = False, silence: float = math.inf
    ) -> None:
        """Let the request take so many seconds at most, and end with any of the scopes.

        Who makes it reads here whether it needs a fresh connection, and for how many seconds that may be silent.
        """
        self.seconds = seconds
        self.fresh = fresh
        self.silence = silence
        self.expired = False
        """whether its time was up"""
        self.broken = False
        """whether it was ended before its time, or as it was up"""
        self.reused = False
        """whether it went out on a connection that had been used before"""
        self.cause: Exception | None = None
        """what went wrong while connecting"""
        self.silent_for = 0.0
        """seconds for which the other end had been silent when the request was broken off"""
        self._ends_at = time.monotonic() + seconds
        self._waits_since: float | None = None
        self._scopes = scopes
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._wake: Callable[[], None] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Begin. Raises OSError where its time can't be watched."""
        with starting():
            threading.Thread(target=self._watch_time, name="deadline", daemon=True).start()
        for scope in self._scopes:
            scope.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End: from here on nothing is broken off."""
        for scope in self._scopes:
            scope.remove(self)
        with self._lock:
            self._ended.set()
            self._let_go()

    @property
    def left(self) -> float:
        """Seconds until its time is up."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def overdue(self) -> float:
        """Seconds by which it is past its time: moments, unless the thread that is at it can't be reached."""
        return max(0.0, time.monotonic() - self._ends_at)

    def extend(self, seconds: float) -> None:
        """Let the request take so many seconds more."""
        self.seconds += seconds
        self._ends_at += seconds

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a block that waits for the other end; it has moved by the time that the block ends."""
        outer, self._waits_since = self._waits_since, time.monotonic()
        try:
            yield
        finally:
            self._waits_since = None if outer is None else time.monotonic()

    def watch(self, *socks: socket.socket) -> None:
        """Break off what happens on these connections, from now on and instead of others.

        Raises OSError where there are no more descriptors; then the others are still watched.
        """
        with ExitStack() as opened:
            # Descriptors of their own: TLS takes the socket object apart, and responses outlive it.
            handles = [opened.enter_context(_second(sock)) for sock in socks]
            opened.pop_all()
        with self._lock:
            self._let_go()
            self._handles = handles
            if self.broken:
                self._cut()

    def check(self) -> None:
        """Raise ConnectionAbortedError where the request was broken off."""
        if self.broken:
            raise ConnectionAbortedError

    def break_off(self) -> None:
        """End the request now."""
        with self._lock:
            if not self.broken and self._waits_since is not None:
                self.silent_for = time.monotonic() - self._waits_since
            self.broken = True
            self._cut()
            wake = self._wake
        if wake is not None:
            wake()

    def resolve(self, host: str, port: int, seconds: float) -> list[Address]:
        """Return the addresses of a host. Raises OSError, and TimeoutError where they take too long.

        getaddrinfo has no timeout: it runs on a thread that is left to itself when it is too slow.
        """
        answers: queue.SimpleQueue[list[Address] | Exception | None] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        with self._lock:
            self._wake = lambda: answers.put(None)
            if self.broken:
                raise TimeoutError
        with starting():
            threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        try:
            answer = answers.get(timeout=min(seconds, self.left))
        except queue.Empty:
            answer = None
        finally:
            with self._lock:
                self._wake = None
        if isinstance(answer, list):
            return answer
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") if answer is None else answer

    def _watch_time(self) -> None:
        # It may be given more time meanwhile.
        while self.left > 0:
            if self._ended.wait(self.left):
                return
        if not self._ended.is_set():
            self.expired = True
            self.break_off()

    def _cut(self) -> None:
        for handle in self._handles:
            with suppress(OSError):  # it isn't connected any more
                # What is still waiting to go out must not: a reset, not a farewell after the rest of a body.
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                handle.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        while self._handles:
            self._handles.pop().close()


def _second(sock: socket.socket) -> socket.socket:
    return socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
