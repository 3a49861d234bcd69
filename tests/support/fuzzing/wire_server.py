"""A server on a thread that answers each request with the bytes that it was given for its path, whatever they are."""

import socket
import threading
from contextlib import suppress

_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False


class WireServer:
    """Listens on a port of its own; `answers` maps the beginnings of paths to `(bytes, whether to close then)`."""

    def __init__(self):
        """Listen; nothing is there yet."""
        self.answers = {}
        self.requests = []
        """the paths that were asked for, with their whole bodies"""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._talks = {}
        self._thread = threading.Thread(target=self._accept, name="wire server", daemon=True)
        self._thread.start()

    def close(self):
        """End all connections, and wait for the threads."""
        _cut(self._socket)
        self._thread.join()
        for connection, talk in list(self._talks.items()):
            _cut(connection)
            talk.join()
        self._socket.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._talks = {each: talk for each, talk in self._talks.items() if talk.is_alive()}
            talk = threading.Thread(target=self._talk, args=(connection,), name="wire talk", daemon=True)
            self._talks[connection] = talk
            talk.start()

    def _talk(self, connection):
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while request := stream.readline():
                path, length = request.split(b" ")[1].decode("latin-1"), 0
                while line := stream.readline().strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                if len(stream.read(length)) < length:
                    return
                self.requests.append(path)
                answer, closes = next(
                    (one for start, one in self.answers.items() if path.startswith(start)), _NOT_THERE
                )
                connection.sendall(answer)
                if closes:
                    return


def _cut(sock):
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
