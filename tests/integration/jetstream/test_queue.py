"""The work queue: consumers, settling, redelivery."""

from __future__ import annotations

import asyncio
import time

import pytest

from dagnats.errors import BrokerUnsuitable
from dagnats.jetstream.lease_link import LeaseKeeperLink
from dagnats.ports import Append, Delivery
from dagnats.wire import subjects
from tests.support.broker import Broker


class Desk:
    """Where tickets of one source arrive."""

    def __init__(self) -> None:
        self.tickets: asyncio.Queue[Delivery] = asyncio.Queue()
        self.ended: list[int] = []

    async def open(self, outside, task, group="", lease_ms=15_000):
        self.source = await outside.queue.open(
            task, group, lease_ms, self.tickets.put_nowait, self.ended.append
        )
        return self

    async def next(self, seconds: float = 5) -> Delivery:
        async with asyncio.timeout(seconds):
            return await self.tickets.get()


async def dispatch(outside, run: str, task: str, count: int = 1, group: str = "") -> None:
    """Store dispatches."""
    await outside.log.append(
        [
            Append(subjects.task(0, run, task, group), b"%d" % n, f"{run}:{task}:{n}")
            for n in range(count)
        ]
    )


async def consumer(outside, task: str, group: str = "") -> dict:
    """What the server says about a consumer."""
    name = subjects.worker_consumer(task, group)
    return await outside.link.api(f"CONSUMER.INFO.{subjects.TASKS}.{name}")


async def test_tickets_arrive(fragile, run):
    """A dispatch arrives with where it was in the log; done removes it."""
    desk = await Desk().open(fragile, "git.fetch")
    await desk.source.request(2, 5_000)
    await dispatch(fragile, run, "git.fetch")
    await dispatch(fragile, run, "other")

    ticket = await desk.next()
    await fragile.queue.done(ticket.reply)

    assert (ticket.payload, ticket.delivered, ticket.origin_seq) == (b"0", 1, 1)
    async with asyncio.timeout(5):
        while (await consumer(fragile, "git.fetch"))["ack_floor"]["stream_seq"] != ticket.seq:
            await asyncio.sleep(0.01)
    assert desk.tickets.empty()
    await desk.source.close()


async def test_groups_are_apart(fragile, run):
    """Workers of a group get its tickets only."""
    plain = await Desk().open(fragile, "review")
    gpu = await Desk().open(fragile, "review", "gpu")
    for desk in (plain, gpu):
        await desk.source.request(5, 5_000)
    await dispatch(fragile, run, "review", group="gpu")

    assert (await gpu.next()).subject == f"dagnats.queue.review.gpu.{run}"
    assert plain.tickets.empty()


async def test_requests_end(fragile, run):
    """A request that runs out says how many did not come."""
    desk = await Desk().open(fragile, "noop")
    await dispatch(fragile, run, "noop", 3)
    await desk.source.request(10, 300)
    await desk.source.request(4, 300)
    for _ in range(3):
        await desk.next()

    async with asyncio.timeout(5):
        while sum(desk.ended) < 11:
            await asyncio.sleep(0.01)

    assert sum(desk.ended) == 11


async def test_give_back(fragile, run):
    """A ticket that is given back comes again, after its delay if there is one."""
    desk = await Desk().open(fragile, "noop")
    await desk.source.request(5, 10_000)
    await dispatch(fragile, run, "noop")
    await fragile.queue.give_back((await desk.next()).reply)
    second = await desk.next()
    began = time.monotonic()
    await fragile.queue.give_back(second.reply, 400)
    third = await desk.next()

    assert (second.delivered, third.delivered) == (2, 3)
    assert time.monotonic() - began >= 0.35


async def test_lease_runs_out(fragile, run):
    """A ticket without a sign of life comes again after the lease, which can be changed."""
    await Desk().open(fragile, "noop", lease_ms=60_000)
    desk = await Desk().open(fragile, "noop", lease_ms=1_000)
    await desk.source.request(5, 10_000)
    await dispatch(fragile, run, "noop")
    await desk.next()
    began = time.monotonic()

    again = await desk.next()

    assert again.delivered == 2
    assert 0.7 < time.monotonic() - began < 3


async def test_lease_keeper(fragile, broker: Broker, run):
    """A thread of its own extends a lease and publishes while the event loop is blocked."""
    keeper = LeaseKeeperLink(broker.url, name="keeper")
    keeper.start()
    assert await asyncio.to_thread(keeper.connected.wait, 5)
    desk = await Desk().open(fragile, "noop", lease_ms=1_000)
    await desk.source.request(5, 10_000)
    await dispatch(fragile, run, "noop")
    ticket = await desk.next()

    for _ in range(8):  # the loop is blocked, the keeper is not
        time.sleep(0.25)
        keeper.extend([ticket.reply])
    stored = keeper.publish(Append(subjects.fact(0, run, "worker"), b"late", "x")).result(5)

    assert desk.tickets.empty()
    assert (await fragile.log.last(subjects.fact(0, run, "worker"))).seq == stored.seq
    with pytest.raises(TimeoutError):
        await desk.next(0.3)
    await asyncio.to_thread(keeper.stop)
    keeper.stop()


async def test_lease_keeper_without_a_server(run):
    """Without a server the keeper starts and stops all the same, and publishes fail."""
    keeper = LeaseKeeperLink("nats://127.0.0.1:1", name="keeper")
    keeper.start()
    keeper.extend(["x"])

    with pytest.raises(Exception, match="no connection yet"):
        keeper.publish(Append("a", b"")).result(5)

    await asyncio.to_thread(keeper.stop)
    with pytest.raises(Exception, match="stopped"):
        keeper.publish(Append("a", b"")).result(5)


async def test_purge_run(fragile, run):
    """Cancelling removes the waiting tickets of that run only."""
    await dispatch(fragile, run, "noop", 3)
    await dispatch(fragile, "other", "noop")
    desk = await Desk().open(fragile, "noop")
    async with asyncio.timeout(5):
        while (await consumer(fragile, "noop"))["num_pending"] < 4:
            await asyncio.sleep(0.01)

    await fragile.queue.purge_run(run)
    await desk.source.request(5, 2_000)

    assert (await desk.next()).subject.endswith(".other")
    assert desk.tickets.empty()


async def test_foreign_filter(fragile):
    """A consumer of our name for other subjects is refused, naming both."""
    name = subjects.worker_consumer("noop", "")
    await fragile.link.api(
        f"CONSUMER.CREATE.{subjects.TASKS}.{name}.dagnats.queue.else._.*",
        {
            "stream_name": subjects.TASKS,
            "config": {
                "durable_name": name,
                "ack_policy": "explicit",
                "filter_subject": "dagnats.queue.else._.*",
            },
        },
    )

    with pytest.raises(
        BrokerUnsuitable,
        match=r"takes dagnats\.queue\.else\._\.\*, but dagnats\.queue\.noop\._\.\*",
    ):
        await Desk().open(fragile, "noop")


async def test_operator_consumer_settings_stay(fragile):
    """Joining a consumer keeps what an operator set on it."""
    await Desk().open(fragile, "noop")
    info = await consumer(fragile, "noop")
    path = f"CONSUMER.CREATE.{subjects.TASKS}.{info['name']}.{subjects.queue('noop', '')}"
    config = {**info["config"], "description": "theirs"}
    await fragile.link.api(path, {"stream_name": subjects.TASKS, "config": config})

    await Desk().open(fragile, "noop", lease_ms=20_000)

    after = (await consumer(fragile, "noop"))["config"]
    assert after["description"] == "theirs"
    assert after["ack_wait"] == 20_000_000_000


@pytest.mark.faults
async def test_queue_survives_a_restart(fragile, broker: Broker, run, until):
    """After kill -9 pulls are made again and every ticket not done comes."""
    desk = Desk()
    await desk.open(fragile, "noop", lease_ms=1_000)
    await desk.source.request(5, 5_000)
    await dispatch(fragile, run, "noop", 3)
    first = [await desk.next() for _ in range(3)]
    await fragile.queue.done(first[0].reply)
    async with asyncio.timeout(5):
        while (await consumer(fragile, "noop"))["num_ack_pending"] != 2:
            await asyncio.sleep(0.01)
    broker.kill()
    await until(lambda: not fragile.link.up)
    assert desk.ended
    await desk.source.request(10, 20_000)
    broker.start()
    await dispatch(fragile, run, "noop", 4)

    seen = {(await desk.next(10)).payload for _ in range(3)}

    assert seen == {b"1", b"2", b"3"}


async def test_a_removed_consumer_comes_back(fragile, run):
    """When somebody removes the consumer it is made again."""
    desk = await Desk().open(fragile, "noop")
    await fragile.link.api(
        f"CONSUMER.DELETE.{subjects.TASKS}.{subjects.worker_consumer('noop', '')}"
    )
    await desk.source.request(5, 500)
    async with asyncio.timeout(5):
        while not desk.ended:
            await asyncio.sleep(0.01)
    await dispatch(fragile, run, "noop")
    async with asyncio.timeout(10):
        while desk.tickets.empty():
            await desk.source.request(1, 200)
            await asyncio.sleep(0.25)

    assert (await desk.next()).payload == b"0"
