"""Live messages and followed streams."""

from __future__ import annotations

import asyncio

import pytest

from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.broker import Broker


async def test_tell_and_listen(outside, run, until):
    """Whoever listens hears; who stopped does not."""
    heard: list[tuple] = []
    stop = await outside.notices.listen(f"dagnats.live.{run}.*", lambda *got: heard.append(got))

    await outside.notices.tell(f"dagnats.live.{run}.a", b"1")
    await until(lambda: heard == [(f"dagnats.live.{run}.a", b"1", "")])
    stop()
    stop()
    await outside.notices.tell(f"dagnats.live.{run}.a", b"2")
    await outside.link.client.flush()

    assert len(heard) == 1


async def test_ask(outside, shared_broker: Broker, run):
    """Everybody answers; nobody there is known at once."""
    other = await JetStream.open(shared_broker.url)
    for answering, answer in ((outside, b"a"), (other, b"b")):

        def reply(_subject, _payload, to, link=answering.link, answer=answer):
            link.publish(to, answer)

        await answering.notices.listen(subjects.ask(run), reply)

    assert sorted(await outside.notices.ask(subjects.ask(run), b"?", 300)) == [b"a", b"b"]
    async with asyncio.timeout(2):
        assert await outside.notices.ask(subjects.ask(f"{run}x"), b"?", 60_000) == []
    await other.close()


async def collect(outside, run: str, count: int, after_seq: int = 0) -> list:
    """The first entries of a followed stream."""
    found = []
    entries = outside.notices.follow(subjects.STREAMS, subjects.stream_of_run(run), after_seq)
    async with asyncio.timeout(20):
        async for entry in entries:
            found.append(entry)
            if len(found) == count:
                break
    await entries.aclose()
    return found


async def write(outside, run: str, numbers) -> list:
    """Store tokens of a run."""
    return await outside.log.append(
        [Append(subjects.stream(run, "s", "t"), b"%d" % n, f"{run}:{n}") for n in numbers]
    )


async def test_follow(outside, run):
    """Stored messages, then live ones, without gaps or doubles; its consumer goes with it."""
    await write(outside, run, range(1_200))
    following = asyncio.create_task(collect(outside, run, 1_500))
    for number in range(1_200, 1_500):
        await write(outside, run, [number])

    found = await following

    assert [int(entry.payload) for entry in found] == list(range(1_500))
    await outside.link.client.flush()
    names = await outside.link.api(f"CONSUMER.NAMES.{subjects.STREAMS}")
    assert not names["consumers"]


async def test_follow_from(outside, run):
    """Following after a sequence begins behind it."""
    stored = await write(outside, run, range(10))

    found = await collect(outside, run, 3, stored[6].seq)

    assert [entry.payload for entry in found] == [b"7", b"8", b"9"]


@pytest.mark.faults
async def test_follow_across_a_restart(fragile, broker: Broker, run, until):
    """A kill -9 in between is not seen by a follower."""
    await write(fragile, run, range(50))
    following = asyncio.create_task(collect(fragile, run, 100))
    await write(fragile, run, range(50, 60))
    broker.kill()
    await until(lambda: not fragile.link.up)
    broker.start()
    await write(fragile, run, range(60, 100))

    found = await following

    assert [int(entry.payload) for entry in found] == list(range(100))
