"""Sends requests to one server, each with a deadline, over connections that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import requests
from requests.utils import get_environ_proxies, select_proxy

from sticky_pi_api.deadline import Guard, Scope
from sticky_pi_api.exceptions import AnswerTooLargeError, RemoteError
from sticky_pi_api.failures import Answer
from sticky_pi_api.http.connections import Adapter, current, tls_context
from sticky_pi_api.http.reasons import LIBRARIES, TIMEOUTS, explain, find

LARGEST_ANSWER: Final = 2**26
"""bytes, unpacked; no API answers with more"""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that the parts of a request may take."""

    connect: float = 15.0
    """to look up the name, to connect, and to agree on TLS, each"""
    read: float = 75.0
    """between two reads, or writes; the servers' front gives its workers 60"""
    whole: float = 60.0
    """for all of it, on top of the time that its body needs"""


class Body(Protocol):
    """A request's body that is made as it is sent."""

    begun: bool
    """whether any of it was handed to the network"""

    def __len__(self) -> int:
        """Return how many bytes there will be."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""


class Http:
    """Sends POST requests to one server; any number of threads may."""

    def __init__(
        self,
        address: str,
        *,
        ca_file: str | None = None,
        connections: int = 8,
        timeouts: Timeouts | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the server's address, `http[s]://host[:port]`; so many connections are kept at most.

        `ca_file` has the certificates that vouch for it; the system's do otherwise. Raises CertificateError where they
        can't be read.
        """
        self.address = address
        self._timeouts = timeouts or Timeouts()
        self._wall_clock = wall_clock
        self._all = Scope()
        self._adapter = Adapter(tls_context(ca_file), connections)

    def close(self) -> None:
        """Break off what is under way, in any thread, and close the connections; later requests fail."""
        self._all.break_off()
        self._adapter.close()

    def stalled_for(self) -> float:
        """Tell by how many seconds a request is past its end, or where there is none, for how long there was none."""
        return self._all.stalled_for()

    def post(
        self,
        path: str,
        body: bytes | Body,
        *,
        auth: tuple[str, str],
        content_type: str,
        seconds: float = 0.0,
        scope: Scope | None = None,
    ) -> Answer:
        """Send a request, and return whatever is answered to it.

        `seconds` is what its body needs. One that finds its kept connection closed is sent again on a new one, if that
        can do no harm: bytes always, another body unless it was begun. Raises UnreachableError, NotAnAPIError and
        BrokenOffError, and what `body` raises.
        """
        scopes = (self._all,) if scope is None else (self._all, scope)
        for is_last in (False, True):
            guard = Guard(self._timeouts.whole + seconds, scopes, fresh=is_last, silence=self._timeouts.read)
            failure: RemoteError | None = None
            try:
                with guard:
                    current.guard = guard
                    return self._exchange(path, body, auth, content_type)
            except LIBRARIES as error:
                was_closed = guard.reused and not (guard.broken or find(error, TIMEOUTS))
                if is_last or not was_closed or not (isinstance(body, bytes) or not body.begun):
                    failure = explain(error, guard, self.address, self._wall_clock)
            finally:
                current.guard = None
            if failure is not None:
                # Not within `except`: the libraries' errors hold the request, and so the password.
                raise failure from guard.cause
        raise AssertionError

    def _exchange(self, path: str, body: bytes | Body, auth: tuple[str, str], content_type: str) -> Answer:
        user, password = (text.encode() for text in auth)
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "sticky-pi-uploader"}
        if len(body):
            headers["Content-Type"] = content_type
        url = self.address + path
        request = requests.Request("POST", url, data=body, headers=headers, auth=(user, password)).prepare()
        timeout = (self._timeouts.connect, self._timeouts.read)
        proxies = get_environ_proxies(url)
        if (select_proxy(url, proxies) or "").lower().startswith("socks"):
            raise requests.exceptions.InvalidProxyURL("SOCKS proxies aren't supported")
        with self._adapter.send(request, stream=True, timeout=timeout, proxies=proxies) as response:
            content = self._read(response)
        # What was read may end where it was cut off.
        current.guard.check()
        return Answer(response.status_code, response.headers, content)

    def _read(self, response: requests.Response) -> bytes:
        content = bytearray()
        for block in response.iter_content(65536):
            content += block
            if len(content) > LARGEST_ANSWER:
                raise AnswerTooLargeError(f"{self.address} answers with more than any Sticky Pi API has to say")
        expected = response.headers.get("Content-Length", "")
        if expected.isdigit() and response.raw.tell() < int(expected):
            raise ConnectionAbortedError
        return bytes(content)
