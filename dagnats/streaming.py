"""Reading token streams: from the first chunk or any offset, live and afterwards, with what no longer counts.

Several executions may stream for the same iteration of a step: the attempt before a retry, or a worker that
died and whose ticket came again. Only the newest counts. A reader learns with ``Superseded`` that what came
before is void; it never sees chunks of an execution that is behind the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from msgspec import Struct

from dagnats.limits import STREAM_BATCH_MAX
from dagnats.ports import Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.messages import Chunks

_RECHECK_S: Final = 5.0
_chunks = msgspec.json.Decoder(Chunks)


class ChunkView(Struct, frozen=True, kw_only=True, tag_field="type", tag="chunk"):
    """A chunk of a token stream.

    ``offset`` is its place in the run's stream: ``stream(offset=chunk.offset + 1)`` goes on behind it.
    ``n`` numbers the chunks of an ``execution``, which ``step``, ``attempt`` and ``iteration`` describe.
    """

    step: str
    attempt: int
    iteration: int
    n: int
    data: Any
    offset: int = 0
    execution: str = ""


class Superseded(Struct, frozen=True, kw_only=True, tag_field="type", tag="superseded"):
    """What this iteration of this step has streamed so far no longer counts: another execution begins.

    ``attempt`` and ``execution`` are the new ones.
    """

    step: str
    attempt: int
    iteration: int
    offset: int = 0
    execution: str = ""

    @property
    def data(self) -> str:
        """Nothing: a reader that only joins text goes on behind what is void."""
        return ""


class Fold:
    """What stored messages mean to a reader that begins at an offset."""

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset
        self._newest: dict[tuple[str, int], tuple[int, int]] = {}

    def take(self, entry: Entry) -> Iterator[ChunkView | Superseded]:
        """The chunks of a message that count, behind the news that others no longer do."""
        try:
            told = _chunks.decode(entry.payload)
            values = [msgspec.json.decode(chunk) for chunk in told.chunks]
        except (msgspec.DecodeError, RecursionError):
            return  # anybody with a connection may have written it
        place, this = (told.step, told.iteration), (told.dispatch, told.delivery)
        newest = self._newest.get(place, this)
        if this < newest:
            return
        self._newest[place] = this
        first, execution = entry.seq * STREAM_BATCH_MAX, f"{told.dispatch}-{told.delivery}"
        if (told.anew or (this > newest and not told.n)) and first >= self._offset:
            yield Superseded(
                step=told.step, attempt=told.attempt, iteration=told.iteration,
                offset=first, execution=execution,
            )  # fmt: skip
        for index, value in enumerate(values[:STREAM_BATCH_MAX]):
            if first + index >= self._offset:
                yield ChunkView(
                    step=told.step, attempt=told.attempt, iteration=told.iteration,
                    n=told.n + index, data=value, offset=first + index, execution=execution,
                )  # fmt: skip


async def chunks(
    outside: Outside,
    run_id: str,
    ended: Callable[[], Coroutine[Any, Any, object]],
    step: str = "",
    offset: int = 0,
) -> AsyncGenerator[ChunkView | Superseded, None]:
    """A run's token streams (or a step's) from an offset on, until the run has ended and all was read.

    ``ended`` returns when the run has ended; what it raises is raised.
    """
    fold, subject = Fold(offset), subjects.stream_of_run(run_id, step)
    after_seq = max(0, offset // STREAM_BATCH_MAX - 1)

    async def last_seq() -> int:
        last = await outside.notices.last(subjects.STREAMS, subject)
        return last.seq if last else 0

    entries = outside.notices.follow(subjects.STREAMS, subject, after_seq)
    over = asyncio.ensure_future(ended())
    try:
        async with aclosing(_until(over, entries, after_seq, last_seq)) as counted:
            async for entry in counted:
                for item in fold.take(entry):
                    yield item
    finally:
        await _given_up(over)
        await entries.aclose()


async def _until(
    over: asyncio.Future[Any],
    entries: AsyncGenerator[Entry, None],
    seq: int,
    last_seq: Callable[[], Awaitable[int]],
) -> AsyncGenerator[Entry, None]:
    """Entries until the end, and then those up to the last: all are stored before their run can end."""
    waiting: asyncio.Future[Entry] | None = None
    goal: int | None = None
    try:
        while goal is None or seq < goal:
            waiting = waiting or asyncio.ensure_future(anext(entries))
            wanted = {waiting} if over.done() else {waiting, over}
            timeout = _RECHECK_S if over.done() else None
            await asyncio.wait(wanted, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            quiet = not waiting.done()
            if over.done() and (goal is None or quiet):
                over.result()
                goal = await last_seq()  # once again when nothing comes: old chunks may have gone
            if not quiet:
                entry, waiting = waiting.result(), None
                seq = entry.seq
                yield entry
    except StopAsyncIteration:
        return
    finally:
        await _given_up(waiting)


async def _given_up(task: asyncio.Future[Any] | None) -> None:
    """End something that nobody waits for any more, whatever it ends with."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
