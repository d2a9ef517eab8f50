"""A former owner of a partition that still asks for its facts: none may be lost over it."""

from __future__ import annotations

import asyncio
import time

import pytest

from dagnats.errors import LeaseLost
from dagnats.jetstream.feed import JetStreamFeed
from dagnats.jetstream.outside import JetStream
from dagnats.jetstream.puller import Puller
from dagnats.ports import Append, Delivery
from dagnats.wire import subjects
from tests.support.deployment import eventually

pytestmark = [pytest.mark.faults]


async def fill(outside: JetStream, first: int, count: int) -> None:
    """So many facts in partition 0, numbered."""
    subject = subjects.fact(0, "run", "client")
    await outside.log.append([Append(subject, b"%d" % n) for n in range(first, first + count)])


async def take(feed: JetStreamFeed, count: int) -> list[Delivery]:
    """Exactly so many facts."""
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await feed.next(count - len(found))
    return found


async def test_facts_taken_by_a_former_owner_come_again(broker):
    """Half of the facts go to somebody who never acknowledges; the owner gets all of them, in order."""
    former = await JetStream.open(broker.url, name="former", partitions=1)
    owner = await JetStream.open(broker.url, name="owner", partitions=1)
    try:
        feed = await owner.feed(0)
        await feed.rewind()
        stolen: list[bytes] = []
        old = Puller(
            former.link, subjects.EVENTS, subjects.scheduler_consumer(0),
            lambda *heard: stolen.append(heard[-1]), lambda _: None,
        )  # fmt: skip
        await old.open()
        old.request(7, 20_000)  # its last request, on its way while the other took over
        await former.link.settle()
        taken: list[int] = []

        async def take_some() -> None:
            try:
                for delivery in await feed.next(500):
                    taken.append(int(delivery.payload))
                    await feed.acknowledge(delivery)
            except LeaseLost:  # as the scheduler does
                await feed.rewind()

        for first in range(0, 100, 10):
            await fill(owner, first, 10)
            await take_some()
        assert stolen, "the former owner has to take some, or this test shows nothing"
        old.close()
        deadline = time.monotonic() + 20
        while len(set(taken)) < 100 and time.monotonic() < deadline:
            await take_some()
        assert list(dict.fromkeys(taken)) == list(range(100)), "in order, repetitions left out"
        await feed.close()
    finally:
        await former.close()
        await owner.close()


async def test_a_late_acknowledgement_does_not_hide_later_ones(broker):
    """What was handed over before a rewind and is acknowledged after it leaves the consumer in order."""
    outside = await JetStream.open(broker.url, name="owner", partitions=1)
    try:
        feed = await outside.feed(0)
        await fill(outside, 0, 30)
        before = await take(feed, 30)
        await feed.acknowledge(before[9])
        await asyncio.sleep(0.1)
        await feed.rewind()
        await take(feed, 5)
        await feed.acknowledge(before[19])  # a batch that was being stored when the rewind came
        await feed.acknowledge((await take(feed, 15))[-1])
        path = f"CONSUMER.INFO.{subjects.EVENTS}.{subjects.scheduler_consumer(0)}"

        async def nothing_left() -> bool:
            info = await outside.link.api(path)
            return info["num_ack_pending"] == 0 and info["ack_floor"]["stream_seq"] >= 30

        await eventually(nothing_left, 3)
        await feed.close()
    finally:
        await outside.close()
