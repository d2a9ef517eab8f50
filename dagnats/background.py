"""The sync door: async work from plain code, on one event loop in one daemon thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from dagnats.errors import DefinitionError


class Background:
    """One event loop in one daemon thread. ``pid`` tells a fork, which takes no threads along."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="dagnats-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run async work there, and wait for it.

        Raises:
            DefinitionError: called on that loop, where it would wait for itself.
        """

        async def call() -> Any:
            return await work()

        if threading.current_thread() is self._thread:
            raise DefinitionError("the sync door was used inside itself; write `await` here")
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()
