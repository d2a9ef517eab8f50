"""DagNats: ``python -m tests.bench.peers.ours URL RUNS``; a scheduler and a worker of ``tests.bench.tasks`` are up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from dagnats.client import Client
from dagnats.jetstream.outside import JetStream
from tests.bench.peers.workloads import PAYLOAD, measure
from tests.bench.tasks import app


class DagNats:
    """Through the client, on a loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        self._loop = loop
        self._client = client

    def _do(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    async def _run(self, workflow: str, given: object) -> Any:
        handle = await self._client.start(app.workflows()[workflow], given)
        return await handle.result(120)

    def chain(self, steps: int) -> Callable[[], object]:
        """Runs that are started are tasks: they are on their way when somebody waits."""
        begun = self._loop.create_task(self._run(f"chain-{steps}", PAYLOAD))
        return lambda: self._do(begun)

    def items(self, count: int) -> None:
        """A map."""
        self._do(self._run("each", [PAYLOAD] * count))

    def turns(self, count: int) -> None:
        """An agent loop."""
        self._do(self._run("spin", count))

    def clock(self) -> float:
        """A task alone."""
        return self._do(self._run("clock", PAYLOAD))


def main(url: str, runs: int) -> None:
    """Connect, and measure."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    outside = loop.run_until_complete(JetStream.open(url, name="bench", ensure=False))
    measure(DagNats(loop, Client(outside)), runs)
    loop.run_until_complete(outside.close())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
