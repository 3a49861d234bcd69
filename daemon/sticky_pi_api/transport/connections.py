"""Adapt the sessions and connections of requests and urllib3, so that each obeys the guard of its current request.

Certificates are always verified, by one TLS context for all connections: loading the certificates takes long.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
import warnings
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sticky_pi_api.exceptions import CertificateError, printable
from sticky_pi_api.transport.addresses import connect, is_near
from sticky_pi_api.transport.proxies import Proxy

IDLE: Final = 45.0
"""Seconds after which a kept connection isn't used again: servers close theirs after 60 to 65."""

current = threading.local()
"""The thread's current request: its `guard`, its `route`, and its `account` or None"""

_INTERIM: Final = 101, 199
"""Statuses above the first and up to the last are interim responses that precede the real one: 102, 103"""

# ClockNotSetError reports the same, and not on stderr.
warnings.simplefilter("ignore", urllib3.exceptions.SystemTimeWarning)


class Route(NamedTuple):
    """The addresses that a request may go to, and the known ones of its server."""

    is_link: bool
    """whether the request follows a link instead of going to the server itself"""
    proxy: Proxy | None
    met: set[str]
    """addresses of the server itself, from all requests to it"""

    def admits(self, address: str) -> bool:
        """Return whether the request may go to an address."""
        return not self.is_link or self.proxy is not None or address in self.met or not is_near(address)

    def meet(self, address: str) -> None:
        """Record the address of a new connection to the server itself."""
        if not self.is_link and self.proxy is None:
            self.met.add(address)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates in a file, or the system's. Raises CertificateError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        why = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "it holds no certificates"
        raise CertificateError(f"the file of certificates {printable(str(ca_file))} can't be used: {why}") from None
    if str(getattr(urllib3, "__version__", "")).startswith("1."):
        # Version 1 gives OpenSSL no address to compare, and compares names itself if told so.
        context.check_hostname = False
    paths = ssl.get_default_verify_paths()
    if ca_file is None and paths.cafile is None and paths.capath is None:
        context.load_verify_locations(requests.certs.where())
    return context


class _Response(http.client.HTTPResponse):
    """A response, read past the interim responses before it."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            # http.client skips 100 only.
            if not _INTERIM[0] < status <= _INTERIM[1]:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Connection(HTTPConnection):
    """A connection that reports to the guard of the current request when it waits, and on which socket."""

    response_class = _Response
    _raw: socket.socket | None = None
    _peer = ""
    kept = False
    """whether it was used for an earlier request"""
    used_at = 0.0

    def _new_conn(self) -> socket.socket:
        self.kept = False
        try:
            seconds, admits = float(self.timeout or IDLE), current.route.admits
            self._raw = connect(current.guard, self._dns_host, self.port or 80, seconds, admits)
            with suppress(OSError):  # it was reset already
                self._peer = self._raw.getpeername()[0]
        except (ConnectionResetError, BrokenPipeError) as error:
            # After these urllib3 2 looks for an answer, on a connection that isn't there: an AttributeError.
            raise ConnectionAbortedError from error
        return self._raw

    def connect(self) -> None:
        """Connect, and keep the error if that fails."""
        try:
            with current.guard.waiting():
                super().connect()
                if self._raw is not None:
                    current.route.meet(self._peer)
        except Exception as error:
            current.guard.cause = error
            if self._raw is not None and self._raw.fileno() >= 0:
                # After a proxy's refusal it would stay open until the next garbage collection.
                os.close(self._raw.detach())
            if isinstance(error, ConnectionResetError | BrokenPipeError):
                # As above, with a proxy or TLS.
                raise ConnectionAbortedError(*error.args) from error
            raise

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Begin a request."""
        if self.kept and self.sock is not None:
            current.guard.reused = True
            current.guard.cancellation.watch(getattr(self.sock, "socket", self.sock))
        super().request(*args, **kwargs)

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """End a request's head with its credentials: added here, they are in no object of the libraries."""
        if current.account is not None:
            self.putheader("Authorization", current.account.header)
        super().endheaders(*args, **kwargs)

    def send(self, data: Any) -> None:
        """Send a part of a request."""
        if self.sock is not None:
            self.sock.settimeout(current.guard.silence)
        try:
            with current.guard.waiting():
                super().send(data)
        except ConnectionResetError as error:
            # The answer may have come already, such as 413: after this error, every version of urllib3 reads it.
            raise BrokenPipeError(*error.args) from error

    def getresponse(self) -> Any:
        """Return the response as soon as its head is there."""
        with current.guard.waiting():
            return super().getresponse()


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    """Connections to one host; one that was idle for so long that the host may close it isn't used again."""

    ConnectionCls = _Connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if connection.sock is None or not (current.guard.fresh or time.monotonic() - connection.used_at > IDLE):
            return connection
        connection.close()
        return self._new_conn()

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.kept = True
            conn.used_at = time.monotonic()
        super()._put_conn(conn)


class _SecurePool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Session(requests.Session):
    """A session that follows no redirect, keeps no cookie, and takes neither proxies nor `.netrc` from the environment.

    It never changes, so that any number of threads may use it; at most `connections` connections are kept.
    """

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.clear()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(context, connections)
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would decompress the whole answer of a redirect, of any size."""


class _Adapter(HTTPAdapter):
    """The adapter of requests, with the pools above and one TLS context for all connections."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=2, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self._use_ours(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        self._use_ours(manager)
        return manager

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Require a valid certificate."""
        # The context has the trusted certificates. Otherwise each connection would add those of requests, or the
        # system's, which are the default of Debian's urllib3: trusted beside those of a file, and slow to load.
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None

    @staticmethod
    def _use_ours(manager: Any) -> None:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
