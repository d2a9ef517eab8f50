"""Power cuts: each stream loses its own last moments. Emulated: a stream's files are put back to an earlier time."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from dagnats import App
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.broker import Broker
from tests.support.deployment import deployment, eventually

pytestmark = [pytest.mark.faults]


def stop(broker: Broker) -> None:
    """End the server; its files are whole."""
    assert broker.process is not None
    broker.process.terminate()
    broker.process.wait()


def messages(broker: Broker, stream: str) -> Path:
    """Where a stream has its messages."""
    return Path(broker.store, "jetstream", "$G", "streams", stream, "msgs")


async def dispatch(outside: JetStream, prefix: str, count: int) -> None:
    """Dispatches of so many runs."""
    subject = [subjects.task(0, f"{prefix}{n}", "t", "") for n in range(count)]
    await outside.log.append([Append(each, b"{}", f"{each}:dispatch") for each in subject])


async def queued(outside: JetStream) -> set[str]:
    """The runs that have tickets."""
    body = {"subjects_filter": ">"}
    info = await outside.link.api(f"STREAM.INFO.{subjects.TASKS}", body)
    return {each.rpartition(".")[2] for each in info["state"].get("subjects") or {}}


async def cut_the_log(broker: Broker, aside: Path) -> None:
    """Five dispatches in log and queue; then the log loses five more, which the queue has."""
    outside = await JetStream.open(broker.url, name="before", partitions=1)
    await dispatch(outside, "kept", 5)
    await eventually(lambda: _has(outside, 5))
    await outside.close()
    stop(broker)
    shutil.copytree(messages(broker, subjects.EVENTS), aside)
    broker.start()
    outside = await JetStream.open(broker.url, name="before")
    await dispatch(outside, "lost", 5)
    await eventually(lambda: _has(outside, 10))
    await outside.close()
    stop(broker)
    shutil.rmtree(messages(broker, subjects.EVENTS))
    shutil.copytree(aside, messages(broker, subjects.EVENTS))


async def _has(outside: JetStream, count: int) -> bool:
    return len(await queued(outside)) == count


@pytest.mark.parametrize("process", ["that starts", "that reconnects"])
async def test_no_dispatch_is_skipped_after_a_power_cut(
    broker: Broker, tmp_path: Path, process: str
):
    """The queue waits for sequences to come; what is dispatched now reaches it all the same."""
    await cut_the_log(broker, tmp_path / "log")
    if process == "that starts":
        broker.start()
        outside = await JetStream.open(broker.url, name="after")
    else:  # it was connected before: to a server that has been put back meanwhile
        aside = tmp_path / "store"
        shutil.copytree(broker.store, aside)
        shutil.rmtree(broker.store)
        broker.start()
        outside = await JetStream.open(broker.url, name="after", partitions=1)
        broker.kill()
        shutil.rmtree(broker.store)
        shutil.copytree(aside, broker.store)
        broker.start()
    await dispatch(outside, "new", 3)
    await eventually(lambda: _all(outside, {"new0", "new1", "new2"}), 20)
    await outside.close()


async def _all(outside: JetStream, runs: set[str]) -> bool:
    return runs <= await queued(outside)


async def test_facts_after_a_power_cut_are_read(broker: Broker, tmp_path: Path):
    """A consumer that has acknowledged more than the log has left goes on with what comes."""
    outside = await JetStream.open(broker.url, name="before", partitions=1)
    start = [Append(subjects.fact(0, f"r{n}", "client"), b"{}") for n in range(10)]
    await outside.log.append(start[:5])
    await outside.close()
    stop(broker)
    shutil.copytree(messages(broker, subjects.EVENTS), tmp_path / "log")
    broker.start()
    outside = await JetStream.open(broker.url, name="before")
    await outside.log.append(start[5:])
    feed = await outside.feed(0)
    facts = []
    while len(facts) < 10:
        facts += await feed.next(100)
    await feed.acknowledge(facts[-1])
    await asyncio.sleep(0.5)  # acknowledgements are not confirmed
    await outside.close()
    stop(broker)
    shutil.rmtree(messages(broker, subjects.EVENTS))
    shutil.copytree(tmp_path / "log", messages(broker, subjects.EVENTS))
    broker.start()
    outside = await JetStream.open(broker.url, name="after")
    new = [Append(subjects.fact(0, f"n{n}", "client"), b"{}") for n in range(3)]
    await outside.log.append(new)
    feed = await outside.feed(0)
    seen: set[str] = set()

    async def all_new() -> bool:
        seen.update(each.subject for each in await feed.next(100))
        return {each.subject for each in new} <= seen

    await eventually(all_new, 20)
    await outside.close()


async def test_an_answer_that_only_the_queue_remembers_is_given_again(
    broker: Broker, tmp_path: Path
):
    """The log has lost it, and the ticket is gone: the step is dispatched again, and the run goes on."""
    app = App("cut")
    calls: list[int] = []

    @app.task
    async def once(n: int) -> int:
        calls.append(n)
        return n + 1

    async with deployment(app, broker=broker, workers=0, partitions=1) as d:
        await d.client.register(app.workflows()["once"])
        handle = await d.client.start("once", 1)
        await d.dispatch(handle.run_id, "once/1/0")
        await eventually(lambda: _has(d.outside, 1))
    stop(broker)
    shutil.copytree(messages(broker, subjects.EVENTS), tmp_path / "log")
    broker.start()
    async with deployment(app, broker=broker, partitions=1) as d:
        assert await d.client.handle(handle.run_id).result(20) == 2
        await eventually(lambda: _has(d.outside, 0))
    stop(broker)
    shutil.rmtree(messages(broker, subjects.EVENTS))
    shutil.copytree(tmp_path / "log", messages(broker, subjects.EVENTS))
    broker.start()
    async with deployment(app, broker=broker, schedulers=0, partitions=1) as d:
        await d.add_scheduler(reconcile_ms=200)
        assert await d.client.handle(handle.run_id).result(30) == 2
        assert calls == [1, 1]
