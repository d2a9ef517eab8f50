"""The two back ends a conformance test runs on, behind one face."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.waiting import OnLoop
from dagnats.memory.world import World
from dagnats.ports import Append, Delivery, FactFeed, Outside
from dagnats.wire import subjects

DEADLINE_S = 20.0
TICK_MS = 20
DRAIN_MAX = 10_000


def unique(word: str) -> str:
    """A name no other test uses: tests share a server."""
    return f"{word}-{uuid.uuid4().hex[:10]}"


class Deployment:
    """Opens processes of one deployment, and lets time pass while a condition is awaited."""

    def __init__(self) -> None:
        self.opened: list[Outside] = []

    async def open(self, name: str = "process") -> Outside:
        """One more process."""
        process = await self._open(name)
        self.opened.append(process)
        return process

    async def _open(self, name: str) -> Outside:
        raise NotImplementedError

    async def tick(self) -> None:
        """Let a moment pass."""
        await asyncio.sleep(0.005)

    def wall_ms(self) -> int:
        """The time that stored messages bear, about."""
        return time.time_ns() // 1_000_000

    async def until(self, condition: Callable[[], Any]) -> Any:
        """The condition's value once it is true; fails after a generous time."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            await self.tick()
        pytest.fail(f"not within {DEADLINE_S} s: {inspect.getsource(condition).strip()}")

    async def close(self) -> None:
        """End what the test left open."""
        for process in self.opened:
            await process.close()


class InMemory(Deployment):
    """A world on a virtual clock; waiting is on the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.world = World(self.clock)

    async def _open(self, name: str) -> Outside:
        return Memory(self.world, name, OnLoop())

    async def tick(self) -> None:
        """Time jumps; whoever waits on the loop gets a turn."""
        self.clock.advance(TICK_MS)
        self.world.fire_due()
        await asyncio.sleep(0)

    def wall_ms(self) -> int:
        """Virtual."""
        return self.clock.wall_ms()


class OnServer(Deployment):
    """A real server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        try:  # an import error inside of it is not an excuse
            found = importlib.util.find_spec("dagnats.jetstream.outside")
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip("dagnats.jetstream.outside is not there")
        self._kind = importlib.import_module("dagnats.jetstream.outside").JetStream

    async def _open(self, name: str) -> Outside:
        return await self._kind.open(self.url, name=name)


def fact(process: Outside, run: str, payload: bytes = b"{}", **rest: Any) -> Append:
    """A client's fact about a run."""
    place = subjects.partition_of(run, process.log.partitions)
    author = rest.pop("author", "client")
    return Append(subjects.fact(place, run, author), payload, **rest)


def dispatch(process: Outside, run: str, task: str, group: str = "", **rest: Any) -> Append:
    """A dispatch of a run to a task's workers."""
    place = subjects.partition_of(run, process.log.partitions)
    payload = rest.pop("payload", b"{}")
    return Append(subjects.task(place, run, task, group), payload, **rest)


async def clean_feed(process: Outside, run: str) -> FactFeed:
    """A feed of the run's partition that has nothing of earlier tests in it."""
    place = subjects.partition_of(run, process.log.partitions)
    marker = Append(subjects.fact(place, unique("marker"), "client"), b"{}")
    stored = await process.log.append([marker])
    feed = await process.feed(place)
    await feed.rewind()
    for _ in range(DRAIN_MAX):
        for each in await feed.next(500):
            if each.seq == stored[0].seq:
                await feed.acknowledge(each)
                return feed
    pytest.fail(f"the marker of partition {place} never came")


async def take(feed: FactFeed, count: int) -> list[Delivery]:
    """The next so many facts, however they are batched."""
    taken: list[Delivery] = []
    for _ in range(count + int(DEADLINE_S)):
        if len(taken) >= count:
            break
        taken += await feed.next(count - len(taken))

    assert len(taken) == count
    return taken
