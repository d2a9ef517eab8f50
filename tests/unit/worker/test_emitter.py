"""Gathering chunks, waiting for the server, storing each message once."""

import asyncio
import threading

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from dagnats.errors import BrokerUnavailable, PayloadTooLarge, PublishFailed, RequestError
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.waiting import OnLoop
from dagnats.memory.world import World
from dagnats.ports import Append, Delivery
from dagnats.wire import subjects
from dagnats.wire.messages import Chunks, TaskMessage
from dagnats.worker import emitter
from dagnats.worker.emitter import Emitter, repeats


class Site:
    """A deployment in memory whose server can be slow, or away."""

    def __init__(self) -> None:
        self.outside = Memory(World(VirtualClock()), "worker", OnLoop())
        self.open = asyncio.Event()
        self.open.set()
        self.faults: list[tuple[bool, Exception]] = []  # whether it is stored, and what is said
        self._append = self.outside.log.append
        self.outside.log.append = self.append  # type: ignore[method-assign]

    async def append(self, messages, fence=None):
        """Store when the server is there."""
        await self.open.wait()
        if self.faults:
            stored, fault = self.faults.pop(0)
            if stored:
                await self._append(messages, fence)
            raise fault
        return await self._append(messages, fence)

    def emitter(self, dispatch=7, delivery=1, **facts) -> Emitter:
        """The stream of one execution."""
        message, came = ticket(**facts), delivered(dispatch, delivery)
        return Emitter(self.outside, message, came).open()

    @property
    def messages(self) -> list[Chunks]:
        """What is stored."""
        entries = self.outside._link.world.streams[subjects.STREAMS].entries
        return [msgspec.json.decode(entry.payload, type=Chunks) for entry in entries]

    @property
    def chunks(self) -> list[int]:
        """Every chunk that is stored."""
        return [int(bytes(chunk)) for message in self.messages for chunk in message.chunks]


def ticket(attempt=1, iteration=0, resume="", step="say") -> TaskMessage:
    """A ticket of run r."""
    text = f"{step}/{attempt}/{iteration}{resume}"
    return TaskMessage(
        ticket=text, run="r", step=step, task="t", workflow="w", answer_to="x",
        attempt=attempt, iteration=iteration,
    )  # fmt: skip


def delivered(dispatch=7, delivery=1) -> Delivery:
    """How it came."""
    return Delivery(1, 0, "q", b"", "", delivered=delivery, origin_seq=dispatch)


async def turns(count: int = 20) -> None:
    """Let what can be done be done."""
    for _ in range(count):
        await asyncio.sleep(0)


def number(value: int) -> Raw:
    """A chunk."""
    return Raw(b"%d" % value)


async def test_a_lone_chunk_leaves_at_once():
    """Nothing waits for more to come."""
    site = Site()
    stream = site.emitter()
    stream.add(number(1))
    await turns()

    assert site.chunks == [1]


async def test_chunks_that_come_while_one_is_sent_are_gathered():
    """In one message, in order, numbered."""
    site = Site()
    stream = site.emitter()
    stream.add(number(0))
    await turns()
    site.open.clear()
    for value in range(1, 10):
        stream.add(number(value))
        await turns(3)
    site.open.set()
    await stream.finish()

    assert site.chunks == list(range(10))
    assert [(m.n, len(m.chunks)) for m in site.messages] == [(0, 1), (1, 1), (2, 8)]
    assert [m.run_chunks for m in site.messages] == [1, 2, 10]
    assert {(m.step, m.dispatch, m.delivery, m.anew) for m in site.messages} == {
        ("say", 7, 1, False)
    }


async def test_a_tight_loop_waits_for_the_server(monkeypatch):
    """No more than a message's worth waits to be sent, however long the server takes."""
    monkeypatch.setattr(emitter, "STREAM_BATCH_MAX", 10)
    site, emitted = Site(), 0
    stream = site.emitter()
    site.open.clear()

    async def loop() -> None:
        nonlocal emitted
        for value in range(100):
            stream.add(number(value))
            emitted += 1
            await stream.room()

    looping = asyncio.ensure_future(loop())
    await turns(200)
    waited = emitted
    site.open.set()
    await looping
    await stream.finish()

    assert 10 <= waited <= 21
    assert site.chunks == list(range(100))
    assert max(len(m.chunks) for m in site.messages) == 10


async def test_large_chunks_make_small_messages(monkeypatch):
    """Messages are bounded in bytes as well."""
    monkeypatch.setattr(emitter, "STREAM_BATCH_SIZE_BYTES", 100)
    site = Site()
    stream = site.emitter()
    for _ in range(10):
        stream.add(Raw(b"1" * 40))
    await stream.finish()

    assert [len(m.chunks) for m in site.messages] == [3, 3, 3, 1]


async def test_what_nobody_awaits_is_bounded(monkeypatch):
    """The error says how to write it."""
    monkeypatch.setattr(emitter, "STREAM_UNSENT_MAX", 5)
    stream = Site().emitter()
    with pytest.raises(RequestError, match=r"5 chunks wait.*await ctx\.emit"):
        for value in range(10):
            stream.add(number(value))
    await stream.finish()


async def test_a_chunk_is_no_whole():
    """Above 64 KB the emitter is told at once."""
    stream = Site().emitter()
    with pytest.raises(PayloadTooLarge, match="64 KB"):
        stream.add(Raw(b"1" * 70_000))


@pytest.mark.parametrize("bound", ["STREAM_CHUNKS_PER_RUN_MAX", "STREAM_SIZE_PER_RUN_MAX_BYTES"])
async def test_a_run_streams_no_more_than_its_bound(bound, monkeypatch):
    """All its executions together; whoever emits next is told, and the end tells it too."""
    monkeypatch.setattr(emitter, bound, 5)
    site = Site()
    first, second = site.emitter(7), site.emitter(8, step="other")
    for value in range(4):
        first.add(number(value))
    await first.finish()
    second.add(number(4))
    await turns()
    second.add(number(5))
    await turns()
    with pytest.raises(PayloadTooLarge, match="run r has streamed all that a run may"):
        second.add(number(6))
    with pytest.raises(PayloadTooLarge, match="fewer and larger chunks"):
        await second.finish()

    assert site.chunks == [0, 1, 2, 3, 4]


async def test_nothing_is_streamed_after_the_end():
    """What a handler left behind cannot write behind its answer."""
    site = Site()
    stream = site.emitter()
    stream.add(number(1))
    await stream.finish()
    with pytest.raises(RequestError, match="is over"):
        stream.add(number(2))
    await turns()

    assert site.chunks == [1]


async def test_threads_emit_too():
    """A plain handler's chunks keep their order."""
    site = Site()
    stream = site.emitter()

    def handler() -> None:
        for value in range(100):
            stream.add(number(value))

    thread = threading.Thread(target=handler)
    thread.start()
    await asyncio.to_thread(thread.join)
    await stream.finish()

    assert site.chunks == list(range(100))


@pytest.mark.parametrize("stored", [True, False])
async def test_an_outage_is_waited_out_and_stores_once(stored, monkeypatch):
    """Whether a message was stored before its answer was lost, it is there once."""
    monkeypatch.setattr(emitter, "_PAUSE_S", 0)
    site = Site()
    site.faults = [(stored, PublishFailed("lost")), (False, BrokerUnavailable("away"))]
    stream = site.emitter()
    for value in range(3):
        stream.add(number(value))
        await turns()
    await stream.finish()

    assert site.chunks == [0, 1, 2]


async def test_messages_too_old_to_be_there_are_not_missed(monkeypatch):
    """A handler that goes on for days, when its first chunks have expired."""
    monkeypatch.setattr(emitter, "_PAUSE_S", 0)
    site = Site()
    stream = site.emitter()
    stream.add(number(0))
    await turns()
    kept = site.outside._link.world.streams[subjects.STREAMS]
    kept.drop(kept.entries[0])
    stream.add(number(1))
    await stream.finish()

    assert site.chunks == [1]


@pytest.mark.parametrize(
    ("facts", "dispatch", "delivery"),
    [({"attempt": 2}, 9, 1), ({}, 7, 2), ({"resume": "/1"}, 9, 1)],
    ids=["retried", "delivered again", "resumed"],
)
async def test_a_repeated_execution_takes_back_what_was_streamed(facts, dispatch, delivery):
    """Before it emits anything, and even if it never does."""
    site = Site()
    first = site.emitter()
    first.add(number(1))
    await first.finish()
    await site.emitter(dispatch, delivery, **facts).finish()

    assert [(m.anew, len(m.chunks)) for m in site.messages] == [(False, 1), (True, 0)]
    assert site.messages[-1].run_chunks == 1


@pytest.mark.parametrize("facts", [{"step": "other"}, {"iteration": 1}])
async def test_nothing_is_taken_back_where_nothing_was_streamed(facts):
    """A retry of something that did not stream costs no message."""
    site = Site()
    first = site.emitter(**facts)
    first.add(number(1))
    await first.finish()
    await site.emitter(9, attempt=2).finish()

    assert [m.anew for m in site.messages] == [False]


def test_a_first_execution_looks_for_nothing():
    """Only those that may have been entered before do, whatever the step is called."""
    assert not repeats(ticket(), delivered())
    assert not repeats(ticket(iteration=4), delivered())
    assert not repeats(ticket(step="a.b-c"), delivered())
    assert repeats(ticket(resume="/2"), delivered())
    assert repeats(replace(ticket(), epoch=1), delivered()), "the run was opened again"


async def test_what_is_no_message_of_ours_is_passed_over():
    """Anybody with a connection may write to a stream."""
    site = Site()
    await site.outside.log.append([Append(subjects.stream("r", "say", "x"), b"[")])
    stream = site.emitter(attempt=2)
    stream.add(number(1))
    await stream.finish()
    stored = site.outside._link.world.streams[subjects.STREAMS].entries

    assert len(stored) == 2


async def test_what_cannot_be_looked_at_does_not_hold_a_handler_up(caplog):
    """A worker that may not read streams still answers, and says why nothing is taken back."""
    site = Site()

    async def last(*_):
        raise BrokerUnavailable("not allowed")

    site.outside.notices.last = last  # type: ignore[method-assign]
    await site.emitter(attempt=2).finish()

    assert "not looked at: not allowed" in caplog.text
    assert site.messages == []
