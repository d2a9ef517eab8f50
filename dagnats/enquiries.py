"""What a worker has to know of the log: whether a ticket was answered, and what a durable call came to.

A worker reads it for itself where it may. Where its credential keeps the log from it, a scheduler reads it for
the worker: the nonce of the ticket is the right to ask.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from dagnats import reading
from dagnats.core.calls import call_key, recorded
from dagnats.core.state import RUNNING
from dagnats.errors import BrokerUnavailable, DagNatsError, NotPermitted
from dagnats.limits import REQUEST_TIMEOUT_MS
from dagnats.ports import EventLog, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode, is_fact
from dagnats.wire.messages import CallResult, ClosedMark, Enquiry, EnquiryAnswer

_ON_THE_WAY = ("step.called", "usage.reported")
_mark = msgspec.json.Decoder(ClosedMark)
_answer = msgspec.json.Decoder(EnquiryAnswer)


class _Answered(Struct, frozen=True):
    """The part of an outcome that says which ticket it answers, and proves that it may."""

    ticket: str = ""
    nonce: str = ""
    type: str = ""


_answered = msgspec.json.Decoder(_Answered)


class Enquiries:
    """Answers by reading; or by asking schedulers, once the server has refused the reading."""

    def __init__(self, outside: Outside, registry: Registry) -> None:
        self._outside = outside
        self._registry = registry
        self._may_read = True

    async def ask(self, enquiry: Enquiry) -> EnquiryAnswer:
        """The answer.

        Raises:
            OutsideError: the log cannot be read, or no scheduler answers.
        """
        if self._may_read:
            try:
                return await answer(self._outside, self._registry, enquiry)
            except NotPermitted:
                self._may_read = False
        wait_ms = REQUEST_TIMEOUT_MS
        told = await self._outside.notices.ask(subjects.DESK, encode(enquiry), wait_ms, enough=1)
        if not told:
            raise BrokerUnavailable(
                f"no scheduler said within {wait_ms} ms whether ticket {enquiry.ticket} of run "
                f"{enquiry.run} is open; is one alive?"
            )
        return _answer.decode(told[0])


async def answer(outside: Outside, registry: Registry, enquiry: Enquiry) -> EnquiryAnswer:
    """What the log says."""
    if enquiry.n is None:
        return EnquiryAnswer(settled=await is_settled(outside.log, enquiry))
    return EnquiryAnswer(call=await _call(outside, registry, enquiry, enquiry.n))


async def is_settled(events: EventLog, enquiry: Enquiry) -> bool:
    """Whether the log has an answer to a ticket already, or the end of its run."""
    partition = subjects.partition_of(enquiry.run, events.partitions)
    closed = await events.last(subjects.mark(partition, enquiry.run, "closed"))
    if closed is not None and _is_over(closed.payload, enquiry.epoch):
        return True
    for entry in await events.history(enquiry.run, max(0, enquiry.after_seq)):
        if not is_fact(entry):
            continue
        try:
            found = _answered.decode(entry.payload)
        except msgspec.DecodeError:
            continue
        # Schedulers drop an answer with another nonce; so the ticket still waits for one.
        mine = found.ticket == enquiry.ticket and found.nonce == enquiry.nonce
        if mine and found.type not in _ON_THE_WAY:  # what it says on the way ends nothing
            return True
    return False


def _is_over(mark: bytes, epoch: int) -> bool:
    """Whether a run has ended, or was opened again in an epoch after this ticket's."""
    try:
        closed = _mark.decode(mark)
    except msgspec.DecodeError:
        return True
    return closed.status != RUNNING or epoch < closed.epoch


async def _call(
    outside: Outside, registry: Registry, enquiry: Enquiry, n: int
) -> CallResult | None:
    """What the run has recorded under the number of a call, settled or not."""
    try:
        run = (await reading.read_run(outside, registry, enquiry.run)).run
    except NotPermitted:
        raise
    except (DagNatsError, TimeoutError):
        return None
    graph = run.graph
    position = graph.index.get(enquiry.step) if graph else None
    if graph is None or position is None:
        return None
    call = recorded(graph, run.steps[position], n)
    if call is None:
        return None
    step, state = graph.nodes[call].step, run.steps[call]
    return CallResult(
        n=n,
        step=step.id,
        status=state.status,
        key=call_key(step, state.input),
        output=state.output,
        error=state.error.message if state.error else "",
        failure=state.error.failure if state.error else "",
    )
