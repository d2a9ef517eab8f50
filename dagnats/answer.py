"""Something a handler has started: awaited on the loop, or waited for in a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from dagnats.errors import RequestError
from dagnats.outcome import Cancelled

T = TypeVar("T")


class Answer(Generic[T]):
    """Something that has been started: ``await`` it, or ``.wait()`` for it outside async code."""

    __slots__ = ("_future", "_taken", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._future: concurrent.futures.Future[T] | None = None
        self._taken = False
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            self._task = loop.create_task(work)
        else:
            self._future = asyncio.run_coroutine_threadsafe(work, loop)

    def __await__(self) -> Generator[Any, None, T]:
        self._taken = True
        if self._future is not None:
            return asyncio.wrap_future(self._future).__await__()
        return self._task.__await__()

    @property
    def done(self) -> bool:
        """Whether it is over, well or not."""
        return (self._future or self._task).done()

    @property
    def succeeded(self) -> bool:
        """Whether it is done, and well."""
        pending = self._future or self._task
        return pending.done() and not pending.cancelled() and not pending.exception()

    @property
    def delivered(self) -> bool:
        """Whether whoever asked has been given the result, or the failure, already."""
        return self._taken and (self._future or self._task).done()

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return (self._future or self._task).cancelled()

    def give_up(self) -> None:
        """Wait no more; whoever does is told."""
        (self._future or self._task).cancel()

    def wait(self) -> T:
        """The result, blocking this thread.

        Raises:
            RequestError: called on the event loop, where it would wait for itself: use ``await``.
            Cancelled: the handler is to stop.
        """
        if self._future is None:
            raise RequestError(
                "wait() would block the event loop; write `await` in an async handler"
            )
        self._taken = True
        try:
            return self._future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled("told to stop while it waited") from None
