"""``ports.FactFeed``."""

import asyncio

import pytest

from dagnats.errors import LeaseLost
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import clean_feed, dispatch, fact, take


async def first_after(feed, handle):
    """What a rewound feed gives first, once the server has seen that this fact was acknowledged.

    Nobody waits for an acknowledgement, so a rewind may overtake it: the facts come once more then.
    """
    async with asyncio.timeout(10):
        [each] = await take(feed, 1)
        while each.seq <= handle.seq:
            if each.seq == handle.seq:
                await feed.acknowledge(handle)
                await feed.rewind()
            [each] = await take(feed, 1)
    return each


async def test_facts_come_in_order(outside, run):
    """The owner gets each fact once, in the order and form in which it was stored."""
    feed = await clean_feed(outside, run)
    stored = await outside.log.append([fact(outside, run, b"%d" % n) for n in range(50)])
    taken = await take(feed, 50)
    entries = await outside.log.history(run)

    assert [each.seq for each in taken] == [each.seq for each in stored]
    assert [(each.subject, each.payload, each.at_ms) for each in taken] == [
        (each.subject, each.payload, each.at_ms) for each in entries
    ]
    assert {each.delivered for each in taken} == {1}
    assert {each.origin_seq for each in taken} == {0}


async def test_only_facts_of_the_partition_come(outside, run):
    """No dispatch, no mark, no fact of another partition."""
    place = subjects.partition_of(run, outside.log.partitions)
    elsewhere = subjects.fact((place + 1) % outside.log.partitions, "stranger", "client")
    feed = await clean_feed(outside, run)
    await outside.log.append(
        [
            Append(elsewhere, b"elsewhere"),
            dispatch(outside, run, "fetch"),
            Append(subjects.mark(place, run, "closed"), b"mark"),
            fact(outside, run, b"mine"),
        ]
    )

    assert [each.payload for each in await take(feed, 1)] == [b"mine"]


async def test_no_more_than_the_limit_at_once(outside, run):
    """The rest comes with the next call."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"%d" % n) for n in range(5)])
    sizes, payloads = [], []
    while len(payloads) < 5:
        batch = await feed.next(2)
        sizes.append(len(batch))
        payloads += [each.payload for each in batch]

    assert max(sizes) <= 2
    assert payloads == [b"0", b"1", b"2", b"3", b"4"]


async def test_waiting_ends_with_the_first_fact(outside, other, run):
    """A call that found nothing returns when something comes."""
    feed = await clean_feed(outside, run)
    waiting = asyncio.ensure_future(feed.next(10))
    await asyncio.sleep(0)
    stored = await other.log.append([fact(other, run)])

    assert [each.seq for each in await waiting] == [stored[0].seq]


async def test_nothing_for_a_while_is_nothing(outside, run):
    """An empty partition answers, so that its owner can look after other things."""
    feed = await clean_feed(outside, run)

    assert await feed.next(10) == []


async def test_one_acknowledgement_covers_all_before(outside, run):
    """Only what comes after the acknowledged fact is delivered again."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"%d" % n) for n in range(4)])
    taken = await take(feed, 4)
    await feed.acknowledge(taken[1], lambda: True)
    await feed.rewind()

    assert (await first_after(feed, taken[1])).payload == b"2"
    assert [each.payload for each in await take(feed, 1)] == [b"3"]


async def test_rewinding_delivers_the_unacknowledged_again(outside, run):
    """From the first that was not acknowledged, in order, before anything younger."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"%d" % n) for n in range(3)])
    await take(feed, 2)
    await feed.rewind()
    await outside.log.append([fact(outside, run, b"3")])
    again = await take(feed, 4)

    assert [each.payload for each in again] == [b"0", b"1", b"2", b"3"]
    await feed.acknowledge(again[-1])


async def test_rewinding_counts_deliveries_anew(outside, run):
    """Nobody may take a first delivery for a fact that was never handed out before."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run) for _ in range(2)])
    await take(feed, 2)
    await feed.rewind()

    assert [each.delivered for each in await take(feed, 2)] == [1, 1]


async def test_a_handle_from_before_a_rewind_still_counts(outside, run):
    """It acknowledges what has been delivered again since."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"%d" % n) for n in range(3)])
    old = await take(feed, 3)
    await feed.rewind()
    await take(feed, 3)
    await feed.acknowledge(old[1])
    await feed.rewind()

    assert (await first_after(feed, old[1])).payload == b"2"


async def test_what_waits_behind_a_fact_is_counted(outside, run):
    """The last one has nothing behind it."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run) for _ in range(3)])
    await take(feed, 3)
    await feed.rewind()

    assert [each.pending for each in await take(feed, 3)] == [2, 1, 0]


async def test_without_the_lease_nothing_is_acknowledged(outside, run):
    """The fence is asked; when it says no, the fact comes again."""
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"mine")])
    taken = await take(feed, 1)
    with pytest.raises(LeaseLost):
        await feed.acknowledge(taken[0], lambda: False)
    await feed.rewind()

    assert [each.payload for each in await take(feed, 1)] == [b"mine"]


async def test_a_new_owner_gets_what_the_old_one_held(outside, other, run):
    """Facts taken and not acknowledged go to whoever opens the feed next and rewinds."""
    place = subjects.partition_of(run, outside.log.partitions)
    feed = await clean_feed(outside, run)
    await outside.log.append([fact(outside, run, b"%d" % n) for n in range(4)])
    taken = await take(feed, 3)
    await feed.acknowledge(taken[0])
    await outside.close()
    successor = await other.feed(place)
    await successor.rewind()

    assert (await first_after(successor, taken[0])).payload == b"1"
    assert [each.payload for each in await take(successor, 2)] == [b"2", b"3"]


async def test_facts_handed_to_another_reader_are_missed(outside, other, run):
    """A paused owner that wakes up may take facts away; what comes after them is not folded."""
    feed = await clean_feed(outside, run)
    thief = await other.feed(subjects.partition_of(run, outside.log.partitions))
    with pytest.raises(LeaseLost):
        while True:
            await outside.log.append([fact(outside, run, b"%d" % n) for n in range(10)])
            await thief.next(1)
            await feed.next(1)
    await thief.close()
    await feed.rewind()

    assert [each.payload for each in await take(feed, 10)] == [b"%d" % n for n in range(10)]


async def test_a_closed_feed_takes_nothing_more(outside, other, run):
    """After closing, new facts go to the next feed, and a call returns."""
    place = subjects.partition_of(run, outside.log.partitions)
    feed = await clean_feed(outside, run)
    await feed.close()
    await outside.log.append([fact(outside, run, b"new")])
    successor = await other.feed(place)

    assert [each.payload for each in await take(successor, 1)] == [b"new"]
    assert await feed.next(10) == []


async def test_closing_ends_a_wait(outside, run):
    """Who waits for facts when the feed is closed gets none."""
    feed = await clean_feed(outside, run)
    waiting = asyncio.ensure_future(feed.next(10))
    await asyncio.sleep(0)
    await feed.close()

    assert await waiting == []
