"""One execution's token stream: chunks gathered into messages, in order, no faster than they are stored.

One message is on its way at a time. A chunk that comes alone leaves at once; what is emitted meanwhile is
gathered, so the busier a handler or the server, the larger the messages. When a whole message waits, so does
``await ctx.emit(…)``: a tight loop is as fast as the server, and holds little in memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from dagnats.errors import OutsideError, PayloadTooLarge, RequestError, WrongSequence
from dagnats.limits import (
    CHUNK_SIZE_MAX_BYTES,
    STREAM_BATCH_MAX,
    STREAM_BATCH_SIZE_BYTES,
    STREAM_CHUNKS_PER_RUN_MAX,
    STREAM_SIZE_PER_RUN_MAX_BYTES,
    STREAM_UNSENT_MAX,
    STREAM_UNSENT_SIZE_MAX_BYTES,
)
from dagnats.ports import Append, Delivery, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import Chunks, TaskMessage

log = logging.getLogger("dagnats.worker")

T = TypeVar("T")

_PAUSE_S: Final = 1.0
_MB: Final = 1024 * 1024
_chunks = msgspec.json.Decoder(Chunks)


class Emitter:
    """``context.TokenStream`` of one execution: one delivery of a ticket."""

    def __init__(self, outside: Outside, message: TaskMessage, delivery: Delivery) -> None:
        self._outside = outside
        self._message = message
        self._dispatch = delivery.origin_seq or delivery.seq
        self._delivery = delivery.delivered
        self._subject = subjects.stream(
            message.run, message.step, f"{self._dispatch}-{self._delivery}"
        )
        self._repeats = repeats(message, delivery)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._unsent: deque[Raw] = deque()
        self._unsent_bytes = 0
        self._freed = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._refusal = ""
        self._problem: Exception | None = None
        self._counts = False
        self._number = 0
        self._expect_last = 0
        self._run_chunks = self._run_bytes = 0

    def open(self) -> Emitter:
        """Begin. A repeated execution takes back what earlier ones streamed, whether it streams or not."""
        if self._repeats:
            self._send_soon()
        return self

    # -- for the handler ---------------------------------------------------------------------------

    def add(self, chunk: Raw) -> None:
        """Take a chunk, from any thread.

        Raises:
            PayloadTooLarge: it is no chunk but a whole, or the run has streamed all that it may.
            RequestError: too many wait, because nobody awaits them; or the execution is over.
        """
        size = check_chunk(chunk)
        with self._lock:
            if self._problem is not None:
                raise self._problem
            if self._refusal:
                raise RequestError(self._refusal)
            self._refuse_unawaited()
            self._unsent.append(chunk)
            self._unsent_bytes += size
        if threading.get_ident() == self._thread:
            self._send_soon()
        else:
            self._loop.call_soon_threadsafe(self._send_soon)

    def _refuse_unawaited(self) -> None:
        if (
            len(self._unsent) >= STREAM_UNSENT_MAX
            or self._unsent_bytes >= STREAM_UNSENT_SIZE_MAX_BYTES
        ):
            raise RequestError(
                f"{len(self._unsent)} chunks wait to be sent (the bound is {STREAM_UNSENT_MAX}, or "
                f"{STREAM_UNSENT_SIZE_MAX_BYTES // _MB} MB): write `await ctx.emit(…)`, or "
                "`ctx.emit(…).wait()` in a plain function, so that the handler waits for the server"
            )

    async def room(self) -> None:
        """Let others have a turn, and wait while a whole message waits to be sent."""
        await asyncio.sleep(0)
        while self._problem is None and (
            len(self._unsent) >= STREAM_BATCH_MAX or self._unsent_bytes >= STREAM_BATCH_SIZE_BYTES
        ):
            self._freed.clear()
            await self._freed.wait()

    async def finish(self) -> None:
        """Take no more, and wait until everything is stored; the first problem counts."""
        with self._lock:
            self._refusal = (
                f"this execution of step {self._message.step} is over, and its stream with it: "
                "emit while the handler runs, and await what emits for it"
            )
        if self._unsent:
            self._send_soon()
        if self._sending is not None:
            await asyncio.wait({self._sending})
        if self._problem is not None:
            raise self._problem

    # -- sending -----------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        if self._sending is None:
            self._sending = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            if self._repeats:
                self._repeats = False
                await self._take_back()
            while self._unsent:
                await self._count_on()
                await self._publish(self._taken())
        except Exception as problem:  # noqa: BLE001  (whoever emits is told)
            self._problem = problem
            self._unsent.clear()
        finally:
            self._sending = None
            self._freed.set()

    async def _take_back(self) -> None:
        """Say that this execution begins anew, if an earlier one streamed for the same iteration.

        One that cannot be looked for is not: readers notice when this one emits.
        """
        try:
            before = await self._last(self._message.step)
        except OutsideError as problem:
            log.warning(
                "what %s streamed before is not looked at: %s", self._message.ticket, problem
            )
            return
        if before is not None and before.iteration == self._message.iteration:
            await self._count_on()
            await self._publish((), anew=True)

    async def _count_on(self) -> None:
        """See what the run has streamed so far."""
        if not self._counts:
            before = await _outlast(self._last)
            if before is not None:
                self._run_chunks, self._run_bytes = before.run_chunks, before.run_bytes
            self._counts = True

    async def _last(self, step: str = "") -> Chunks | None:
        subject = subjects.stream_of_run(self._message.run, step)
        found = await self._outside.notices.last(subjects.STREAMS, subject)
        try:
            return _chunks.decode(found.payload) if found else None
        except msgspec.DecodeError:  # anybody with a connection may have written it
            return None

    def _taken(self) -> tuple[Raw, ...]:
        """The next message's chunks.

        Raises:
            PayloadTooLarge: the run has streamed all that it may.
        """
        taken: list[Raw] = []
        size = 0
        chunks_max = min(STREAM_BATCH_MAX, STREAM_CHUNKS_PER_RUN_MAX - self._run_chunks)
        size_max = min(STREAM_BATCH_SIZE_BYTES, STREAM_SIZE_PER_RUN_MAX_BYTES - self._run_bytes)
        with self._lock:
            while self._unsent and len(taken) < chunks_max and size < size_max:
                taken.append(self._unsent.popleft())
                size += len(bytes(taken[-1]))
            self._unsent_bytes -= size
        if not taken:
            raise PayloadTooLarge(
                f"run {self._message.run} has streamed all that a run may: {STREAM_CHUNKS_PER_RUN_MAX} "
                f"chunks, or {STREAM_SIZE_PER_RUN_MAX_BYTES // _MB} MB; emit fewer and larger chunks, or "
                "return what need not be seen at once"
            )
        self._run_chunks += len(taken)
        self._run_bytes += size
        self._freed.set()
        return tuple(taken)

    async def _publish(self, chunks: tuple[Raw, ...], *, anew: bool = False) -> None:
        message = self._message
        payload = encode(
            Chunks(
                step=message.step,
                dispatch=self._dispatch,
                delivery=self._delivery,
                attempt=message.attempt,
                iteration=message.iteration,
                n=self._number,
                chunks=chunks,
                anew=anew,
                run_chunks=self._run_chunks,
                run_bytes=self._run_bytes,
            )
        )
        await _outlast(lambda: self._store(payload))
        self._number += len(chunks)

    async def _store(self, payload: bytes) -> None:
        """Store a message once: by the sequence it expects, a repetition is told from a first time."""
        append = Append(self._subject, payload, expect_last=self._expect_last)
        try:
            [stored] = await self._outside.log.append([append])
        except WrongSequence:
            found = await self._outside.notices.last(subjects.STREAMS, self._subject)
            self._expect_last = found.seq if found else 0
            if found is None or found.payload != payload:
                raise  # what it expected is too old to be there any more: once again, with what is
        else:
            self._expect_last = stored.seq


def check_chunk(chunk: Raw) -> int:
    """The size of a chunk, bytes.

    Raises:
        PayloadTooLarge: it is no chunk but a whole.
    """
    size = len(bytes(chunk))
    if size > CHUNK_SIZE_MAX_BYTES:
        raise PayloadTooLarge(
            f"a streamed chunk of {size} bytes: one has at most {CHUNK_SIZE_MAX_BYTES // 1024} KB; "
            "emit smaller ones, and return what is large"
        )
    return size


def repeats(message: TaskMessage, delivery: Delivery) -> bool:
    """Whether the handler may have been entered before for the same iteration of this step."""
    place = message.ticket.removeprefix(message.step)  # /attempt/iteration, and /resume when parked
    resumed = place.count("/") > 2  # noqa: PLR2004
    return message.attempt > 1 or delivery.delivered > 1 or resumed or message.epoch > 0


async def _outlast(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until it is answered: an outage costs a handler time, and no attempt."""
    while True:
        try:
            return await ask()
        except OutsideError as problem:
            log.warning("a token stream waits: %s", problem)
            await asyncio.sleep(_PAUSE_S)
