"""Durable calls from a worker's side: ask the run for one, and wait until it is settled.

The answer comes as a live notice. In case that was missed, the run is folded now and then, as any client can,
and at once when the question turns out to have been asked before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from msgspec import Raw

from dagnats import payloads, reading
from dagnats.core.calls import call_key, recorded
from dagnats.core.definition import write_step
from dagnats.core.events import StepCalled
from dagnats.core.model import Step
from dagnats.core.state import OPEN
from dagnats.errors import DagNatsError
from dagnats.limits import WAITING_PER_SLOT_MAX
from dagnats.outcome import Parked
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import CallResult, SettledNotice, TaskMessage
from dagnats.worker.room import Room

log = logging.getLogger("dagnats.worker")

_LOOK_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_RETRY_S = 0.3
_notice = msgspec.json.Decoder(SettledNotice)


class Callers:
    """The handlers of one worker that wait for durable calls. ``freed`` is told when a slot becomes free."""

    def __init__(
        self, outside: Outside, worker: str, room: Room, freed: Callable[[], None]
    ) -> None:
        self.waiting = 0
        self.look_again_s: tuple[float, ...] = _LOOK_AGAIN_S
        self._outside = outside
        self._worker = worker
        self._room = room
        self._freed = freed
        self._registry = Registry(outside.documents(subjects.DEFINITIONS))
        self._futures: dict[tuple[str, str, int], asyncio.Future[CallResult]] = {}

    def slots_taken(self, at_work: int) -> int:
        """How many slots are taken: a handler that waits for a call leaves its own to others."""
        return at_work - min(self.waiting, self._room.slots * WAITING_PER_SLOT_MAX)

    def heard(self, payload: bytes) -> None:
        """A notice that a call is settled."""
        try:
            notice = _notice.decode(payload)
        except msgspec.DecodeError:
            return
        future = self._futures.get((notice.run, notice.ticket, notice.result.n))
        if future is not None and not future.done():
            future.set_result(notice.result)

    async def call(
        self, message: TaskMessage, n: int, step: Step, input: Raw, *, park: bool
    ) -> CallResult:
        """Have a step done; or what was recorded of it."""
        given = await payloads.offload(self._outside.blobs, input, f"input of call {n}")
        key = call_key(step, given)
        known = next((c for c in message.calls if c.n == n and c.key == key), None)
        if known is None:
            known = await self._made(message, n, step, given, park=park)
        output = await payloads.restore(self._outside.blobs, known.output or Raw(b"null"))
        return msgspec.structs.replace(known, output=output)

    async def _made(
        self, message: TaskMessage, n: int, step: Step, given: Raw, *, park: bool
    ) -> CallResult:
        place = (message.run, message.ticket, n)
        future = self._futures[place] = asyncio.get_running_loop().create_future()
        try:
            before = await self._ask(message, n, step, given)
            if before:  # asked by whoever ran this ticket before: nobody will tell again
                known = await self._look(message, n)
                if known is not None:
                    return known
            if park:
                raise Parked(n)
            return await self._settled(message, n, future)
        finally:
            del self._futures[place]

    async def _ask(self, message: TaskMessage, n: int, step: Step, given: Raw) -> bool:
        """Store the question; whether it was there already. An outage is waited out."""
        written = write_step(step)
        del written["id"]
        fact = StepCalled(
            ticket=message.ticket,
            nonce=message.nonce,
            worker=self._worker,
            n=n,
            step=Raw(msgspec.json.encode(written)),
            input=given,
        )
        append = Append(message.answer_to, encode(fact), f"{message.run}/{message.ticket}:call:{n}")
        while True:
            try:
                [stored] = await self._outside.log.append([append])
            except (DagNatsError, TimeoutError) as error:
                log.warning("call %d of %s is not stored yet: %s", n, message.ticket, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return stored.duplicate

    async def _settled(
        self, message: TaskMessage, n: int, future: asyncio.Future[CallResult]
    ) -> CallResult:
        """Wait; meanwhile the slot is another's."""
        freeing = self.waiting < self._room.slots * WAITING_PER_SLOT_MAX
        self.waiting += 1
        if freeing:
            self._room.leave()
            self._freed()
        try:
            looks = 0
            while True:
                pause = self.look_again_s[min(looks, len(self.look_again_s) - 1)]
                await asyncio.wait({future}, timeout=pause)
                if future.done():
                    return future.result()
                looks += 1
                known = await self._look(message, n)
                if known is not None:
                    return known
        finally:
            self.waiting -= 1
            if freeing:
                self._room.return_to()

    async def _look(self, message: TaskMessage, n: int) -> CallResult | None:
        """What the run has recorded of a call; None while it is not settled."""
        try:
            run = (await reading.read_run(self._outside, self._registry, message.run)).run
        except (DagNatsError, TimeoutError):
            return None
        graph = run.graph
        position = graph.index.get(message.step) if graph else None
        if graph is None or position is None:
            return None
        call = recorded(graph, run.steps[position], n)
        if call is None or run.steps[call].status in OPEN:
            return None
        state = run.steps[call]
        return CallResult(
            n=n,
            step=graph.nodes[call].step.id,
            status=state.status,
            output=state.output,
            error=state.error.message if state.error else "",
            failure=state.error.failure if state.error else "",
        )
