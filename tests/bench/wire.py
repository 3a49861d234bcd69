"""What goes over the wire for each picture of a backlog, beside the picture itself: HTTP, TLS and the questions.

    python tests/bench/wire.py [--pictures N]

A `drain` sends pictures of 2 MB that were taken in before to an HTTPS server; all that passes through its TCP
connections is counted, both ways. What one picture takes is left out: the handshake and the login are in that.
"""

import socket
import threading
from contextlib import suppress

from benchmark import Row, main, uploader
from https_server import PASSWORD, https_server
from padding import padded
from pictures import put, small

SIZE = 2_000_000
NOWHERE = "http://127.0.0.1:9"


def rows(folder, pictures=40):
    (one, own), (many, all_own) = (_passed(folder / str(number), number) for number in (1, pictures))
    share = (many - one) / (all_own - own) - 1
    yield Row("a picture of a backlog: on the wire", 100 * share, 0.3, "%", "over its 2 MB; HTTPS, handshake apart")


def _passed(folder, pictures):
    """Return the bytes that pass for so many pictures, and those of the pictures."""
    blobs = [padded(small(0), SIZE, number) for number in range(pictures)]
    for number, blob in enumerate(blobs):
        put(folder / "images", number, blob)
    with https_server(folder) as server, Relay(server.front.port) as relay:
        config = folder / "config.toml"
        # A second connection would have a handshake of its own.
        config.write_text(f"[api]\nca_file = '{server.ca_file}'\nparallel = 1\n")
        drain = ["drain", "--image-dir", folder / "images", "--config", config, "--username", "trap"]
        uploader(*drain, "--api-url", NOWHERE, "--deadline", 60, statuses=(75,), **PASSWORD)
        uploader(*drain, "--api-url", f"https://localhost:{relay.port}", **PASSWORD)
        return relay.passed, sum(map(len, blobs))


class Relay:
    """Passes TCP connections on to a port of this machine, and counts their bytes, inside `with`."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.port = self._listening.getsockname()[1]
        self.passed = 0

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._upstream))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        # Either end may close first.
        with one, suppress(OSError):
            while block := one.recv(65536):
                with self._lock:
                    self.passed += len(block)
                other.sendall(block)


if __name__ == "__main__":
    main(rows, __doc__, pictures=40)
