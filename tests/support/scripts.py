"""Servers of a few lines, for answers that no real one gives, and what asks them."""

import socket
import threading
from contextlib import suppress

from sticky_pi_api.transport.credentials import Account


def ask(http, body=b"[]", **more):
    return http.post(
        "/get_images/metadata",
        body,
        account=Account.of("user", "pass"),
        content_type="application/json",
        **{"largest": 2**20, **more},
    )


def says(content, status="200 OK", *headers):
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
    return lambda connection: connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)


def first_bytes(connection):
    """Read a request's head, and its body where that is short."""
    received = connection.recv(65536)
    while b"\r\n\r\n" in received and b"\r\nContent-Length: 2\r\n" in received and not received.endswith(b"\r\n\r\n[]"):
        received += connection.recv(65536)
    return received


class ScriptedServer:
    """Serves connections one after the other on a thread, each by a script that says something, inside `with`."""

    def __init__(self, *scripts, address="127.0.0.1"):
        """Listen; `port` and `requests` are there at once."""
        self._scripts = scripts
        self._stop = threading.Event()
        self._server = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._thread = threading.Thread(target=self._serve)
        self.port = self._server.getsockname()[1]
        self.requests = []

    def __enter__(self):
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Stop."""
        self._stop.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self):
        for script in self._scripts:
            with suppress(OSError):
                connection, _ = self._server.accept()
                with connection:
                    self.requests.append(first_bytes(connection))
                    script(connection)
        self._stop.wait(10)
