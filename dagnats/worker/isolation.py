"""Handlers in processes of their own: a small pool of them, and the calls that run there.

A process loads the same module and runs one ticket at a time. What its handler asks of the context is done
here, on the worker's connection. A process that dies, or does not stop when told to, costs one attempt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from dagnats.context import Doors, SavedCheckpoint, TokenStream
from dagnats.core.events import Answer as Outcome
from dagnats.core.events import UsageReported
from dagnats.core.model import ABSENT, Step
from dagnats.limits import (
    CANCEL_GRACE_MS,
    ISOLATED_PROCESSES_MAX,
    ISOLATED_TICKETS_MAX,
    WAITING_PER_SLOT_MAX,
)
from dagnats.outcome import Cancelled
from dagnats.wire.codec import encode
from dagnats.wire.messages import TaskMessage
from dagnats.worker import frames
from dagnats.worker.call import Died, Raised, Reason, Told
from dagnats.worker.process import Process
from dagnats.worker.room import Places

log = logging.getLogger("dagnats.worker")

_outcomes = msgspec.json.Decoder(Outcome)
_reports = msgspec.json.Decoder(UsageReported)
_steps = msgspec.json.Decoder(Step)


class Isolates(Places):
    """The processes of one worker. ``command`` starts one; two numbers are added: its socket and its trace file.

    A handler that waits for a durable call gives its place to another, and stays where it is.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], slots: int) -> None:
        super().__init__(min(slots, ISOLATED_PROCESSES_MAX))
        self._command = command
        self._environment = environment
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._waiting = 0

    async def process(self) -> Process:
        """A process that is free, in a place of its own; to be given back with ``give``.

        Raises:
            ChildProcessError: none can be started; with why.
        """
        if not self.take() and not await self.turn():
            raise ChildProcessError("the worker stops")
        try:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                self._drop(process)
            process = await Process.start(self._command, self._environment)
        except BaseException as error:
            self.leave()
            if isinstance(error, OSError | TimeoutError) and not isinstance(
                error, ChildProcessError
            ):
                raise ChildProcessError(
                    f"a process for isolated handlers could not start: {error!r}"
                ) from error
            raise
        self._all.add(process)
        return process

    def give(self, process: Process, *, again: bool) -> None:
        """Give a process back; one that is not to be used ``again``, or has run long enough, is replaced."""
        self.leave()
        if again and process.alive and process.ran < ISOLATED_TICKETS_MAX:
            self._idle.append(process)
            return
        if again and process.alive:
            process.retire()
        else:
            process.kill()
        self._drop(process)

    def _drop(self, process: Process) -> None:
        process.forget()
        self._all.discard(process)

    @property
    def crowded(self) -> bool:
        """Whether so many handlers wait in their processes that one more has to park."""
        return self._waiting >= self.slots * WAITING_PER_SLOT_MAX

    def wait_begins(self) -> None:
        """A handler waits for a durable call."""
        self._waiting += 1
        self.leave()

    def wait_ends(self) -> None:
        """It goes on."""
        self._waiting -= 1
        self.return_to()

    def close(self) -> None:
        """End every process."""
        super().close()
        for process in list(self._all):
            process.kill()
            self._drop(process)


class IsolatedCall:
    """One running call in a process; like ``Call`` for who waits for it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, isolates: Isolates, message: TaskMessage, worker: str, *, doors: Doors,
        stream: TokenStream, now_ms: Callable[[], float],
    ) -> None:  # fmt: skip
        self.detail: Raw = ABSENT
        self.reason: Reason | None = None
        self._loop = loop
        self._isolates = isolates
        self._message = message
        self._worker = worker
        self._doors = doors
        self._stream = stream
        self._now_ms = now_ms
        self._starting: asyncio.Task[Process] | None = None
        self._process: Process | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._waits = 0
        self._over = False

    async def ended(self, timeout_ms: int) -> Any:
        """``Told``, ``Raised`` or ``Died``. The time begins when a process is free."""
        self._starting = self._loop.create_task(self._isolates.process())
        try:
            process = await self._starting
        except ChildProcessError as error:
            log.error("%s of run %s: %s", self._message.task, self._message.run, error)  # noqa: TRY400
            return Died(str(error))
        except asyncio.CancelledError:
            if self.reason is None:
                raise
            return Raised(Cancelled("told to stop before it began"))
        self._process = process
        process.ran += 1
        timer = None
        if timeout_ms:
            timer = self._loop.call_later(timeout_ms / 1000, self.stop, "timeout")
        left = -1
        try:
            ended, left = await self._run(process)
        finally:
            self._over = True
            for asked in self._asked:
                asked.cancel()
            if timer is not None:
                timer.cancel()
            self._isolates.give(process, again=left == 0)
        return ended

    async def _run(self, process: Process) -> tuple[Any, int]:
        """How it ended, and the threads that it left behind (-1: no process is left)."""
        process.send(frames.Begin(encode(self._message), self._worker, self._now_ms()))
        if self.reason is not None:
            self._tell_to_stop(self.reason)
        while (frame := await process.next()) is not None:
            match frame:
                case frames.Emit():
                    self._emit(process, frame.chunk)
                case frames.Ask():
                    asked = self._loop.create_task(self._answer(process, frame))
                    self._asked.add(asked)
                    asked.add_done_callback(self._asked.discard)
                case frames.Ended():
                    if frame.threads:
                        text = "%s of run %s left %d threads running; its process is replaced"
                        log.warning(text, self._message.task, self._message.run, frame.threads)
                    return self._told(frame), frame.threads
                case _:
                    pass
        died = Died(f"the process of {self._message.task} {process.ending()}", process.trace())
        log.error("run %s, step %s: %s", self._message.run, self._message.step, died.text)
        with suppress(Exception):  # what it has streamed stays
            await self._stream.finish()
        return died, -1

    def _told(self, frame: frames.Ended) -> Told | Raised:
        if not frame.outcome:
            return Raised(Cancelled("told to stop"))
        return Told(_outcomes.decode(frame.outcome), frame.blobs)

    # -- what the handler asks for -----------------------------------------------------------------

    def _emit(self, process: Process, chunk: bytes) -> None:
        try:
            self._stream.add(Raw(chunk))
        except Exception as error:  # noqa: BLE001  (the handler is told)
            process.send(frames.Refused(frames.Problem.of(error)))

    async def _answer(self, process: Process, ask: frames.Ask) -> None:
        try:
            reply = frames.Reply(ask.id, await self._done(ask.what))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  (the handler is told)
            reply = frames.Reply(ask.id, problem=frames.Problem.of(error))
        if not self._over:
            process.send(reply)

    async def _done(self, what: frames.Asked) -> bytes:
        run, step, doors = self._message.run, self._message.step, self._doors
        match what:
            case frames.Save():
                saved = SavedCheckpoint(what.iteration, Raw(what.state))
                await doors.save_checkpoint(run, step, saved)
            case frames.Load():
                return msgspec.json.encode(await doors.load_checkpoint(run, step))
            case frames.Beat():
                self.detail = Raw(what.detail) if what.detail else self.detail
                await doors.heartbeat(self._message, Raw(what.detail))
            case frames.Signal():
                await doors.send_signal(what.run, what.name, Raw(what.payload))
            case frames.Usage():
                await doors.report_usage(self._message, _reports.decode(what.fact))
            case frames.Durable():
                return await self._call(what)
            case frames.Room():
                await self._stream.room()
            case frames.Finish():
                await self._stream.finish()
        return b""

    async def _call(self, what: frames.Durable) -> bytes:
        self._waits += 1
        if self._waits == 1:
            self._isolates.wait_begins()
        try:
            result = await self._doors.call(
                self._message, what.n, _steps.decode(what.step), Raw(what.input),
                park=what.park or self._isolates.crowded,
            )  # fmt: skip
        finally:
            self._waits -= 1
            if not self._waits:
                self._isolates.wait_ends()
        return msgspec.json.encode(result)

    # -- stopping ----------------------------------------------------------------------------------

    def stop(self, reason: Reason) -> None:
        """Tell the handler to end; after a grace its process is killed. The first reason counts."""
        if self.reason is not None or self._over:
            return
        self.reason = reason
        if self._process is not None:
            self._tell_to_stop(reason)
        elif self._starting is not None:
            self._starting.cancel()

    def _tell_to_stop(self, reason: Reason) -> None:
        if self._process is not None:
            self._process.send(frames.Stop(reason))
            self._loop.call_later(CANCEL_GRACE_MS / 1000, self._kill)

    def _kill(self) -> None:
        if not self._over and self._process is not None:
            self._process.kill_deaf(self.reason or "")
