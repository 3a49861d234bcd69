"""The proxy itself: its port, its connections, and the TLS in front of them."""

import asyncio
import socket
import ssl
import struct
from collections import Counter
from dataclasses import dataclass

from .exchange import Exchange, StruckError
from .faults import Plan, Rule
from .link import Lane, Line
from .messages import read_head

_SMALL_BUFFER = 0x10000
"""Bytes; with the system's own sizes a client would be rid of whole pictures before the link had taken any of them"""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the proxy is and does."""

    upstream: int
    """the server's port on 127.0.0.1"""
    port: int = 0
    certificate: str | None = None
    """a file with the key and certificate to speak TLS with; these three can't be changed while it runs"""
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    delay: float = 0.0
    """seconds of a round trip; a new connection costs one more, with TLS two"""
    rate_up: float | None = None
    rate_down: float | None = None
    """bytes/s of all connections together"""
    idle: float | None = None
    """seconds until an idle connection is closed, without a word"""
    deaf: bool = False
    """accept connections (as the kernel does) and never say or read anything"""

    @classmethod
    def from_json(cls, values):
        """Return the settings that `dataclasses.asdict` and JSON made `values` of."""
        return cls(**{**values, "rules": tuple(Rule.from_json(rule) for rule in values["rules"])})


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the two ends that the proxy talks to."""

    reader: asyncio.StreamReader
    line: Line

    def reset(self):
        """End the connection the hard way."""
        transport = self.line.writer.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


class Proxy:
    """Accepts connections until its event loop ends."""

    def __init__(self, settings):
        """Bind the port."""
        self._listening = socket.create_server(("127.0.0.1", settings.port), backlog=256)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self.port = self._listening.getsockname()[1]
        self._tls = None
        if settings.certificate:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(settings.certificate)
        self.counts = Counter()
        self._up, self._down = Lane(), Lane()
        self.apply(settings)

    def apply(self, settings):
        """Go on with other settings; the rules and the counts begin anew."""
        self._settings = settings
        self.counts.clear()
        self._plan = Plan(settings.rules, settings.seed)
        self._up.shape(settings.rate_up, settings.delay / 2)
        self._down.shape(settings.rate_down, settings.delay / 2)

    async def accept(self):
        """Serve every connection; they are tasks of their own."""
        loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        async with asyncio.TaskGroup() as connections:
            while True:
                connection, _ = await loop.sock_accept(self._listening)
                while self._settings.deaf:  # noqa: ASYNC110  # it is rarely so, and never for long
                    await asyncio.sleep(0.01)
                connections.create_task(self._serve(connection))

    async def _serve(self, connection):
        """Serve one connection until one of its ends, or a fault, ends it."""
        self.counts["connections"] += 1
        await asyncio.sleep(self._settings.delay * (2 if self._tls else 1))
        peers = []
        try:
            peers.append(await self._client(connection))
            upstream = await asyncio.open_connection("127.0.0.1", self._settings.upstream)
            peers.append(Peer(upstream[0], Line(upstream[1], self._up)))
            await self._exchanges(*peers)
            await peers[0].line.flush()
        except StruckError:
            for peer in peers:
                peer.reset()
        except (EOFError, OSError):
            pass
        finally:
            for peer in peers:
                peer.line.writer.close()

    async def _client(self, connection):
        """Return the client as a peer, after the TLS handshake if there is one."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        return Peer(reader, Line(asyncio.StreamWriter(transport, protocol, reader, loop), self._down))

    async def _exchanges(self, client, server):
        counted = set()
        go_on = True
        while go_on:
            head = await self._next_head(client, server)
            if head is None:
                return
            self.counts["requests"] += 1
            fault = self._plan.fault_for(head.path, counted)
            if fault:
                self.counts[f"fault_{fault.kind}"] += 1
            go_on = await Exchange(client, server, head, fault, self.counts).run()

    async def _next_head(self, client, server):
        """Return the next request's head; None when the connection was idle too long, or the server closed it."""
        request = asyncio.create_task(read_head(client.reader))
        # The server says nothing without being asked, so this ends only with its connection.
        ended = asyncio.create_task(server.reader.read(1))
        try:
            await asyncio.wait({request, ended}, timeout=self._settings.idle, return_when=asyncio.FIRST_COMPLETED)
            return request.result() if request.done() else None
        finally:
            for task in (request, ended):
                task.cancel()
            await asyncio.gather(request, ended, return_exceptions=True)
