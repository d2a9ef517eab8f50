"""History without consumers, and a partition's facts."""

from __future__ import annotations

import asyncio
import time

import pytest

from dagnats.errors import LeaseLost
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.broker import Broker


async def fill(outside: JetStream, run: str, count: int, partition: int | None = None) -> None:
    """Store facts of a run."""
    at = subjects.partition_of(run, outside.log.partitions) if partition is None else partition
    await outside.log.append(
        [Append(subjects.fact(at, run, "worker"), b"%d" % n, f"{run}:{n}") for n in range(count)]
    )


async def take(feed, count: int) -> list:
    """That many facts."""
    taken = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            taken += await feed.next(count - len(taken))
    return taken


async def test_history(outside, run):
    """Facts, dispatches and marks of one run, in order, with times and ids."""
    partition = subjects.partition_of(run, outside.log.partitions)
    messages = [
        Append(subjects.fact(partition, run, "client"), b"1", f"{run}:start"),
        Append(subjects.task(partition, run, "a.b", ""), b"2", f"{run}:a"),
        Append(subjects.mark(partition, run, "closed"), b"3"),
    ]
    stored = await outside.log.append(messages)
    await fill(outside, f"{run}-other", 3, partition)

    entries = await outside.log.history(run)

    assert [(e.subject, e.payload, e.msg_id, e.seq) for e in entries] == [
        (m.subject, m.payload, m.msg_id, s.seq) for m, s in zip(messages, stored, strict=True)
    ]
    assert abs(entries[0].at_ms - time.time() * 1000) < 60_000
    assert await outside.log.history(run, stored[0].seq) == entries[1:]
    assert await outside.log.history(run, stored[2].seq) == []
    assert await outside.log.history("nobody") == []


async def test_long_history(outside, run):
    """More messages than one answer holds are all read, once each."""
    await fill(outside, run, 2_345)

    entries = await outside.log.history(run)

    assert [int(entry.payload) for entry in entries] == list(range(2_345))


@pytest.mark.slow
async def test_history_among_many(fragile, run):
    """A hundred thousand messages of other runs do not slow the reading of one run."""
    await fill(fragile, run, 5)
    for part in range(10):
        partition = subjects.partition_of(run, 4)
        await fragile.log.append(
            [
                Append(subjects.fact(partition, f"o{part}-{n // 10}", "worker"), b"x" * 100)
                for n in range(10_000)
            ]
        )
    await fragile.log.append(
        [Append(subjects.mark(subjects.partition_of(run, 4), run, "closed"), b"5")]
    )
    began = time.monotonic()

    entries = await fragile.log.history(run)

    assert len(entries) == 6
    assert time.monotonic() - began < 0.5


async def test_times_agree(fragile, run):
    """A fact has the same time whether it was delivered or read back."""
    await fill(fragile, run, 50)
    feed = await fragile.feed(subjects.partition_of(run, 4))

    delivered = await take(feed, 50)
    read = await fragile.log.history(run)

    assert [(d.seq, d.at_ms) for d in delivered] == [(e.seq, e.at_ms) for e in read]
    await feed.close()


async def test_last(outside, run):
    """The last message of a subject, and the log's last sequence."""
    await fill(outside, run, 3)
    subject = subjects.fact(subjects.partition_of(run, outside.log.partitions), run, "worker")

    last = await outside.log.last(subject)

    assert (last.payload, last.msg_id) == (b"2", f"{run}:2")
    assert await outside.log.last_seq() >= last.seq
    assert await outside.log.last(f"{subject}.none") is None


async def test_feed(fragile):
    """Facts of the partition only, in order; acknowledged ones do not come again."""
    feed = await fragile.feed(1)
    await fill(fragile, "a", 700, 1)
    await fill(fragile, "b", 5, 2)

    facts = await take(feed, 700)
    await feed.acknowledge(facts[-1])

    assert [int(fact.payload) for fact in facts] == list(range(700))
    assert await feed.next(10) == []
    await feed.rewind()
    assert await feed.next(10) == []
    await feed.close()


async def test_waiting_for_a_fact(fragile):
    """``next`` returns as soon as something comes, and empty when nothing does."""
    feed = await fragile.feed(0)
    assert await feed.next(10) == []
    waiting = asyncio.create_task(take(feed, 1))
    await asyncio.sleep(0)
    began = time.monotonic()

    await fill(fragile, "a", 1, 0)

    assert [fact.payload for fact in await waiting] == [b"0"]
    assert time.monotonic() - began < 0.5
    await feed.close()


async def test_rewind(fragile, run):
    """What was handed out and not acknowledged comes again at once, to a new owner too."""
    await fill(fragile, "a", 300, 1)
    feed = await fragile.feed(1)
    facts = await take(feed, 300)
    await feed.acknowledge(facts[99])
    await fragile.link.client.flush()
    await settled(fragile, 1, facts[99].seq)
    await feed.close()
    began = time.monotonic()

    heir = await fragile.feed(1)
    await heir.rewind()
    again = await take(heir, 200)

    assert [fact.seq for fact in again] == [fact.seq for fact in facts[100:]]
    assert time.monotonic() - began < 2
    await heir.rewind()
    assert (await take(heir, 1))[0].seq == facts[100].seq
    await heir.close()


async def settled(outside: JetStream, partition: int, seq: int) -> None:
    """An acknowledgement is processed beside the API; wait until it shows."""
    name = subjects.scheduler_consumer(partition)
    async with asyncio.timeout(5):
        while True:
            info = await outside.link.api(f"CONSUMER.INFO.{subjects.EVENTS}.{name}")
            if info["ack_floor"]["stream_seq"] >= seq:
                return


async def test_acknowledging_without_the_lease(fragile):
    """An owner whose fence says no acknowledges nothing."""
    await fill(fragile, "a", 3, 1)
    feed = await fragile.feed(1)
    facts = await take(feed, 3)

    with pytest.raises(LeaseLost):
        await feed.acknowledge(facts[-1], lambda: False)
    await feed.rewind()

    assert len(await take(feed, 3)) == 3
    await feed.close()


@pytest.mark.faults
async def test_feed_survives_a_restart(fragile, broker: Broker, until):
    """After kill -9 the unacknowledged facts come at once, in order, then new ones."""
    await fill(fragile, "a", 10, 1)
    feed = await fragile.feed(1)
    facts = await take(feed, 10)
    await feed.acknowledge(facts[3])
    await settled(fragile, 1, facts[3].seq)
    broker.kill()
    await until(lambda: not fragile.link.up)
    assert await feed.next(10) == []
    broker.start()
    await fill(fragile, "b", 5, 1)
    began = time.monotonic()

    again = await take(feed, 15 - 4)

    assert time.monotonic() - began < 5
    assert [f.seq for f in again][-11:] == sorted({f.seq for f in again})[-11:]
    assert {f.seq for f in again} >= {f.seq for f in facts[4:]}
    await feed.close()


async def test_a_removed_consumer_comes_back(fragile):
    """When somebody removes the consumer the feed makes it again and goes on."""
    feed = await fragile.feed(1)
    await fragile.link.api(f"CONSUMER.DELETE.{subjects.EVENTS}.{subjects.scheduler_consumer(1)}")
    await fill(fragile, "a", 1, 1)

    assert len(await take(feed, 1)) == 1
    await feed.close()


async def test_a_stopped_owner_takes_nothing(fragile, broker: Broker):
    """Facts asked for by an owner that no longer reads are left to its heir."""
    zombie = await JetStream.open(broker.url)
    old = await zombie.feed(1)
    await zombie.close()  # as a killed process would: without closing its feed

    heir = await fragile.feed(1)
    await heir.rewind()
    await fill(fragile, "a", 20, 1)

    assert len(await take(heir, 20)) == 20
    await old.close()
    await heir.close()
