"""Pipelined publishes: order, refusals, fences, lost connections."""

from __future__ import annotations

import asyncio
import time

import pytest

from dagnats.errors import (
    BrokerUnavailable,
    LeaseLost,
    NotPermitted,
    PayloadTooLarge,
    PublishFailed,
    WrongSequence,
)
from dagnats.jetstream import direct
from dagnats.jetstream import publisher as publishing
from dagnats.jetstream.connect import connect
from dagnats.jetstream.outside import JetStream
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append, Stored
from dagnats.wire import subjects
from tests.support.broker import Broker


def fact(run: str, number: int = 0, **more) -> Append:
    """A worker's fact."""
    return Append(subjects.fact(0, run, "worker"), b'{"n":%d}' % number, f"{run}:{number}", **more)


async def test_order_and_duplicates(outside, run):
    """Messages are stored in order; the same ids again are duplicates at the same places."""
    messages = [fact(run, number) for number in range(5_000)]

    first = await outside.log.append(messages)
    second = await outside.log.append(messages)

    assert [stored.seq for stored in first] == sorted(stored.seq for stored in first)
    assert not any(stored.duplicate for stored in first)
    assert second == [Stored(stored.seq, True) for stored in first]


async def test_expected_sequence(outside, run):
    """A second start is refused; the right sequence is accepted."""
    subject = subjects.fact(0, run, "client")
    [first] = await outside.log.append([Append(subject, b"1", expect_last=0)])

    with pytest.raises(WrongSequence):
        await outside.log.append([Append(subject, b"2", expect_last=0)])
    [second] = await outside.log.append([Append(subject, b"3", expect_last=first.seq)])

    assert second.seq > first.seq
    assert (await outside.log.last(subject)).payload == b"3"


async def test_one_failure_of_many(outside, run):
    """One refused message makes the append fail, after the others are stored."""
    subject = subjects.fact(0, run, "client")
    messages = [fact(run, 1), Append(subject, b"", expect_last=99), fact(run, 2)]

    with pytest.raises(WrongSequence):
        await outside.log.append(messages)

    assert (await outside.log.last(fact(run).subject)).msg_id == f"{run}:2"


async def test_fence(outside, run):
    """A fence that says no stops everything behind it, and nothing of that is stored."""
    allowed = iter([True, False, True, True])

    def fence() -> bool:
        return next(allowed)

    await outside.log.append([fact(run, 1)], fence)
    with pytest.raises(LeaseLost):
        await outside.log.append([fact(run, number) for number in range(2, 50)], fence)

    assert (await outside.log.last(fact(run).subject)).msg_id == f"{run}:1"


async def test_the_fence_is_asked_when_bytes_leave(fragile, broker: Broker, run, until):
    """What waited for a connection is fenced when it is written, not when it was asked for."""
    lease = [True]
    broker.kill()
    await until(lambda: not fragile.link.up)
    appending = asyncio.create_task(fragile.log.append([fact(run, 1)], lambda: lease[0]))
    await asyncio.sleep(0)
    lease[0] = False
    broker.start()

    with pytest.raises(LeaseLost):
        await appending
    assert await fragile.log.last(fact(run).subject) is None


async def test_too_large(outside, run):
    """A payload above the server's limit is refused before it is sent; the connection lives."""
    with pytest.raises(PayloadTooLarge, match="max_payload"):
        await outside.log.append([Append(fact(run).subject, b"x" * 1_048_577)])
    with pytest.raises(PayloadTooLarge):
        await outside.log.append([Append(fact(run).subject, b"x" * 1_048_500, "i" * 200)])

    assert await outside.log.append([Append(fact(run).subject, b"x" * 1_048_400, "i")])
    assert outside.link.reconnects == 0


async def test_no_stream(shared_broker: Broker):
    """A subject without a stream fails soon, with what is missing."""
    link = await connect(shared_broker.url, name="test")
    publisher = await Publisher(link).open()

    with pytest.raises(PublishFailed, match=r"DAGNATS_EVENTS .* is missing"):
        await asyncio.wait_for(publisher.publish(Append("nobody.home", b"")), 3)

    publisher.close()
    await link.close()


async def test_full_store(broker: Broker, run):
    """A full stream says so."""
    outside = await JetStream.open(broker.url)
    config = (await outside.link.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
    await outside.link.api(f"STREAM.UPDATE.{subjects.EVENTS}", {**config, "max_bytes": 100_000})

    with pytest.raises(PublishFailed, match="no room left"):
        await outside.log.append([Append(fact(run).subject, b"x" * 60_000) for _ in range(3)])

    await outside.close()


async def test_permission_refused(run):
    """A publish that this user may not make fails at once and names its subject."""
    config = """authorization { users: [
        { user: a, password: a }
        { user: w, password: w, permissions: { publish: { deny: "dagnats.fact.>" } } } ] }"""
    broker = Broker(config=config).start()
    try:
        owner = await JetStream.open(broker.url.replace("//", "//a:a@"))
        other = await JetStream.open(broker.url.replace("//", "//w:w@"), ensure=False)
        with pytest.raises(NotPermitted, match=r"may not publish to dagnats\.fact"):
            await asyncio.wait_for(other.log.append([fact(run)]), 3)
        await other.close()
        await owner.close()
    finally:
        broker.remove()


@pytest.mark.faults
async def test_kill_mid_append(fragile, broker: Broker, run, until):
    """A kill -9 in the middle of appends: nothing acknowledged is lost, nothing is stored twice."""
    acknowledged: list[int] = []

    async def write(lane: int) -> None:
        for start in range(0, 4_000, 50):
            numbers = [lane * 100_000 + start + n for n in range(50)]
            await fragile.log.append([fact(run, number) for number in numbers])
            acknowledged.extend(numbers)

    writing = [asyncio.create_task(write(lane)) for lane in range(4)]
    for target in (1_000, 4_000, 8_000):
        await until(lambda: len(acknowledged) >= target)  # noqa: B023
        broker.kill()
        await until(lambda: not fragile.link.up)
        broker.start()
    for task in writing:
        await task

    stored = await direct.read(fragile.link, subjects.EVENTS, f"dagnats.*.0.{run}.>")
    ids = [record.entry.msg_id for record in stored]
    assert len(acknowledged) == 16_000
    assert set(ids) == {f"{run}:{number}" for number in acknowledged}
    assert len(ids) == len(set(ids))
    assert fragile.link.reconnects == 3


async def test_lost_connection_without_an_id(fragile, broker: Broker, run, until):
    """An unrepeatable publish fails when the connection goes away while it is open."""
    fragile.link.client._transport.write = lambda _data: None  # swallowed on its way
    future = fragile._publisher.publish(Append(fact(run).subject, b""))
    fragile.link.write()
    broker.kill()

    with pytest.raises(PublishFailed, match="whether it was is not known"):
        await asyncio.wait_for(future, 5)


async def test_own_write_told_from_anothers(fragile, broker: Broker, run):
    """A start whose answer was lost is recognised as one's own; another's is not."""
    subject = subjects.fact(0, run, "client")
    mine = Append(subject, b"mine", f"{run}:start", 0)
    publisher = fragile._publisher
    stopped = publisher._answered
    publisher._link._frames.direct = {  # the first answer gets lost
        number: (lambda *_: None) if heard == stopped else heard
        for number, heard in publisher._link._frames.direct.items()
    }
    appending = asyncio.create_task(fragile.log.append([mine]))
    async with asyncio.timeout(5):
        while await fragile.log.last(subject) is None:
            await asyncio.sleep(0.01)
    for number, heard in publisher._link._frames.direct.items():
        if getattr(heard, "__name__", "") == "<lambda>":
            publisher._link._frames.direct[number] = stopped
            break
    broker.kill()
    broker.start()

    [stored] = await appending
    assert stored.duplicate
    with pytest.raises(WrongSequence):
        await fragile.log.append([Append(subject, b"theirs", f"{run}:start", 0)])


async def test_deadline(fragile, broker: Broker, run, monkeypatch, until):
    """Without a server a publish fails at its deadline and says why."""
    monkeypatch.setattr(publishing, "PUBLISH_TIMEOUT_MS", 500)
    broker.kill()
    await until(lambda: not fragile.link.up)
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable, match="no connection to NATS"):
        await fragile.log.append([fact(run)])

    assert time.monotonic() - began < 2


async def test_closing_fails_what_is_open(shared_broker: Broker, run):
    """After closing, publishes fail instead of hanging."""
    outside = await JetStream.open(shared_broker.url)
    await outside.close()
    await outside.close()

    with pytest.raises(PublishFailed, match="closed"):
        await outside.log.append([fact(run)])
