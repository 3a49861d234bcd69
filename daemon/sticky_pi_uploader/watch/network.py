"""Notices that the network came back, so that a destination that couldn't be reached is tried again before its time.

The kernel tells of it by rtnetlink(7): a link runs again, an address can be used, there is a default route. The main
thread waits for these messages with all else that it waits for, and asks for nothing itself.
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
"""Seconds within which the destination is tried: all traps on a network come back together."""

SPACING: Final = 3.0
"""Seconds from one try to when the next may be drawn, however often the network changes meanwhile."""

SECOND_RETRY: Final = 15.0
"""Seconds after the first try until another: the name service is ready a little later than the address."""

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h and linux/if.h; all numbers in the machine's own order.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4, and of IPv6
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NEW_LINK, _DELETED_LINK, _NEW_ADDRESS, _DELETED_ADDRESS, _NEW_ROUTE = 16, 17, 20, 21, 24
_IS_LOOPBACK, _RUNS = 0x8, 0x40
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NOT_USABLE: Final = 0x08 | 0x40
"""what is said of an address while another may have it too (tentative), and where one has (dadfailed)"""
_LINK_SCOPE: Final = 253
"""from here on an address is of use on its own link at most"""
_IPV4, _LINK_LOCAL = 4, b"\xa9\xfe"  # 169.254.0.0/16, which may be given any scope
_UNICAST: Final = 1
_LONGEST: Final = 65536
_MOST: Final = 1000
"""messages that are read in one go, and addresses that are remembered"""


class Changes:
    """Says of the kernel's messages which ones tell of a network that may be better than before."""

    def __init__(self) -> None:
        """Know of no network."""
        self._runs: dict[int, bool] = {}
        self._addresses: set[tuple[int, bytes]] = set()

    def forget(self) -> None:
        """Forget all, as messages were lost."""
        self.__init__()  # type: ignore[misc]

    def tell(self, messages: bytes) -> bool:
        """Tell whether one of some messages is such a one."""
        found = False
        for kind, body in _split(messages):
            found |= self._is_better(kind, body)
        return found

    def _is_better(self, kind: int, body: bytes) -> bool:
        if kind in (_NEW_LINK, _DELETED_LINK) and len(body) >= _LINK.size:
            return self._takes_link(kind, *_LINK.unpack_from(body))
        if kind in (_NEW_ADDRESS, _DELETED_ADDRESS) and len(body) >= _ADDRESS.size:
            return self._takes_address(kind, body)
        return kind == _NEW_ROUTE and len(body) >= _ROUTE.size and _is_default(*_ROUTE.unpack_from(body))

    def _takes_link(self, kind: int, family: int, _type: int, index: int, flags: int, _change: int) -> bool:
        if family != socket.AF_UNSPEC or flags & _IS_LOOPBACK:
            return False
        before = self._runs.pop(index, False)
        if kind == _NEW_LINK:
            self._runs[index] = bool(flags & _RUNS)
        return not before and self._runs.get(index, False)

    def _takes_address(self, kind: int, body: bytes) -> bool:
        _family, _prefix, flags, scope, index = _ADDRESS.unpack_from(body)
        found = dict(_attributes(body[_ADDRESS.size :]))
        address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
        if len(more := found.get(_IFA_FLAGS, b"")) == 4:  # noqa: PLR2004 - the older field has room for eight of them
            (flags,) = struct.unpack("=I", more)
        known = (index, address)
        if kind == _DELETED_ADDRESS or flags & _NOT_USABLE:
            self._addresses.discard(known)
            return False
        # The kernel tells of one again whenever a router or DHCP prolongs it.
        if known in self._addresses or scope >= _LINK_SCOPE or (len(address) == _IPV4 and address[:2] == _LINK_LOCAL):
            return False
        if len(self._addresses) >= _MOST:
            self._addresses.clear()
        self._addresses.add(known)
        return True


class RetrySchedule:
    """When the destination is tried again: soon after the first of several changes, and once more a little later."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        """Plan none yet; `draw` gives a number between two."""
        self._monotonic = monotonic
        self._draw = draw
        self._last = -math.inf
        self._planned: list[float] = []

    def plan(self) -> None:
        """Plan them, as the network changed; one that is still to come covers this change as well."""
        if len(self._planned) < 2:  # noqa: PLR2004 - the first and the second
            first = max(self._monotonic(), self._last + SPACING) + self._draw(0.0, JITTER)
            self._planned = [first, first + SECOND_RETRY]

    def is_time(self) -> bool:
        """Tell whether it is time for one, once for each."""
        if self.wait() > 0:
            return False
        self._last = self._planned.pop(0)
        return True

    def wait(self) -> float:
        """Tell the seconds until the next; infinite where none is planned."""
        return max(0.0, self._planned[0] - self._monotonic()) if self._planned else math.inf


class Network:
    """What the kernel tells, as a context: `descriptor` can be read when there is something."""

    def __init__(self, schedule: RetrySchedule | None = None) -> None:
        """Listen once the context is entered."""
        self._schedule = RetrySchedule() if schedule is None else schedule
        self._changes = Changes()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Begin to listen; where that isn't allowed, nothing is ever heard, and waits last as long as they do."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self.__exit__()
            log.debug("nobody tells when the network comes back (%s): each wait lasts its time", error.strerror)
        return self

    def __exit__(self, *_: object) -> None:
        """End that."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def descriptor(self) -> int | None:
        """What to wait on; None where nothing can be heard."""
        return None if self._socket is None else self._socket.fileno()

    def has_changed(self) -> bool:
        """Take in what the kernel told so far; says whether the network may be better than before."""
        found = False
        # All of it: what is left over would end the thread's next wait at once.
        for messages in self._messages():
            if messages is None:
                self._changes.forget()
            found |= messages is None or self._changes.tell(messages)
        return found

    def is_time(self) -> bool:
        """Tell whether to try again now what couldn't be reached."""
        if self.has_changed():
            self._schedule.plan()
        return self._schedule.is_time()

    def wait(self) -> float:
        """Tell the seconds until it may be time, if nothing changes until then."""
        return self._schedule.wait()

    def _messages(self) -> Iterator[bytes | None]:
        """Yield what can be read; None where so much came at once that some was lost, which may have been anything."""
        for _ in range(_MOST if self._socket is not None else 0):
            assert self._socket is not None  # noqa: S101 - as above
            try:
                messages, (sender, _groups) = self._socket.recvfrom(_LONGEST)
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


def _split(messages: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each message."""
    at = 0
    while at + _HEADER.size <= len(messages):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(messages, at)
        if length < _HEADER.size:
            return
        yield kind, messages[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _is_default(
    _family: int, to: int, _from: int, _tos: int, _table: int, _protocol: int, _scope: int, kind: int, _flags: int
) -> bool:
    return to == 0 and kind == _UNICAST
