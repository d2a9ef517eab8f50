"""How a process waits for something to come: not at all (a simulator), or on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from dagnats.memory.world import World

TICK_MAX_MS = 50.0


class Waiter(Protocol):
    """Decides what an empty port does."""

    async def wait(self, ready: Callable[[], bool], wait_ms: float | None) -> bool:
        """Return once ``ready()``, or after a time (None: never); the answer is ``ready()``."""
        ...

    def wake(self) -> None:
        """Something changed in the world."""
        ...


class AtOnce:
    """Never waits, so that no coroutine of the memory adapters ever suspends."""

    async def wait(self, ready: Callable[[], bool], wait_ms: float | None) -> bool:
        """Answer at once."""
        return ready()

    def wake(self) -> None:
        """Nobody sleeps."""


class OnLoop:
    """Waits on the running event loop. Suspends only when there is nothing yet."""

    def __init__(self) -> None:
        self._asleep: set[asyncio.Future[None]] = set()

    async def wait(self, ready: Callable[[], bool], wait_ms: float | None) -> bool:
        """Sleep until the world changes in the wanted way, at most ``wait_ms`` of real time."""
        if ready():
            return True
        try:
            async with asyncio.timeout(None if wait_ms is None else wait_ms / 1000):
                while not ready():
                    await self._change()
        except TimeoutError:
            return ready()
        return True

    async def _change(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._asleep.add(woken)
        try:
            await woken
        finally:
            self._asleep.discard(woken)

    def wake(self) -> None:
        """Let everybody look again."""
        for future in self._asleep:
            if not future.done():
                future.set_result(None)


async def keep_time(world: World) -> None:
    """Let a world on a real clock do what falls due; run it as a task, end it by cancelling."""
    while True:
        world.fire_due()
        due_ms = world.until_due_ms()
        wait_ms = TICK_MAX_MS if due_ms is None else min(due_ms, TICK_MAX_MS)
        await asyncio.sleep(max(wait_ms, 1.0) / 1000)
