"""An event loop in virtual time: when everything waits, its clock jumps to whatever is due next.

Real time passes only in threads: as long as a plain handler runs in one, the clock stands still.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dagnats.clock import SystemClock
from dagnats.errors import DagNatsError
from dagnats.memory.clock import VirtualClock

T = TypeVar("T")

_THREADS_S = 0.002  # how long threads are waited for at a time
_STUCK_S = 0.05
_STUCK_MAX = 200  # times; then nothing will ever happen


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing but threads: it lets the loop jump instead."""

    def __init__(self, loop_of: Callable[[], VirtualLoop]) -> None:
        super().__init__()
        self._loop_of = loop_of
        self._stuck = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What has happened; when nothing has, time jumps by as much as all can wait."""
        happened = super().select(0)
        loop = self._loop_of()
        if happened or timeout == 0:
            self._stuck = 0
            return happened
        if loop.threads_at_work():
            return super().select(_THREADS_S)
        if loop.found_work():
            return []
        wait = loop.until_due_s(timeout)
        if wait is None:
            self._stuck += 1
            if self._stuck > _STUCK_MAX:
                raise DagNatsError("everything waits, and nothing will ever come: for what is it?")
            return super().select(_STUCK_S)
        self._stuck = 0
        loop.jump(wait)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. A sandbox that runs in it says what else there is to do, and when more is due."""

    def __init__(self) -> None:
        self.clock = VirtualClock(SystemClock().wall_ms())
        self.sandboxes: list[Any] = []
        super().__init__(_Jumping(lambda: self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.clock.monotonic_ms() / 1000

    def threads_at_work(self) -> bool:
        """Whether a handler is running in a thread, and waits for nothing of ours."""
        return any(sandbox.threads_at_work() for sandbox in self.sandboxes)

    def found_work(self) -> bool:
        """Whether somebody has found something to do now."""
        return any([sandbox.found_work() for sandbox in self.sandboxes])  # noqa: C419  (ask them all)

    def until_due_s(self, timeout: float | None) -> float | None:
        """How long all can wait; None: for ever."""
        waits = [sandbox.until_due_s() for sandbox in self.sandboxes]
        return min((w for w in (timeout, *waits) if w is not None), default=None)

    def jump(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(max(0.0, seconds) * 1000 + 0.001)
        for sandbox in self.sandboxes:
            sandbox.time_passed()


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run an async function in virtual time, and return what it returns."""

    async def call() -> T:
        return await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(call())


def virtual_time(test: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a plain test of an async one: it runs in virtual time, in a loop of its own."""

    @functools.wraps(test)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return run(lambda: test(*args, **kwargs))

    return plain
