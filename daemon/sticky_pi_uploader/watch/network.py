"""Detect that the network is back, so that a destination that couldn't be reached is tried again sooner.

The kernel sends messages by rtnetlink(7): a link is up, an address can be used, a default route was added. The main
thread waits for these messages together with its other events, and never sends a request.
"""

from __future__ import annotations

import errno
import logging
import math
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

log = logging.getLogger(__name__)

JITTER: Final = 5.0
"""Seconds within which the destination is tried, at random: all traps of a network come back together"""

SPACING: Final = 3.0
"""Seconds between a try and the earliest moment of the next, however often the network changes"""

SECOND_RETRY: Final = 15.0
"""Seconds between the first try and the second: the name service is ready a little later than the address"""

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h and linux/if.h; all numbers in the machine's byte order.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4, and of IPv6
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE_SIZE, _ROUTE_LENGTH, _ROUTE_TYPE = 12, 1, 7  # bytes of the header, and in it the prefix's length and the type
_ATTRIBUTE: Final = struct.Struct("=HH")
_NEW_LINK, _DELETED_LINK, _NEW_ADDRESS, _DELETED_ADDRESS, _NEW_ROUTE = 16, 17, 20, 21, 24
_IS_LOOPBACK, _IS_RUNNING = 0x8, 0x40
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NOT_USABLE: Final = 0x08 | 0x40
"""flags of an address that another machine may have, too (tentative), or has (dadfailed)"""
_LINK_SCOPE: Final = 253
"""from this scope on, an address can at most be used on its own link"""
_IPV4, _LINK_LOCAL = 4, b"\xa9\xfe"  # 169.254.0.0/16, which can have any scope
_UNICAST: Final = 1
_BUFFER_SIZE: Final = 65536
_LIMIT: Final = 1000
"""datagrams that are read at once, and addresses that are remembered"""


class NetworkState:
    """The links and addresses of this machine, updated by the kernel's messages."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        """the indexes of the links that run"""
        self._addresses: set[tuple[int, bytes]] = set()

    def update(self, messages: bytes) -> bool:
        """Process messages; return whether the network may be better than before."""
        # Not `any`: each message has to be processed.
        return sum(self._process(kind, body) for kind, body in _split(messages, _HEADER)) > 0

    def _process(self, kind: int, body: bytes) -> bool:
        if kind in (_NEW_LINK, _DELETED_LINK) and len(body) >= _LINK.size:
            return self._update_link(kind, *_LINK.unpack_from(body))
        if kind in (_NEW_ADDRESS, _DELETED_ADDRESS) and len(body) >= _ADDRESS.size:
            return self._update_address(kind, body)
        return kind == _NEW_ROUTE and _is_default(body)

    def _update_link(self, kind: int, family: int, _type: int, index: int, flags: int, _change: int) -> bool:
        if family != socket.AF_UNSPEC or flags & _IS_LOOPBACK:
            return False
        was_running = index in self._running
        if kind == _NEW_LINK and flags & _IS_RUNNING:
            self._running.add(index)
            return not was_running
        self._running.discard(index)
        return False

    def _update_address(self, kind: int, body: bytes) -> bool:
        _family, _prefix, flags, scope, index = _ADDRESS.unpack_from(body)
        found = dict(_split(body[_ADDRESS.size :], _ATTRIBUTE))
        address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
        if len(more := found.get(_IFA_FLAGS, b"")) == 4:  # noqa: PLR2004 - the older field has only eight bits
            (flags,) = struct.unpack("=I", more)
        known = (index, address)
        if kind == _DELETED_ADDRESS or flags & _NOT_USABLE:
            self._addresses.discard(known)
            return False
        # The kernel repeats the message whenever a router or DHCP prolongs an address.
        if known in self._addresses or scope >= _LINK_SCOPE or (len(address) == _IPV4 and address[:2] == _LINK_LOCAL):
            return False
        if len(self._addresses) >= _LIMIT:
            self._addresses.clear()
        self._addresses.add(known)
        return True


class RetrySchedule:
    """The times to try the destination again: soon after the first of several changes, and a little later."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        """Start without a plan; `draw` returns a random number between two limits."""
        self._monotonic = monotonic
        self._draw = draw
        self._last = -math.inf
        self._planned: list[float] = []

    def plan(self) -> None:
        """Plan two tries after a change of the network; planned ones serve for this change, too."""
        if len(self._planned) < 2:  # noqa: PLR2004 - the first and the second
            first = max(self._monotonic(), self._last + SPACING) + self._draw(0.0, JITTER)
            self._planned = [first, first + SECOND_RETRY]

    def is_time(self) -> bool:
        """Return whether it is time for a try; each try is reported once."""
        if self.wait() > 0:
            return False
        self._last = self._planned.pop(0)
        return True

    def wait(self) -> float:
        """Return the seconds until the next try; infinite if none is planned."""
        return max(0.0, self._planned[0] - self._monotonic()) if self._planned else math.inf


class Network:
    """The kernel's messages on the network, as a context: `descriptor` is readable when there are some."""

    def __init__(self, schedule: RetrySchedule | None = None) -> None:
        self._schedule = RetrySchedule() if schedule is None else schedule
        self._state = NetworkState()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Subscribe to the messages; if that isn't allowed, each wait lasts its full time."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self.__exit__()
            log.debug("the kernel doesn't report changes of the network (%s): each wait lasts its time", error.strerror)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def descriptor(self) -> int | None:
        """The descriptor to wait for; None if there is no subscription."""
        return None if self._socket is None else self._socket.fileno()

    def has_changed(self) -> bool:
        """Process all messages so far; return whether the network may be better than before."""
        found = False
        # All of them: a remaining message would end the thread's next wait at once.
        for messages in self._messages():
            if messages is None:
                self._state = NetworkState()
            found |= messages is None or self._state.update(messages)
        return found

    def is_time(self) -> bool:
        """Return whether to try an unreachable destination now."""
        if self.has_changed():
            self._schedule.plan()
        return self._schedule.is_time()

    def wait(self) -> float:
        """Return the seconds until the next try, if the network doesn't change before."""
        return self._schedule.wait()

    def _messages(self) -> Iterator[bytes | None]:
        """Yield the messages that can be read; None if messages were lost because too many came at once."""
        if self._socket is None:
            return
        for _ in range(_LIMIT):
            try:
                messages, (sender, _groups) = self._socket.recvfrom(_BUFFER_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            # Other processes may write to the socket, too.
            if sender == 0:
                yield messages


def _split(messages: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each message, or of each attribute of one; a header begins with the length."""
    at = 0
    while at + header.size <= len(messages):
        length, kind, *_ = header.unpack_from(messages, at)
        if length < header.size:
            return
        yield kind, messages[at + header.size : at + length]
        at += (length + 3) & ~3


def _is_default(route: bytes) -> bool:
    return len(route) >= _ROUTE_SIZE and route[_ROUTE_LENGTH] == 0 and route[_ROUTE_TYPE] == _UNICAST
