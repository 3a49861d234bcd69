"""Send requests to one server and to the hosts of its links, each with a deadline, over connections that are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from sticky_pi_api.exceptions import RemoteError, UnreachableError
from sticky_pi_api.filesystem.safe_open import FileFailedError
from sticky_pi_api.transport.addresses import StrayError, leads_near
from sticky_pi_api.transport.cancellation import CancelScope, Guard, Timeouts
from sticky_pi_api.transport.connections import Route, Session, current, tls_context
from sticky_pi_api.transport.credentials import Account, SignedUrl, without_libraries
from sticky_pi_api.transport.errors import LIBRARIES, TIMEOUTS, cause_of, explain, find
from sticky_pi_api.transport.proxies import proxy_for
from sticky_pi_api.transport.response_body import BrokenOffBodyError, read_file, read_whole
from sticky_pi_api.transport.status_codes import LARGEST_ANSWER, OK, Answer

if TYPE_CHECKING:
    import requests

_LARGEST_OTHER: Final = 2**20
"""Largest decompressed answer of the host behind a link, in bytes, where it isn't the file"""

Receive = Callable[[Iterator[bytes]], object]
"""Take the blocks of a response's body, from its start"""


class Body(Protocol):
    """A request's body that is produced while it is sent."""

    @property
    def may_repeat(self) -> bool:
        """Whether the body may be sent from its start again, on another connection, without harm."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class _Call(NamedTuple):
    """One request, and the response that it expects."""

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
    """lowest rate of the response's body, in bytes a second"""
    largest: int = _LARGEST_OTHER
    """largest decompressed body, in bytes, that is read where `receive` doesn't take it"""


class Http:
    """Send requests to one server, and to the hosts of its links, from any number of threads."""

    def __init__(
        self,
        address: str,
        *,
        ca_file: str | None = None,
        connections: int = 8,
        lowest_rate: float = math.inf,
        timeouts: Timeouts | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare for the server at `address`, `http[s]://host[:port]`, without connecting to it.

        At most `connections` connections are kept. `ca_file` has the certificates to trust instead of the system's. A
        body gets as much time as it needs at `lowest_rate` bytes a second. Raises CertificateError where the
        certificates can't be read.
        """
        self.address = address
        self.timeouts = timeouts or Timeouts()
        self._lowest_rate = lowest_rate
        self.wall_clock = wall_clock
        self.scope = CancelScope()
        """contains all requests"""
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
        account: Account,
        content_type: str = "application/json",
        *,
        largest: int = LARGEST_ANSWER,
        seconds: float = 0.0,
        is_question: bool = False,
        scope: CancelScope | None = None,
    ) -> Answer:
        """Send the server a request, and return its answer, whatever the status.

        The request gets `seconds` more than the time for its body. The answer may have at most `largest` bytes,
        decompressed. A request that `is_question` gets less time at first, and more as its answer arrives. If a kept
        connection turns out to be closed, the request is sent again on a new one, unless its body may not be repeated.

        Raises UnreachableError, NotAnAPIError (also AnswerTooLargeError), BrokenOffError, and the errors of `body`.
        """
        base, rate = self.timeouts.whole, math.inf
        if is_question:
            base, rate = min(base, self.timeouts.question), self._lowest_rate
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if len(body):
            headers["Content-Type"] = content_type
        call = _Call("POST", self.address, self.address + path, headers, body, account, rate=rate, largest=largest)
        return self._send(call, base + seconds, scope)

    def post_form(self, link: SignedUrl, body: Body, content_type: str) -> Answer:
        """Send a form to a link, without credentials; otherwise as `post`."""
        headers = {"Accept-Encoding": "identity", "Content-Type": content_type}
        return self._send(_Call("POST", link.address, link.url, headers, body), self.timeouts.whole)

    def get(self, link: SignedUrl, receive: Receive) -> Answer:
        """Get the file behind a link, without credentials; `receive` takes its blocks as they arrive.

        The request ends where the file arrives at less than the lowest rate. An answer with another status than 200 is
        returned instead. Where a connection breaks, `receive` may be called again, from the start. Raises the errors
        of `post`, and FileFailedError for an OSError of `receive`.
        """
        headers = {"Accept-Encoding": "identity"}
        call = _Call("GET", link.address, link.url, headers, receive=receive, rate=self._lowest_rate)
        return self._send(call, self.timeouts.whole)

    def peek(self, link: SignedUrl) -> Answer:
        """Get the first byte of the file behind a link, without credentials: the answer's headers describe the file.

        Links are signed for GET alone, so that HEAD would be refused. Raises the errors of `post`.
        """
        headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
        call = _Call("GET", link.address, link.url, headers, receive=lambda blocks: next(iter(blocks), b""))
        return self._send(call, self.timeouts.whole)

    def _send(self, call: _Call, seconds: float, scope: CancelScope | None = None) -> Answer:
        seconds += len(call.body) / self._lowest_rate
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
                if is_last or not was_closed or not (isinstance(call.body, bytes) or call.body.may_repeat):
                    failure = explain(error, guard, call.address, self.wall_clock, current.route)
            except BaseException as raised:
                # The libraries' frames hold the request, and so the password.
                raised.__traceback__ = without_libraries(raised.__traceback__)
                raise
            finally:
                current.guard = current.account = current.route = None
            if failure is not None:
                # Neither within `except` nor with the libraries' errors: these hold the request, too.
                raise failure from cause_of(guard)
        raise AssertionError

    def _exchange(self, call: _Call) -> Answer:
        with self._open(call) as response:
            if call.receive is None or response.status_code != OK:
                content = read_whole(response, call.address, call.largest, call.rate)
            else:
                content = b""
                try:
                    call.receive(read_file(response, call.address, call.rate))
                except OSError as error:
                    raise FileFailedError(error) from error
        return Answer(response.status_code, response.headers, content)

    def _open(self, call: _Call) -> requests.Response:
        proxy = proxy_for(call.url)
        if proxy is not None and proxy.problem is not None:
            raise UnreachableError(proxy.problem)
        is_link, parts = call.account is None, urlsplit(call.url)
        host = parts.hostname or ""
        # The proxy looks the name up itself.
        if is_link and proxy and host != urlsplit(self.address).hostname and leads_near(host):
            raise StrayError
        current.route = Route(is_link, proxy, self._met)
        return self._session.request(
            call.method,
            call.url,
            data=call.body,
            headers={"User-Agent": "sticky-pi-uploader", **call.headers},
            stream=True,
            timeout=(self.timeouts.connect, self.timeouts.read),
            proxies={} if proxy is None else {parts.scheme: proxy.address},
        )
