"""Calling user code: on the loop or in a thread, with a time limit, and containing whatever it raises.

A call ends in one of three ways: the function returned, it raised (anything, ``SystemExit`` included), or
it was abandoned: told to stop, it did not, and nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import ctypes
import threading
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Raw

from dagnats import context as contexts
from dagnats.context import Context
from dagnats.core.events import Answer as Outcome
from dagnats.limits import CANCEL_GRACE_MS
from dagnats.outcome import Cancelled, Parked

Reason = Literal["timeout", "cancelled", "drain"]


class Raised:
    """What a function raised, as a value: an event loop must never see a SystemExit."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Abandoned:
    """The function did not stop when it was told to."""


class Died(Abandoned):
    """The process that ran the function ended: how, in words, and the lines that it was in, as far as known."""

    def __init__(self, text: str, where: str = "") -> None:
        self.text = text
        self.where = where


class Told:
    """The process that ran the function made the outcome; these payloads are to be stored before it."""

    def __init__(self, outcome: Outcome, blobs: dict[str, bytes]) -> None:
        self.outcome = outcome
        self.blobs = blobs


class Threads:
    """A pool as large as the worker's concurrency; renewed when a thread is lost to a deaf function."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.pool = self._new()

    def _new(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(self._size, thread_name_prefix="dagnats-task")

    def renew(self) -> None:
        """Leave the old threads to what they run; others get fresh ones."""
        self.pool.shutdown(wait=False)
        self.pool = self._new()

    def close(self) -> None:
        """Let threads go."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class Call:
    """One running call. ``stop`` tells it to end; ``reason`` says why it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context[Any]) -> None:
        self.context = context
        self.reason: Reason | None = None
        self._loop = loop
        self._done: asyncio.Future[Any] = loop.create_future()
        self._task: asyncio.Task[Any] | None = None
        self._thread: _ThreadCall | None = None

    @property
    def in_thread(self) -> bool:
        """Whether the function runs in a thread, and has not ended."""
        return self._thread is not None and not self._done.done()

    @property
    def detail(self) -> Raw:
        """What the handler told last with a heartbeat."""
        return self.context.detail

    def begin(
        self,
        function: Callable[..., Any],
        kwargs: dict[str, Any],
        pool: concurrent.futures.Executor | None,
    ) -> None:
        """Begin a function: in a pool's thread, or on the loop."""
        if pool is None:
            self.run_async(function, kwargs)
        else:
            self.run_thread(pool, function, kwargs)

    async def ended(self, timeout_ms: int) -> Any:
        """As ``wait``; what the handler started through its context belongs to its outcome."""
        ended = await self.wait(timeout_ms)
        try:
            await self.context.finish()
        except Parked as parked:  # it did not wait for this call itself
            return ended if isinstance(ended, Raised) else Raised(parked)
        except Exception as error:  # noqa: BLE001  (what a handler started fails it)
            return Raised(error) if self.reason is None else ended
        return ended

    def run_async(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        """Begin a coroutine function."""
        self._task = self._loop.create_task(self._guarded(function, kwargs))
        self._task.add_done_callback(self._finished)

    async def _guarded(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
        contexts.enter(self.context)
        try:
            return await function(**kwargs)
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is an outcome)
            return Raised(error)

    def run_thread(
        self,
        pool: concurrent.futures.Executor,
        function: Callable[..., Any],
        kwargs: dict[str, Any],
    ) -> None:
        """Begin a plain function in a thread, with this context current."""
        self._thread = _ThreadCall(function, kwargs)
        variables = contextvars.copy_context()
        variables.run(contexts.enter, self.context)
        future = self._loop.run_in_executor(pool, variables.run, self._thread)
        future.add_done_callback(self._finished)

    def _finished(self, future: asyncio.Future[Any]) -> None:
        if self._done.done():
            return
        if future.cancelled():
            self._done.set_result(Raised(asyncio.CancelledError()))
        else:
            error = future.exception()
            self._done.set_result(Raised(error) if error else future.result())

    async def wait(self, timeout_ms: int) -> Any:
        """What the function returned, ``Raised``, or ``Abandoned``."""
        timer = (
            self._loop.call_later(timeout_ms / 1000, self.stop, "timeout") if timeout_ms else None
        )
        try:
            return await self._done
        finally:
            if timer is not None:
                timer.cancel()

    def stop(self, reason: Reason) -> None:
        """Tell the function to end; if it has not within a grace, it is abandoned. The first reason counts."""
        if self.reason is not None or self._done.done():
            return
        self.reason = reason
        self.context.cancel()
        if self._task is not None:
            self._task.cancel()
        elif self._thread is not None:
            self._thread.interrupt()
        self.context.give_up()  # a thread that waits hears nothing before its waiting ends
        self._loop.call_later(CANCEL_GRACE_MS / 1000, self._abandon)

    def _abandon(self) -> None:
        if not self._done.done():
            self._done.set_result(Abandoned())


class _ThreadCall:
    """A plain function in a pool's thread, into which ``Cancelled`` can be raised while it runs."""

    def __init__(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._kwargs = kwargs
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._interrupted = False

    def __call__(self) -> Any:
        try:
            with self._lock:
                if self._interrupted:
                    return Raised(Cancelled("told to stop before it began"))
                self._thread_id = threading.get_ident()
            try:
                return self._function(**self._kwargs)
            finally:
                self._leave()
        except BaseException as error:  # noqa: BLE001  (as on the loop: an outcome)
            return Raised(error)

    def _leave(self) -> None:
        with self._lock:
            thread_id, self._thread_id = self._thread_id, None
            if self._interrupted and thread_id is not None:
                _raise_in(
                    thread_id, None
                )  # one that was sent but has not arrived must not hit the pool

    def interrupt(self) -> None:
        """Raise ``Cancelled`` in the function at its next step of Python code."""
        with self._lock:
            self._interrupted = True
            if self._thread_id is not None:
                _raise_in(self._thread_id, Cancelled)


def _raise_in(thread_id: int, kind: type[BaseException] | None) -> None:
    """CPython's way to raise in another thread (``PyThreadState_SetAsyncExc``); elsewhere nothing happens."""
    python = getattr(ctypes, "pythonapi", None)
    if python is not None:
        target = ctypes.py_object(kind) if kind is not None else None
        python.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), target)
