"""A network's delay and rate, which all connections over it share."""

import asyncio
from collections import deque

_SLICE = 4096
_LEAST_BURST = 0.02
"""Seconds of the rate that are made up for when the event loop was late"""


class Lane:
    """One direction of the link: so many bytes a second for all connections together."""

    def __init__(self):
        """Begin as a perfect one."""
        self.latency = 0.0
        self._rate = None
        self._free_at = 0.0

    def shape(self, rate, latency):
        """Set the rate in bytes/s, None for any, and the latency in seconds."""
        self._rate = rate
        self.latency = latency

    async def occupy(self, size):
        """Wait until so many bytes have gone in."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _LEAST_BURST) + size / self._rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class Line:
    """One connection's share of a lane: what is sent reaches the writer later."""

    def __init__(self, writer, lane):
        """Send to `writer` over `lane`."""
        self.writer = writer
        self._lane = lane
        self._under_way = deque()

    async def send(self, data):
        """Send bytes; returns when they are on their way."""
        for start in range(0, len(data), _SLICE):
            piece = data[start : start + _SLICE]
            await self._lane.occupy(len(piece))
            self._under_way.append(piece)
            asyncio.get_running_loop().call_later(self._lane.latency, self._arrive)
        await self.writer.drain()

    async def flush(self):
        """Wait until all has arrived."""
        while self._under_way:  # noqa: ASYNC110  # the lane's latency says how long it may take
            await asyncio.sleep(self._lane.latency / 4)
        await self.writer.drain()

    def _arrive(self):
        piece = self._under_way.popleft()
        if not self.writer.is_closing():
            self.writer.write(piece)
