"""Connect to a host: try its addresses side by side, keep the first that answers, refuse those no link may lead to.

A server that gives out links chooses which addresses this machine connects to. Services on this machine, or in its
own network segment (such as 169.254.169.254), must not be reached through the links of a server elsewhere.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any, Final

from sticky_pi_api.transport.cancellation import Guard, starting

STAGGER: Final = 0.25
"""Seconds that an address gets to answer before the next one is tried beside it (RFC 8305)"""

_UNSENT: Final = 65536
"""Bytes that the kernel may hold back unsent; by default it accepts whole pictures long before they are sent"""

Address = tuple[Any, ...]
"""An address as getaddrinfo gives it: family, type, protocol, canonical name, socket address"""


class StrayError(OSError):
    """No link may lead to any address of a host."""


def is_near(address: str) -> bool:
    """Return whether an address is one of this machine, or of its own network segment, by its range alone."""
    # Only links need it.
    from ipaddress import IPv6Address, ip_address

    one = ip_address(address)
    if isinstance(one, IPv6Address):
        compatible = int(one) >> 32 == 0 and int(one) > 1
        one = one.ipv4_mapped or (ip_address(int(one)) if compatible else one)
    return one.is_loopback or one.is_link_local or one.is_unspecified


def leads_near(host: str) -> bool:
    """Return whether a host's name, without a look-up, is this machine's or one in its own network segment."""
    if host.rstrip(".").lower().rpartition(".")[2] == "localhost":
        return True
    try:
        # All the ways to write an address: 127.1, 0x7f000001, ::ffff:127.0.0.1.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return any(is_near(str(address[0])) for *_, address in found)


def connect(
    guard: Guard, host: str, port: int, seconds: float, admits: Callable[[str], bool] = lambda _: True
) -> socket.socket:
    """Return a connection to the first of a host's addresses to answer, within `seconds`. Raises OSError.

    Only addresses that `admits` lets pass are tried: StrayError where there is none.
    """
    ends_at = time.monotonic() + min(seconds, guard.deadline.left)
    found = resolve(guard, host, port, seconds)
    waiting = deque(_alternating([one for one in found if admits(one[4][0])]))
    if found and not waiting:
        raise StrayError
    race = _Race(guard)
    try:
        return race.run(waiting, ends_at, seconds)
    finally:
        race.close()


def resolve(guard: Guard, host: str, port: int, seconds: float) -> list[Address]:
    """Return the addresses of a host. Raises OSError, and TimeoutError where they take too long.

    getaddrinfo has no timeout: it runs on a thread that is left to itself when it is too slow.
    """
    answers: queue.SimpleQueue[list[Address] | Exception | None] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    with guard.cancellation.waking(lambda: answers.put(None)):
        with starting():
            threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        try:
            answer = answers.get(timeout=min(seconds, guard.deadline.left))
        except queue.Empty:
            answer = None
    if isinstance(answer, list):
        return answer
    raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") if answer is None else answer


class _Race:
    """Connection attempts to one host, of which the first that succeeds is kept."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._poll = select.poll()
        self._running: dict[int, socket.socket] = {}
        self._failure: OSError = socket.gaierror(socket.EAI_NONAME, "the host has no address")

    def close(self) -> None:
        for sock in self._running.values():
            sock.close()

    def run(self, waiting: deque[Address], ends_at: float, seconds: float) -> socket.socket:
        next_at = 0.0
        while waiting or self._running:
            now = time.monotonic()
            if waiting and (now >= next_at or not self._running):
                self._begin(waiting.popleft())
                next_at = now + STAGGER
            if not self._running:
                continue
            until = min(ends_at, next_at) if waiting else ends_at
            for descriptor, _ in self._poll.poll(max(0.0, until - now) * 1000):
                if (sock := self._end(descriptor)) is not None:
                    sock.settimeout(seconds)
                    return sock
                next_at = 0.0
            # A request that was cancelled before it was connected had no socket to be shut down.
            self._guard.cancellation.check()
            if time.monotonic() >= ends_at and self._running:
                raise TimeoutError
        raise self._failure

    def _begin(self, address: Address) -> None:
        family, kind, protocol, _, where = address
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0.0)
            self._running[sock.fileno()] = sock
            self._poll.register(sock, select.POLLOUT)
            self._guard.cancellation.watch(*self._running.values())
            sock.connect(where)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(sock, error)

    def _end(self, descriptor: int) -> socket.socket | None:
        """Return the connection if it is made, or note why it failed."""
        sock = self._running[descriptor]
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._drop(sock, OSError(number, os.strerror(number)))
            return None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            self._guard.cancellation.watch(sock)
            self._guard.cancellation.check()
        except OSError as error:
            self._drop(sock, error)
            return None
        del self._running[descriptor]
        return sock

    def _drop(self, sock: socket.socket, error: OSError) -> None:
        self._failure = error
        self._poll.unregister(sock)
        del self._running[sock.fileno()]
        sock.close()


def _alternating(addresses: Iterable[Address]) -> Iterator[Address]:
    """Yield addresses of IPv6 and IPv4 by turns: where one family fails, all of its addresses do."""
    families: dict[object, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return (one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None)
