"""One request and its answer, passed on, with what goes wrong on the way."""

import asyncio
from contextlib import suppress

from .messages import read_body, read_head, write_answer

_LINGERING = 5.0
"""Seconds that a sender has to end a request that was answered before its end"""


class StruckError(Exception):
    """A fault ends both connections by a reset."""


class Way:
    """One direction of an exchange: counts the bytes, and lets the fault strike where it should."""

    def __init__(self, line, fault, count):
        """Send over `line`, or nowhere if that is None, with a `fault` or None; `count` is told the sizes."""
        self._line = line
        self._fault = fault
        self._count = count
        self._passed = 0

    async def send(self, data):
        """Pass bytes on, up to where the fault strikes.

        Raises StruckError.
        """
        fault = self._fault
        if fault and self._passed + len(data) > fault.at:
            clean = max(0, fault.at - self._passed)
            await self._pass(data[:clean])
            await self._strike(fault, data[clean:])
        else:
            await self._pass(data)

    async def _strike(self, fault, data):
        if fault.kind == "drip":
            for byte in data:
                await self._pass(bytes([byte]))
                await asyncio.sleep(1.0 if fault.seconds is None else fault.seconds)
            return
        if self._line:
            await self._line.flush()
        if fault.kind == "reset":
            raise StruckError
        await (asyncio.sleep(fault.seconds) if fault.seconds is not None else asyncio.Event().wait())
        self._fault = None
        await self._pass(data)

    async def _pass(self, data):
        self._passed += len(data)
        if self._line:
            self._count(len(data))
            await self._line.send(data)


class Exchange:
    """A request whose head has been read, between a client and a server (each a `Peer`)."""

    def __init__(self, client, server, head, fault, counts):
        """Keep what is needed; `counts` is a Counter of bytes and requests."""
        self._client = client
        self._server = server
        self._head = head
        self._fault = fault
        self._counts = counts

    async def run(self):
        """Pass the request and its answer on; return whether the connections are good for another exchange.

        Raises StruckError, and EOFError or OSError where one of the two ends went away.
        """
        kind = self._fault.kind if self._fault else None
        if kind == "silence":
            await self._swallow_request()
            await asyncio.Event().wait()
        if kind == "lose_answer":
            await self._pass_both(answer_to=None)
            return False
        if kind == "replace":
            await (self._pass_both(answer_to=None) if self._fault.forward else self._swallow_request())
            answer = write_answer(self._fault.status, self._fault.headers, self._fault.body)
            await self._way("down", self._client.line).send(answer)
            return True
        return await self._pass_both(answer_to=self._client.line) and kind != "hang_up"

    def _way(self, direction, line):
        fault = self._fault
        strikes = fault and fault.kind in ("reset", "stall", "drip") and fault.direction == direction
        return Way(line, fault if strikes else None, lambda size: self._counts.update({f"bytes_{direction}": size}))

    async def _pass_both(self, answer_to):
        """Pass both ways at once: an answer may come before the request's end."""
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(self._pass_request(self._way("up", self._server.line)))
                go_on = await group.create_task(self._pass_answer(self._way("down", answer_to)))
                if not go_on or self._head.body_length is None:
                    await asyncio.wait({up}, timeout=_LINGERING)
                    up.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return go_on

    async def _pass_request(self, way):
        await way.send(self._head.raw)
        async for piece in read_body(self._client.reader, self._head.body_length):
            # A server that has refused the request may have closed: its answer still has to reach the sender.
            with suppress(OSError):
                await way.send(piece)

    async def _swallow_request(self):
        async for _ in read_body(self._client.reader, self._head.body_length):
            pass

    async def _pass_answer(self, way):
        """Return whether the server keeps the connection."""
        head = await read_head(self._server.reader)
        await way.send(head.raw)
        if head.is_interim:
            return await self._pass_answer(way)
        without_body = self._head.start[0] == "HEAD" or head.start[1] in ("204", "304")
        async for piece in read_body(self._server.reader, 0 if without_body else head.body_length):
            await way.send(piece)
        return head.headers.get("Connection", "").lower() != "close"
