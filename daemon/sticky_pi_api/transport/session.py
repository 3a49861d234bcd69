"""Send requests to one server and to the hosts of its links, each with a deadline, over connections that are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from sticky_pi_api.exceptions import RemoteError, UnreachableError
from sticky_pi_api.filesystem.regular_files import FileFailedError
from sticky_pi_api.transport.addresses import StrayError, leads_near
from sticky_pi_api.transport.connections import Route, Session, current, tls_context
from sticky_pi_api.transport.credentials import Account, SignedUrl, without_libraries
from sticky_pi_api.transport.deadline import CancelScope, Guard
from sticky_pi_api.transport.errors import LIBRARIES, TIMEOUTS, cause_of, explain, find
from sticky_pi_api.transport.proxies import proxy_for
from sticky_pi_api.transport.response_body import BrokenOffBodyError, read_file, read_whole
from sticky_pi_api.transport.status_codes import OK, Answer

if TYPE_CHECKING:
    import requests

_LARGEST_OTHER: Final = 2**20
"""Bytes that the host behind a link may answer with in place of the file"""

Receive = Callable[[Iterator[bytes]], object]
"""Take the blocks of a response's body, from its start"""

_HEADERS: Final = {"User-Agent": "sticky-pi-uploader"}


class Timeouts(NamedTuple):
    """Seconds that the parts of a request may take."""

    connect: float = 10.0
    """to look up the name, to connect, and to agree on TLS, each"""
    read: float = 75.0
    """between two reads, or writes; the servers' front gives its workers 60"""
    whole: float = 60.0
    """for all of it, on top of the time that its body needs"""
    question: float = 30.0
    """the same for a login, and for a question about pictures; theirs are the sizes of the answers, too"""
    again: float = 30.0
    """within which a question is sent again that a server fails at, as one does that has just started"""


class Body(Protocol):
    """A request's body that is produced while it is sent."""

    @property
    def may_repeat(self) -> bool:
        """Whether sending it from its start, on another connection, can do no harm."""

    def __len__(self) -> int:
        """Return how many bytes there will be."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""


class _Call(NamedTuple):
    """One request."""

    method: str
    address: str
    url: str
    headers: dict[str, str]
    body: bytes | Body = b""
    account: Account | None = None
    """its credentials; None for a request to a link"""
    receive: Receive | None = None
    """takes the body of a response with status 200"""
    rate: float = math.inf
    """the lowest rate of the body that it receives, in bytes a second"""
    largest: int = _LARGEST_OTHER
    """the most unpacked bytes of a body that `receive` doesn't take"""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def may_repeat(self) -> bool:
        return isinstance(self.body, bytes) or self.body.may_repeat


class Http:
    """Send requests to one server, and to the hosts of its links, from any number of threads."""

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
        self.timeouts = timeouts or Timeouts()
        self._wall_clock = wall_clock
        self.scope = CancelScope()
        """of all requests"""
        host = urlsplit(address).hostname or ""
        self._met = {"127.0.0.1", "::1"} if host == "localhost" else {host}
        self._session = Session(tls_context(ca_file), connections)

    def close(self) -> None:
        """Cancel the requests of all threads, and close the connections; later requests fail."""
        self.scope.cancel()
        self._session.close()

    def post(
        self,
        path: str,
        body: bytes | Body,
        *,
        account: Account,
        content_type: str,
        largest: int,
        seconds: float = 0.0,
        is_question: bool = False,
        rate: float = math.inf,
        scope: CancelScope | None = None,
    ) -> Answer:
        """Send the server a request, and return its answer, whatever the status.

        `seconds` is the time that the body needs. `largest` is the most bytes that the answer may have; each `rate` of
        them gets a second more. A request that `is_question` gets less time to begin with. If a kept connection turns
        out to be closed, the request is sent again on a new one where that does no harm: bytes always, another body if
        it may be repeated.

        Raises UnreachableError, NotAnAPIError (also AnswerTooLargeError), BrokenOffError, and the errors of `body`.
        """
        headers = {**_HEADERS, "Accept": "application/json", "Accept-Encoding": "gzip"}
        if len(body):
            headers["Content-Type"] = content_type
        call = _Call("POST", self.address, self.address + path, headers, body, account, rate=rate, largest=largest)
        base = min(self.timeouts.whole, self.timeouts.question) if is_question else self.timeouts.whole
        return self._send(call, base + seconds, scope)

    def post_form(self, link: SignedUrl, body: Body, *, content_type: str, seconds: float) -> Answer:
        """Send a form to a link, without credentials; otherwise as `post`."""
        headers = {**_HEADERS, "Accept-Encoding": "identity", "Content-Type": content_type}
        return self._send(_Call("POST", link.address, link.url, headers, body), self.timeouts.whole + seconds)

    def get(self, link: SignedUrl, receive: Receive, *, rate: float) -> Answer:
        """Get the file behind a link, without credentials; `receive` takes its blocks as they arrive.

        A file that arrives slower than `rate` bytes a second is given up. An answer with another status than 200 is
        returned instead. Where a connection breaks, `receive` may be called again, from the start. Raises the errors of
        `post`, and FileFailedError for an OSError of `receive`.
        """
        headers = {**_HEADERS, "Accept-Encoding": "identity"}
        call = _Call("GET", link.address, link.url, headers, receive=receive, rate=rate)
        return self._send(call, self.timeouts.whole)

    def peek(self, link: SignedUrl) -> Answer:
        """Get the first byte of the file behind a link, without credentials: the answer's headers describe the file.

        Links are signed for GET alone, so HEAD would be refused. Raises the errors of `post`.
        """
        headers = {**_HEADERS, "Accept-Encoding": "identity", "Range": "bytes=0-0"}
        call = _Call("GET", link.address, link.url, headers, receive=lambda blocks: next(iter(blocks), b""))
        return self._send(call, self.timeouts.whole)

    def _send(self, call: _Call, seconds: float, scope: CancelScope | None = None) -> Answer:
        for is_last in (False, True):
            guard = Guard(seconds, scope or self.scope, fresh=is_last, silence=self.timeouts.read)
            failure: RemoteError | None = None
            current.route = None  # the guard may fail before there is one
            try:
                with guard:
                    current.guard, current.account = guard, call.account
                    return self._exchange(call)
            except (*LIBRARIES, BrokenOffBodyError) as raised:
                error = raised.error if isinstance(raised, BrokenOffBodyError) else raised
                was_closed = guard.reused and not (guard.cancellation.is_done or find(error, TIMEOUTS))
                if is_last or not was_closed or not call.may_repeat:
                    failure = explain(error, guard, call.address, self._wall_clock, current.route)
            except BaseException as raised:
                # The libraries' frames hold the request, and so the password.
                raised.__traceback__ = without_libraries(raised.__traceback__)
                raise
            finally:
                current.guard = current.account = current.route = None
            if failure is not None:
                # Not within `except`, nor with the libraries' errors: these hold the request, too.
                raise failure from cause_of(guard)
        raise AssertionError

    def _exchange(self, call: _Call) -> Answer:
        with self._open(call) as response:
            if call.receive is None or response.status_code != OK:
                content = read_whole(response, call.address, call.largest, call.rate)
            else:
                content = b""
                _hand_on(read_file(response, call.address, call.rate), call.receive)
        return Answer(response.status_code, response.headers, content)

    def _open(self, call: _Call) -> requests.Response:
        proxy = proxy_for(call.url)
        if proxy is not None and proxy.wrong is not None:
            raise UnreachableError(proxy.wrong)
        is_link = call.account is None
        # A proxy looks the name up itself.
        if is_link and proxy and call.host != urlsplit(self.address).hostname and leads_near(call.host):
            raise StrayError
        current.route = Route(is_link, proxy, self._met)
        timeout = (self.timeouts.connect, self.timeouts.read)
        proxies = {} if proxy is None else {urlsplit(call.url).scheme: proxy.address}
        return self._session.request(
            call.method, call.url, data=call.body, headers=call.headers, stream=True, timeout=timeout, proxies=proxies
        )


def _hand_on(blocks: Iterator[bytes], receive: Receive) -> None:
    try:
        receive(blocks)
    except OSError as error:
        raise FileFailedError(error) from error
