"""The process of isolated handlers: it loads the worker's module, and runs one ticket after another.

It has no connection of its own: what a handler asks of its context, the worker does. When the worker
is gone, so is this process, whatever its handler does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

import msgspec
from msgspec import Raw

from dagnats.clock import SystemClock
from dagnats.context import AgentContext, SavedCheckpoint
from dagnats.convert import decoder
from dagnats.core.events import UsageReported
from dagnats.core.model import Step
from dagnats.errors import InvalidInput
from dagnats.task import Task
from dagnats.wire.codec import encode
from dagnats.wire.messages import CallResult, TaskMessage
from dagnats.worker import frames
from dagnats.worker.answers import Answering
from dagnats.worker.call import Abandoned, Call, Reason, Threads
from dagnats.worker.emitter import check_chunk
from dagnats.worker.thread_watch import others

_LAST_S: Final = 1.0
_messages = msgspec.json.Decoder(TaskMessage)
_saved = msgspec.json.Decoder(SavedCheckpoint | None)
_results = msgspec.json.Decoder(CallResult)


class Link:
    """The socket to the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def send(self, frame: frames.ToWorker) -> None:
        """From any thread. A worker that is gone is noticed by who reads."""
        with self._lock:
            self._socket.sendall(frames.framed(frame))

    def next(self) -> frames.ToProcess | None:
        """The next frame; None when the worker is gone."""
        try:
            header = self._exactly(frames.HEADER.size)
            return frames.to_process.decode(self._exactly(frames.length_of(header)))
        except OSError:
            return None

    def _exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise ConnectionResetError
            found += part
        return bytes(found)


class Doors:
    """``context.Doors`` through the worker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ids = itertools.count()
        self._open: dict[int, asyncio.Future[bytes]] = {}

    async def ask(self, what: frames.Asked) -> bytes:
        """Have the worker do it, and wait.

        Raises:
            DagNatsError: as the worker's door does.
        """
        number = next(self._ids)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.send(frames.Ask(number, what))
            return await future
        finally:
            del self._open[number]

    def told(self, reply: frames.Reply) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        future = self._open.get(reply.id)
        if future is None or future.done():
            return
        if reply.problem is None:
            future.set_result(reply.value)
        else:
            future.set_exception(reply.problem.error())

    async def save_checkpoint(self, run: str, step: str, saved: SavedCheckpoint) -> None:  # noqa: ARG002
        """Store, replacing what was stored for this step."""
        await self.ask(frames.Save(saved.iteration, bytes(saved.state)))

    async def load_checkpoint(self, run: str, step: str) -> SavedCheckpoint | None:  # noqa: ARG002
        """What was stored for this step."""
        return _saved.decode(await self.ask(frames.Load()))

    async def heartbeat(self, message: TaskMessage, detail: Raw) -> None:  # noqa: ARG002
        """Tell watchers that the handler is still at it."""
        await self.ask(frames.Beat(bytes(detail)))

    async def report_usage(self, message: TaskMessage, fact: UsageReported) -> None:  # noqa: ARG002
        """Store, after those that came before."""
        await self.ask(frames.Usage(encode(fact)))

    async def send_signal(self, run: str, name: str, payload: Raw) -> None:
        """Send data to a run."""
        await self.ask(frames.Signal(run, name, bytes(payload)))

    async def call(
        self, message: TaskMessage, n: int, step: Step, input: Raw, *, park: bool
    ) -> CallResult:
        """Have a step done; or what was recorded of it."""
        del message  # the worker knows which ticket this process has
        asked = frames.Durable(n, msgspec.json.encode(step), bytes(input), park)
        return _results.decode(await self.ask(asked))


class Stream:
    """``context.TokenStream`` through the worker."""

    def __init__(self, link: Link, doors: Doors) -> None:
        self.problem: BaseException | None = None
        self._link = link
        self._doors = doors

    def add(self, chunk: Raw) -> None:
        """Take a chunk, from any thread."""
        check_chunk(chunk)
        if self.problem is not None:
            raise self.problem
        self._link.send(frames.Emit(bytes(chunk)))

    async def room(self) -> None:
        """Wait until more may come."""
        await self._doors.ask(frames.Room())

    async def finish(self) -> None:
        """Wait until everything is stored."""
        await self._doors.ask(frames.Finish())
        if self.problem is not None:
            raise self.problem


class Kept:
    """``Blobs`` that the worker stores with the outcome."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    async def put(self, name: str, data: bytes) -> None:
        """Keep under a name."""
        self.data[name] = data

    async def get(self, name: str) -> bytes | None:
        """What is kept under a name."""
        return self.data.get(name)

    async def delete(self, name: str) -> None:
        """Keep it no longer."""
        self.data.pop(name, None)


class Isolated:
    """Runs the tickets that its worker gives it."""

    def __init__(self, tasks: Mapping[str, Task[Any, Any]], link: Link) -> None:
        self._tasks = tasks
        self._link = link
        self._doors = Doors(link)
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()
        self._threads = Threads(1)
        self._tickets: asyncio.Queue[frames.Begin | None] = asyncio.Queue()
        self._stream = Stream(link, self._doors)
        self._call: Call | None = None

    async def run(self) -> None:
        """Until the worker closes the connection."""
        listening = threading.Thread(target=self._listen, name="dagnats-isolated", daemon=True)
        listening.start()
        self._link.send(frames.Ready())
        while (begin := await self._tickets.get()) is not None:
            before = len(others())
            ended = await self._run(begin)
            if ended is not None:  # else the worker looks where it hangs, and ends this process
                left = max(0, len(others()) - before)
                self._link.send(msgspec.structs.replace(ended, threads=left))

    def _listen(self) -> None:
        """In a thread: the loop may be blocked by the handler."""
        while (frame := self._link.next()) is not None:
            if isinstance(frame, frames.Refused):
                self._stream.problem = frame.problem.error()
            else:
                self._loop.call_soon_threadsafe(self._heard, frame)
        self._loop.call_soon_threadsafe(self._tickets.put_nowait, None)
        threading.Event().wait(_LAST_S)  # one without a ticket ends in good order
        leave()

    def _heard(self, frame: frames.ToProcess) -> None:
        match frame:
            case frames.Begin():
                self._tickets.put_nowait(frame)
            case frames.Reply():
                self._doors.told(frame)
            case frames.Stop() if self._call is not None:
                self._call.stop(cast("Reason", frame.reason))
            case _:
                pass

    async def _run(self, begin: frames.Begin) -> frames.Ended | None:
        """How a ticket ended; None when its handler does not stop: then the worker ends this process."""
        message, kept = _messages.decode(begin.message), Kept()
        answering = Answering(begin.worker, kept)
        began = self._clock.monotonic_ms()
        task = self._tasks.get(message.task)
        if task is None:
            text = f"task {message.task} is not there when its module is loaded again; register it at import"
            return frames.Ended(encode(answering.failed(message, text, "non_retriable")), {})
        try:
            arguments = task.signature.arguments(message.input)
        except InvalidInput as error:
            text = f"input of task {task.name}: {error.message}"
            return frames.Ended(encode(answering.failed(message, text, "non_retriable")), {})
        self._stream = Stream(self._link, self._doors)
        context: AgentContext[Any] = AgentContext(
            message,
            self._doors,
            self._loop,
            decoder(task.signature.checkpoint),
            self._stream,
            lambda: begin.now_ms + self._clock.monotonic_ms() - began,
        )
        if task.signature.context is not None:
            arguments[task.signature.context] = context
        self._call = call = Call(self._loop, context)
        call.begin(task.function, arguments, None if task.is_async else self._threads.pool)
        ended = await call.ended(0)
        self._call = None
        if isinstance(ended, Abandoned):
            return None
        ran = round(self._clock.monotonic_ms() - began)
        outcome = await answering.of(message, task, ended, call.reason, ran)
        return frames.Ended(encode(outcome) if outcome else b"", kept.data)


def leave() -> NoReturn:
    """End this process, with what it has started, at once."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
