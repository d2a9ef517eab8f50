"""What a running handler may ask for: the facts of its run, its checkpoint, its token stream.

``ctx`` is an optional first parameter, found by its annotation; ``dagnats.current()`` gives the same
anywhere below the handler. Methods that reach outside start at once and return an ``Answer``: ``await`` it
in an async handler, call ``.wait()`` on it in a plain function. What was started is finished before the
handler's own answer is reported.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw

from dagnats import convert
from dagnats.answer import Answer
from dagnats.core.model import ABSENT
from dagnats.errors import BudgetExceeded, DagNatsError, PayloadTooLarge
from dagnats.limits import HEARTBEAT_SIZE_MAX_BYTES
from dagnats.metered import Metered, MeteredDoors
from dagnats.outcome import Cancelled
from dagnats.wire.messages import TaskMessage

T = TypeVar("T")
C = TypeVar("C")

_STARTED_KEPT = 200  # what a handler started is looked through when it is more

_current: contextvars.ContextVar[Context[Any]] = contextvars.ContextVar("dagnats_context")


class TokenStream(Protocol):
    """Where the chunks of one execution go: in order, and no faster than they can be stored."""

    def add(self, chunk: Raw) -> None:
        """Take a chunk, from any thread."""
        ...

    async def room(self) -> None:
        """Wait until more may come."""
        ...

    async def finish(self) -> None:
        """Take no more; wait until everything is stored."""
        ...


class Emitted:
    """A chunk that is on its way. ``await`` it, or ``.wait()``, before the next: so no loop outruns the server."""

    __slots__ = ("_loop", "_stream")

    def __init__(self, loop: asyncio.AbstractEventLoop, stream: TokenStream) -> None:
        self._loop = loop
        self._stream = stream

    def __await__(self) -> Generator[Any, None, None]:
        return self._stream.room().__await__()

    def wait(self) -> None:
        """Block this thread until more may come.

        Raises:
            RequestError: called on the event loop, where it would wait for itself: use ``await``.
        """
        Answer(self._loop, self._stream.room()).wait()


class SavedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that a handler saved itself, and in which iteration."""

    iteration: int
    state: Raw


class Doors(MeteredDoors, Protocol):
    """What a context needs of its worker."""

    async def save_checkpoint(self, run: str, step: str, saved: SavedCheckpoint) -> None:
        """Store, replacing what was stored for this step."""
        ...

    async def load_checkpoint(self, run: str, step: str) -> SavedCheckpoint | None:
        """What was stored for this step."""
        ...

    async def heartbeat(self, message: TaskMessage, detail: Raw) -> None:
        """Tell watchers that the handler is still at it."""
        ...


class Context(Metered, Generic[C]):
    """A running ticket, as its handler sees it. ``C`` is the type of its checkpoint."""

    def __init__(
        self,
        message: TaskMessage,
        doors: Doors,
        loop: asyncio.AbstractEventLoop,
        read_checkpoint: Callable[[Raw], Any],
        stream: TokenStream,
        now_ms: Callable[[], float] = lambda: 0,
    ) -> None:
        super().__init__(message, doors, now_ms)
        self._doors = doors
        self._loop = loop
        self._read = read_checkpoint
        self._stream = stream
        self.detail = ABSENT
        self._cancelled = False
        self._started: list[Answer[Any]] = []
        self._waits: list[Answer[Any]] = []

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: its run is over or its time is."""
        return self._cancelled

    @property
    def checkpoint(self) -> C | None:
        """The state that the last ``Continue`` carried; None in the first iteration.

        Raises:
            InvalidInput: it does not fit the annotation ``AgentContext[…]``.
        """
        raw = self.message.checkpoint
        return self._read(raw) if raw else None

    # -- asking ------------------------------------------------------------------------------------

    def check_cancelled(self) -> None:
        """Raise ``Cancelled`` when the handler should stop: for loops in plain functions."""
        if self._cancelled:
            raise Cancelled("the run is over")

    def save_checkpoint(self, state: C) -> Answer[None]:
        """Store state for this step now, in the middle of an attempt; the last one counts."""
        saved = SavedCheckpoint(self.iteration, convert.encode(state))
        return self._start(self._doors.save_checkpoint(self.run_id, self.step_id, saved))

    def load_checkpoint(self) -> Answer[C | None]:
        """The newest state: saved in this iteration, else carried by ``Continue``, else saved before."""
        return self._start(self._load())

    async def _load(self) -> C | None:
        saved = await self._doors.load_checkpoint(self.run_id, self.step_id)
        carried = self.message.checkpoint
        if saved is not None and (not carried or saved.iteration >= self.iteration):
            return self._read(saved.state)
        return self._read(carried) if carried else None

    def emit(self, data: Any) -> Emitted:
        """Send a chunk of output to whoever watches this run: a token, a line, any JSON value.

        It is on its way when this returns. Await what is returned, so that a loop waits for the server.

        Raises:
            PayloadTooLarge: it is above 64 KB, or the run has streamed all that it may.
            RequestError: thousands wait to be sent because they were not awaited.
        """
        self._stream.add(convert.encode(data))
        return Emitted(self._loop, self._stream)

    put_stream = emit

    def heartbeat(self, detail: Any = None) -> Answer[None]:
        """Tell watchers how far the work is. Leases need no heartbeats: they are kept for you.

        The last detail stands in the run's status while the handler runs.

        Raises:
            PayloadTooLarge: the detail is above 8 KB.
        """
        raw = ABSENT if detail is None else convert.encode(detail)
        size = len(bytes(raw))
        if size > HEARTBEAT_SIZE_MAX_BYTES:
            most = HEARTBEAT_SIZE_MAX_BYTES // 1024
            raise PayloadTooLarge(
                f"a heartbeat's detail of {size} bytes; at most {most} KB are told"
            )
        self.detail = raw or self.detail
        return self._start(self._doors.heartbeat(self.message, raw))

    def _start(self, work: Coroutine[Any, Any, T]) -> Answer[T]:
        answer = Answer(self._loop, work)
        if len(self._started) >= _STARTED_KEPT:
            self._started = [started for started in self._started if not started.succeeded]
        self._started.append(answer)
        return answer

    @property
    def waits(self) -> bool:
        """Whether something that the handler started is not done: in a thread it may be waiting for it."""
        return any(not started.done for started in self._started)

    def _wait(self, work: Coroutine[Any, Any, T]) -> Answer[T]:
        """Start something that may take long, and that a handler which is to stop does not wait for."""
        answer = self._start(work)
        self._waits = [wait for wait in self._waits if not wait.done]
        self._waits.append(answer)
        if self._cancelled:
            answer.give_up()
        return answer

    # -- for the worker ----------------------------------------------------------------------------

    def cancel(self) -> None:
        """Mark the ticket as not wanted any more."""
        self._cancelled = True

    def give_up(self) -> None:
        """Wait for no durable operation any more."""
        for wait in list(self._waits):
            wait.give_up()

    async def finish(self) -> None:
        """Wait for everything the handler started and did not give up; the first failure counts."""
        await self._stream.finish()
        pending, self._started = self._started, []
        for answer in pending:
            if not (answer.given_up or answer.delivered):
                with suppress(BudgetExceeded):  # who awaits a report is told
                    await answer


class AgentContext(Context[C]):
    """The context of an agent loop: ``AgentContext[Conversation]`` names the type of its checkpoint."""

    @property
    def max_iterations(self) -> int:
        """How many iterations the loop may have."""
        return self.message.max_iterations

    @property
    def last_iteration(self) -> bool:
        """Whether a ``Continue`` now would go beyond the bound."""
        return bool(self.max_iterations) and self.iteration + 1 >= self.max_iterations


def current() -> Context[Any]:
    """The context of the handler that is running here.

    Raises:
        DagNatsError: no handler is.
    """
    try:
        return _current.get()
    except LookupError:
        raise DagNatsError("current() was called outside a running handler") from None


def enter(context: Context[Any]) -> contextvars.Token[Context[Any]]:
    """Make a context the current one (for the worker)."""
    return _current.set(context)
