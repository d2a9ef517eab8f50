"""Asking for durable calls and waiting for them, from a worker's side."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from dagnats.core.calls import call_key
from dagnats.core.model import Step
from dagnats.errors import BrokerUnavailable, InvalidInput, PayloadGone
from dagnats.limits import WAITING_PER_SLOT_MAX
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.waiting import OnLoop
from dagnats.memory.world import World
from dagnats.outcome import Parked
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import CallResult, SettledNotice, TaskMessage
from dagnats.worker import calls
from dagnats.worker.calls import Callers
from dagnats.worker.lease import LeaseKeeper
from dagnats.worker.room import Room

STEP = Step(id="call", task="fetch")
ANSWER_TO = subjects.fact(0, "r", "worker")


def ticket(number=1, known=()) -> TaskMessage:
    """A ticket of a step that calls."""
    return TaskMessage(
        ticket=f"a/{number}/0", run="r", step="a", task="t", workflow="w", answer_to=ANSWER_TO, calls=tuple(known)
    )  # fmt: skip


def result(value="1", n=0, status="completed", output=b"7") -> CallResult:
    """How a call with this input ended."""
    key = call_key(STEP, Raw(value.encode()))
    return CallResult(n=n, step="a#0.0", status=status, key=key, output=Raw(output))


class Site:
    """A worker's calls on a deployment in memory."""

    def __init__(self) -> None:
        self.outside = Memory(World(VirtualClock(), 1), "worker", OnLoop())
        self.freed = 0
        keeper = LeaseKeeper(None, 1_000, VirtualClock())  # type: ignore[arg-type]  (holds nothing)
        self.room = Room(1, "w1", self.outside.queue, keeper)
        self.room.take()
        self.callers = Callers(self.outside, "w1", self.room, self._free)

    def _free(self) -> None:
        self.freed += 1

    def call(self, message=None, n=0, value="1", *, park=False):
        """Begin a call."""
        asked = self.callers.call(message or ticket(), n, STEP, Raw(value.encode()), park=park)
        return asyncio.ensure_future(asked)

    def tell(self, ended: CallResult, number=1) -> None:
        """What the scheduler tells."""
        self.callers.heard(encode(SettledNotice(run="r", ticket=f"a/{number}/0", result=ended)))

    @property
    def asked(self) -> int:
        """How often something was asked for."""
        return len(self.outside._link.world.streams[subjects.EVENTS].entries)


async def turns() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_call_is_asked_for_and_heard_of():
    """While it waits, its slot is free."""
    site = Site()
    call = site.call()
    await turns()
    assert (site.asked, site.callers.waiting, site.freed) == (1, 1, 1)
    assert (site.room.free, site.callers.slots_taken(1)) == (1, 0)

    site.tell(result())
    assert (await call).output == Raw(b"7")
    assert (site.room.free, site.callers.slots_taken(1)) == (0, 1)


async def test_what_is_known_is_not_asked_for():
    """The dispatch says what was recorded; only for the same question."""
    site = Site()
    known = await site.call(ticket(known=[result()]))
    assert (known.output, site.asked) == (Raw(b"7"), 0)

    other = site.call(ticket(known=[result()]), value="2")
    await turns()
    assert (site.asked, other.done()) == (1, False)
    other.cancel()


async def test_a_failure_is_asked_about_again():
    """The run knows whether it was this attempt's."""
    site = Site()
    call = site.call(ticket(known=[result(status="failed")]))
    await turns()
    assert (site.asked, call.done()) == (1, False)
    call.cancel()


async def test_news_of_another_question_is_not_taken():
    """Somebody may have asked something else under the same ticket and number, before a crash."""
    site = Site()
    call = site.call(value="2")
    await turns()
    site.tell(result(value="1", output=b"1"))
    site.tell(result(value="2", n=1, output=b"2"))
    site.tell(result(value="2", output=b"3"), number=2)
    site.callers.heard(b"{")
    await turns()
    assert not call.done()

    site.tell(result(value="2", output=b"4"))
    assert (await call).output == Raw(b"4")


async def test_a_handler_counts_once_however_much_it_waits_for():
    """Ten calls of one handler free one slot."""
    site = Site()
    waits = [site.call(n=n) for n in range(10)]
    await turns()
    assert (site.callers.waiting, site.room.free, site.freed) == (1, 1, 1)

    for n in range(10):
        site.tell(result(n=n))
    await asyncio.gather(*waits)
    assert (site.callers.waiting, site.room.free) == (0, 0)


async def test_a_handler_too_many_parks():
    """Those that wait already may wait for more."""
    site = Site()
    waits = [site.call(ticket(number)) for number in range(WAITING_PER_SLOT_MAX)]
    await turns()
    with pytest.raises(Parked) as parked:
        await site.call(ticket(9), n=5)
    assert parked.value.n == 5

    waits.append(site.call(ticket(2), n=1))
    await turns()
    assert not waits[-1].done()
    for wait in waits:
        wait.cancel()
    await turns()
    assert site.callers.waiting == 0


async def test_parking_asks_first():
    """What is waited for has begun when the handler is gone."""
    site = Site()
    with pytest.raises(Parked):
        await site.call(park=True)
    assert (site.asked, site.callers.waiting) == (1, 0)


async def test_an_outage_is_waited_out(monkeypatch):
    """No attempt of the handler is used up: neither by the question, nor by a large input or result."""
    monkeypatch.setattr(calls, "_RETRY_S", 0.001)
    site, away = Site(), BrokerUnavailable("away")
    append, put, get = site.outside.log.append, site.outside.blobs.put, site.outside.blobs.get
    faults = {"append": [away, TimeoutError()], "put": [away], "get": [away]}

    def failing(name, works):
        async def maybe(*given):
            if faults[name]:
                raise faults[name].pop()
            return await works(*given)

        return maybe

    for port, name, works in ((site.outside.log, "append", append), (site.outside.blobs, "put", put),
                              (site.outside.blobs, "get", get)):  # fmt: skip
        monkeypatch.setattr(port, name, failing(name, works))
    large = '"' + "x" * 300_000 + '"'
    call = site.call(value=large)
    await asyncio.sleep(0.1)
    [name] = site.outside._link.world.blobs
    site.tell(result(large, output=b'{"$dagnats.blob":"' + name.encode() + b'","size":300002}'))

    assert (await call).output == Raw(large.encode())
    assert not any(faults.values())


async def test_what_cannot_be_carried_is_told():
    """An input that looks like a reference; a result that is too old to be there."""
    site = Site()
    with pytest.raises(InvalidInput, match="input of call 3 has the reserved key"):
        await site.call(n=3, value='{"$dagnats.blob":"x","size":1}')
    gone = result(output=b'{"$dagnats.blob":"gone","size":1}')
    with pytest.raises(PayloadGone):
        await site.call(ticket(known=[gone]))
