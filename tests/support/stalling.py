"""A way to a nats-server on which nothing moves from a moment on, for a while, as if the server were stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.broker import Broker

_READ_MAX_BYTES = 65_536


class Stalling:
    """Stalls, once, when somebody sends what has ``at`` in it: connections stay open, new ones are not greeted."""

    def __init__(self, broker: Broker, at: bytes, seconds: float) -> None:
        self.url = ""
        self.over = asyncio.Event()
        self._target = broker.port
        self._at = at
        self._seconds = seconds
        self._moving = asyncio.Event()
        self._moving.set()
        self._open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection came."""
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def close(self) -> None:
        """Let go of every connection."""
        for task in self._open:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._moving.wait()
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [self._carry(reader, ours), self._carry(theirs, writer)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            writer.close()
            ours.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_MAX_BYTES):
            if self._at in data and not self.over.is_set() and self._moving.is_set():
                self._moving.clear()
                asyncio.get_running_loop().call_later(self._seconds, self._go_on)
            await self._moving.wait()
            writer.write(data)

    def _go_on(self) -> None:
        self.over.set()
        self._moving.set()


@asynccontextmanager
async def stalling(broker: Broker, at: bytes, seconds: float) -> AsyncIterator[Stalling]:
    """A way to this broker with a stall on it."""
    way = Stalling(broker, at, seconds)
    server = await asyncio.start_server(way.accept, "127.0.0.1", 0)
    way.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield way
    finally:
        way.close()
        server.close()
