"""The front, as nginx is one: connections, bodies, compression; it hands whole requests on to a worker."""

import gzip
import os
import socket
import socketserver
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

from .bundles import PREFIX as BUCKET
from .objects import PREFIX, object_answer
from .upload import PATH, Upload, read_upload
from .wire import JSON, REFUSED, Request, page

_COMPRESSED_FROM = 1000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LINGERING = 5.0
"""Seconds that a refused body's sender has, to stop sending and read the answer"""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer goes out in one piece

    def setup(self):
        super().setup()
        self._number = self.server.register(self.connection)

    def finish(self):
        self.server.unregister(self.connection)
        super().finish()

    def handle_one_request(self):
        self.connection.settimeout(self.server.site.options.idle)
        super().handle_one_request()

    def handle_expect_100(self):
        # Not before the size is known to be acceptable.
        return True

    def version_string(self):
        return "nginx"

    def log_message(self, *_):
        """Leave the talking to the ledger."""

    def _serve(self):
        site = self.server.site
        if site.mode.name == "down":  # accepted at the last moment
            self.close_connection = True
            return
        if early := self._early_answer():
            request = self._request(b"", whole=False)
            site.ledger.add(request, early.status)
            self.close_connection = True
            self._send(request, early)
            if site.mode.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                os.close(self.connection.detach())
            else:
                self._linger()
            return
        request = self._receive()
        upload = read_upload(request, site.store) if request.path == PATH else Upload()
        if not request.whole:
            site.ledger.add(request, None, upload)
            self.close_connection = True
        elif answer := site.mode.instead(request.path, len(request.body)):
            site.ledger.add(request, answer.status, upload)
            self._send(request, answer)
        elif request.path.startswith(PREFIX):
            answer = object_answer(request, site.store)
            site.ledger.add(request, answer.status)
            self._send(request, answer)
        elif request.path.startswith(BUCKET):
            answer = site.bundles.answer_storage(request)
            site.ledger.add(request, answer.status)
            self._send(request, answer)
        else:
            self._send(request, self._work(request, upload))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # the names are http.server's

    def _early_answer(self):
        """Return the answer to a head that is refused before its body; None to one that isn't."""
        if "Transfer-Encoding" in self.headers:
            return REFUSED
        if self.headers.get("Content-Encoding", "identity") != "identity":
            return page(400)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            return page(400)
        site = self.server.site
        if int(length) > site.options.largest_body:
            return page(413)
        return site.mode.early_answer(self.path, int(length))

    def _receive(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        length = int(self.headers.get("Content-Length", "0"))
        self.connection.settimeout(self.server.site.options.body_stall)
        pieces = []
        missing = length
        try:
            while missing and (piece := self.rfile.read1(min(missing, 0x10000))):
                pieces.append(piece)
                missing -= len(piece)
        except OSError:  # it stalled, or was broken off
            pass
        return self._request(b"".join(pieces), whole=not missing)

    def _request(self, body, *, whole):
        peer = "{}:{}".format(*self.client_address)
        return Request(self._number, peer, self.command, self.path, self.headers, body, whole)

    def _work(self, request, upload):
        """Return what a worker answers, once it does."""
        site = self.server.site
        worker = site.workers.take()
        if worker is None:
            site.ledger.add(request, 504, upload)
            return page(504)
        answer = None
        try:
            is_well = site.workers.reaches_database(worker)
            answer = site.api.answer(request, upload, site.mode) if is_well else REFUSED
            site.ledger.add(request, answer.status, upload)
            time.sleep(answer.delay)
        finally:
            if answer and answer.kills_worker:
                site.workers.kill(worker)
            else:
                site.workers.give_back(worker)
        return answer

    def _send(self, request, answer):
        body = answer.body
        self.send_response(answer.status)
        if (
            answer.content_type == JSON
            and len(body) > _COMPRESSED_FROM
            and "gzip" in request.headers.get("Accept-Encoding", "")
        ):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        for name, value in (*answer.headers, ("Content-Type", answer.content_type), ("Content-Length", len(body))):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _linger(self):
        """Read what is still being sent: closing at once would reset the connection before the answer is read."""
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGERING
        self.connection.settimeout(_LINGERING)
        while self.rfile.read1(0x10000) and time.monotonic() < deadline:
            pass


class Front(socketserver.ThreadingTCPServer):
    """A listening port and its connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, site, host, port):
        """Listen on a port of an address (0 for any that is free); `start` answers."""
        self.site = site
        self._open = set()
        super().__init__((host, port), Handler)

    def start(self):
        """Begin to answer; returns at once."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def register(self, connection):
        """Return the connection's number, and remember it until `unregister`."""
        self._open.add(connection)
        return next(self.site.connection_numbers)

    def unregister(self, connection):
        """Forget a connection that ends."""
        self._open.discard(connection)

    def close(self):
        """Refuse connections from here on, and break off those that are open."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has just ended
                continue

    def handle_error(self, request, client_address):
        """Let a client go away when it likes; everything else is a mistake in here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
