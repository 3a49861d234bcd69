"""Translate errors of requests, urllib3 and the system into RemoteError, in words for people and without secrets."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import requests
import urllib3

from sticky_pi_api.exceptions import (
    BrokenOffError,
    CertificateError,
    ClockNotSetError,
    NotAnAPIError,
    RemoteError,
    StrayLinkError,
    UnreachableError,
    printable,
)
from sticky_pi_api.transport.addresses import StrayError
from sticky_pi_api.transport.cancellation import Guard
from sticky_pi_api.transport.connections import Route
from sticky_pi_api.types import EARLIEST

LONG_SILENCE: Final = 5.0
"""Seconds of silence after which a cancelled request is reported as unanswered"""

LIBRARIES = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, UnicodeError)
"""All errors that the libraries and the system raise about a request"""

_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_…

_DISTRUSTED = ssl.SSLCertVerificationError, urllib3.util.ssl_match_hostname.CertificateError
_NO_HTTP = (
    *(http.client.BadStatusLine, http.client.LineTooLong, http.client.UnknownProtocol),
    *(urllib3.exceptions.HeaderParsingError, urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError),
)
TIMEOUTS = TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout

_SAYINGS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (socket.gaierror, "its name isn't known, or no name server answers: is there a network?"),
    (urllib3.exceptions.LocationParseError, "that is no host's name"),
    ((requests.exceptions.InvalidURL, UnicodeError), "that is no host's name"),
    ((requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL), "the proxy on the way doesn't let it pass"),
    (ConnectionRefusedError, "it refuses connections: is it running, and is the port right?"),
    (TIMEOUTS, "it doesn't answer"),
    (ssl.SSLEOFError, "it broke the connection off"),
    (ssl.SSLError, "what answers there doesn't speak TLS as it should"),
    ((ConnectionResetError, BrokenPipeError, ConnectionAbortedError), "it broke the connection off"),
    (http.client.HTTPException, "it broke the connection off"),
)


def explain(
    error: Exception, guard: Guard, address: str, clock: Callable[[], float], route: Route | None = None
) -> RemoteError:
    """Return an error as a RemoteError without secrets, which names the proxy on the route."""
    if guard.cancellation.is_done:
        return _explain_end(guard, address)
    if find(error, StrayError) or find(guard.cause, StrayError):
        return StrayLinkError(f"{address} leads to this machine or its own network, where the server isn't")
    refusal = find(error, _DISTRUSTED) or find(guard.cause, _DISTRUSTED)
    if refusal is not None:
        return _explain_certificate(refusal, address, clock)
    # A status line that doesn't come is a connection that ended, whatever it is derived from.
    no_http = find(error, _NO_HTTP)
    if no_http is not None and not isinstance(no_http, http.client.RemoteDisconnected):
        return NotAnAPIError(f"{address} answers, but not as a web server does")
    through = f" through the proxy {route.proxy}" if route is not None and route.proxy is not None else ""
    return UnreachableError(f"{address} can't be reached{through}: {_say(error, guard.cause)}")


def _explain_end(guard: Guard, address: str) -> RemoteError:
    if guard.silent_for >= LONG_SILENCE:
        return UnreachableError(f"{address} doesn't answer (waited {guard.silent_for:.0f} s)")
    if guard.expired:
        return UnreachableError(f"{address} took longer than the {guard.deadline.seconds:.0f} s that it gets for this")
    return BrokenOffError(f"the request to {address} was broken off")


def cause_of(guard: Guard) -> BaseException | None:
    """Return the system's error from connecting, without its traceback and the errors behind it."""
    found = find(guard.cause, OSError)
    if found is not None:
        found.__cause__ = found.__context__ = None
        found = found.with_traceback(None)
    return found


def _explain_certificate(error: BaseException, address: str, clock: Callable[[], float]) -> RemoteError:
    now = datetime.fromtimestamp(clock(), UTC).replace(tzinfo=None)
    it_is = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    code = getattr(error, "verify_code", None)
    if code == _NOT_YET_VALID:
        is_set = "is not set" if now < EARLIEST else "is slow or not set"
        return ClockNotSetError(
            f"the trap's clock {is_set}: it says {it_is}, when the certificate of {address} isn't valid yet"
        )
    if code == _EXPIRED:
        why = f"it has expired, if the trap's clock is right that it is {it_is}"
    else:
        why = printable(str(getattr(error, "verify_message", error))).rstrip(".")
    return CertificateError(f"the certificate of {address} can't be trusted, so nothing was sent: {why}")


def _say(error: Exception, cause: Exception | None) -> str:
    for kinds, saying in _SAYINGS:
        if find(error, kinds) or find(cause, kinds):
            return saying
    reason = find(cause, OSError) or find(error, OSError)
    return printable(getattr(reason, "strerror", None) or "the connection failed")


def find(
    error: BaseException | None, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> BaseException | None:
    """Return the first error of these kinds among an error, its causes, contexts and arguments; None without one."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, kinds):
            return one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None
