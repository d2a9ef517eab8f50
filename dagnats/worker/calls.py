"""Durable calls from a worker's side: ask the run for one, and wait until it is settled.

The answer comes as a live notice. In case that was missed, the run is folded now and then, as any client can,
and at once when the question turns out to have been asked before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from dagnats import payloads
from dagnats.core.calls import call_key
from dagnats.core.definition import write_step
from dagnats.core.events import StepCalled
from dagnats.core.model import Step
from dagnats.core.state import OPEN, SATISFIED
from dagnats.enquiries import Enquiries
from dagnats.errors import OutsideError, PayloadGone
from dagnats.limits import WAITING_PER_SLOT_MAX
from dagnats.outcome import Parked
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import CallResult, Enquiry, SettledNotice, TaskMessage
from dagnats.worker.room import Room

log = logging.getLogger("dagnats.worker")

T = TypeVar("T")

_LOOK_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_RETRY_S = 0.3
_notice = msgspec.json.Decoder(SettledNotice)


class _Question(Struct, frozen=True):
    """What a handler asks for: call ``n`` of its iteration. ``key`` tells it from others."""

    message: TaskMessage
    n: int
    step: Step
    input: Raw
    key: str

    def meets(self, known: CallResult) -> bool:
        """Whether this is the call that a result is of."""
        return known.n == self.n and known.key == self.key


class Callers:
    """The handlers of one worker that wait for durable calls: so many for each slot; one too many parks.

    They leave the ``room`` meanwhile; ``freed`` is told when a slot becomes free.
    """

    def __init__(
        self, outside: Outside, worker: str, room: Room, freed: Callable[[], None]
    ) -> None:
        self.look_again_s: tuple[float, ...] = _LOOK_AGAIN_S
        self._outside = outside
        self._worker = worker
        self._room = room
        self._freed = freed
        self._enquiries = Enquiries(outside, Registry(outside.documents(subjects.DEFINITIONS)))
        self._futures: dict[tuple[str, str, int, str], asyncio.Future[CallResult]] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()

    @property
    def waiting(self) -> int:
        """How many handlers wait, each for however many calls."""
        return len(self._waiting)

    def slots_taken(self, at_work: int) -> int:
        """How many slots are taken: a handler that waits for a call leaves its own to others."""
        return at_work - self.waiting

    def heard(self, payload: bytes) -> None:
        """A notice that a call is settled."""
        try:
            notice = _notice.decode(payload)
        except msgspec.DecodeError:
            return
        result = notice.result
        future = self._futures.get((notice.run, notice.ticket, result.n, result.key))
        if future is not None and not future.done():
            future.set_result(result)

    async def call(
        self, message: TaskMessage, n: int, step: Step, input: Raw, *, park: bool
    ) -> CallResult:
        """Have a step done; or what was recorded of it.

        Raises:
            InvalidInput, PayloadTooLarge: its input cannot be carried.
            PayloadGone: its result is too old to be there.
        """
        what = f"input of call {n}"
        payloads.refuse_forged(input, what)
        given = await outlast(lambda: payloads.offload(self._outside.blobs, input, what))
        # The engine fetches what a call is given: its key is of that, and not of a reference.
        question = _Question(message, n, step, given, call_key(step, input))
        # Whether a failure is this attempt's, or one before's, only the run knows: it is asked again.
        known = next(
            (c for c in message.calls if question.meets(c) and c.status in SATISFIED), None
        )
        if known is None:
            known = await self._made(question, park=park)
        result = known.output or Raw(b"null")
        output = await outlast(lambda: payloads.restore(self._outside.blobs, result))
        return replace(known, output=output)

    async def _made(self, question: _Question, *, park: bool) -> CallResult:
        message = question.message
        place = (message.run, message.ticket, question.n, question.key)
        future = self._futures[place] = asyncio.get_running_loop().create_future()
        try:
            known = await self._asked(question)
            if known is not None:
                return known
            if park:
                raise Parked(question.n)
            return await self._settled(question, future)
        finally:
            del self._futures[place]

    async def _asked(self, question: _Question) -> CallResult | None:
        """Ask; what is recorded, if whoever ran this ticket before asked the same: nobody will tell again."""
        turn = 0
        while await self._ask(question, turn):
            before = await self._look(question)
            if before is None or question.meets(before):
                return _if_settled(before)
            turn += 1
        return None

    async def _ask(self, question: _Question, turn: int) -> bool:
        """Store the question; whether it was there already.

        ``turn``: the same place was given to another question since.
        """
        message, n = question.message, question.n
        written = write_step(question.step)
        del written["id"]
        fact = StepCalled(
            ticket=message.ticket,
            nonce=message.nonce,
            worker=self._worker,
            n=n,
            step=Raw(msgspec.json.encode(written)),
            input=question.input,
        )
        again = f":{question.key}:{turn}" if turn else ""
        name = f"{message.run}/{message.ticket}:call:{n}{again}"
        append = Append(message.answer_to, encode(fact), name)
        [stored] = await outlast(lambda: self._outside.log.append([append]))
        return stored.duplicate

    async def _settled(self, question: _Question, future: asyncio.Future[CallResult]) -> CallResult:
        """Wait; meanwhile the slot is another's. A handler too many parks, so that others have room."""
        handler = (question.message.run, question.message.ticket)
        self._leave(handler, question.n)
        try:
            looks = 0
            while True:
                pause = self.look_again_s[min(looks, len(self.look_again_s) - 1)]
                await asyncio.wait({future}, timeout=pause)
                if future.done():
                    return future.result()
                looks += 1
                known = _if_settled(await self._look(question))
                if known is not None and question.meets(known):
                    return known
        finally:
            self._return(handler)

    def _leave(self, handler: tuple[str, str], n: int) -> None:
        """A handler begins to wait for one more call.

        Raises:
            Parked: too many do.
        """
        if handler not in self._waiting:
            if len(self._waiting) >= self._room.slots * WAITING_PER_SLOT_MAX:
                raise Parked(n)
            self._room.leave()
            self._freed()
        self._waiting[handler] += 1

    def _return(self, handler: tuple[str, str]) -> None:
        """It waits for one call less; for none: it goes on."""
        self._waiting[handler] -= 1
        if not self._waiting[handler]:
            del self._waiting[handler]
            self._room.return_to()

    async def _look(self, question: _Question) -> CallResult | None:
        """What the run has recorded under the number of a question, settled or not."""
        message = question.message
        enquiry = Enquiry(
            run=message.run,
            ticket=message.ticket,
            nonce=message.nonce,
            step=message.step,
            n=question.n,
        )
        try:
            return (await self._enquiries.ask(enquiry)).call
        except (OutsideError, TimeoutError):
            return None


async def outlast(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until it is answered: an outage costs a handler time, and no attempt."""
    while True:
        try:
            return await ask()
        except PayloadGone:
            raise
        except (OutsideError, TimeoutError) as problem:
            log.warning("a handler waits for the server: %s", problem)
            await asyncio.sleep(_RETRY_S)


def _if_settled(known: CallResult | None) -> CallResult | None:
    return None if known is None or known.status in OPEN else known
