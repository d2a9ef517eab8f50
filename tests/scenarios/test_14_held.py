"""Scenarios, section 14: events held back, on a server (S287, S289), and batches; also while processes die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dagnats import App, Batch, Debounce
from dagnats.client import Client
from dagnats.core.triggers.model import Subject, Trigger, entity_of
from dagnats.jetstream.outside import JetStream
from dagnats.wire import subjects
from tests.support.broker import Broker
from tests.support.deployment import deployment, eventually, holds_for
from tests.support.processes import Fleet, fleet

APP = str(Path(__file__).with_name("triggers_app.py"))
DATA = {"$input": "data"}
BURST = 40
KEYS = 4


def an_app(name: str) -> App:
    """One task, which gives back what it is given."""
    app = App(name)

    @app.task
    async def note(given: object = None) -> object:
        return given

    return app


def held(hold: Debounce | Batch, subject: str = "", workflow: str = "w") -> Trigger:
    """A trigger that holds events of a name, or messages of a subject."""
    on = Subject(subject=subject) if subject else Subject(event="e")
    return Trigger(id="t", workflow=workflow, on=on, input=DATA, hold=hold.hold)


async def given(client: Client, count: int, within: float = 20) -> list[Any]:
    """What the first so many runs of the trigger were given, oldest first."""

    async def there() -> list[Any]:
        fires = [each for each in await client.fires("t", 500) if not each.skipped]
        return fires if len(fires) >= count else []

    fires = await eventually(there, within)
    return [await client.handle(each.run_id).result(within) for each in reversed(fires)]


async def nothing_more(client: Client, count: int) -> None:
    """No other run comes."""

    async def same() -> bool:
        return (await client.count()).total == count

    await holds_for(1.5, same)


async def test_s287_the_last_of_two_events_starts_one_run():
    """Two within a moment, held for 300 ms: one run, with the second."""
    async with deployment(an_app("s287")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        await d.client.set_trigger(held(Debounce("300ms")))
        for value in (1, 2):
            await d.client.publish_event("e", {"v": value})

        assert await given(d.client, 1) == [{"v": 2}]

        await nothing_more(d.client, 1)
        [fire] = await d.client.fires("t")

        assert fire.events == 2


async def test_s289_each_key_starts_a_run_and_a_timer_of_before_none():
    """``abc`` and ``xyz``: two runs. The timer that was armed for the first ``abc`` comes, and nothing starts by it."""
    async with deployment(an_app("s289")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        await d.client.set_trigger(held(Debounce("2s", key="id")))
        await d.client.publish_event("e", {"id": "abc", "v": 1})
        await asyncio.sleep(1)
        for event in ({"id": "abc", "v": 2}, {"id": "xyz", "v": 3}):
            await d.client.publish_event("e", event)
        entity = entity_of("t")
        timers = f"dagnats.fact.*.{entity}.timer"

        async def came() -> bool:
            return await d.outside.log.count(timers) > 0

        await eventually(came)

        assert (await d.client.count()).total == 0

        forged = b'{"type":"timer.fired","due_ms":1}'  # one of long before
        place = subjects.fact(
            subjects.partition_of(entity, d.outside.log.partitions), entity, "timer"
        )
        await d.outside.notices.tell(place, forged)
        found = await given(d.client, 2)

        assert sorted(each["v"] for each in found) == [2, 3]

        await nothing_more(d.client, 2)


async def test_batches_of_a_subject_in_order_by_size_and_by_time():
    """Seven messages of two tenants, in threes: what is left over comes after the time-out."""
    async with deployment(an_app("batches")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        await d.client.set_trigger(held(Batch(3, timeout="1s", key="tenant"), "used.*"))
        for number in range(7):
            body = b'{"tenant":"%d","n":%d}' % (number % 2, number)
            await d.outside.notices.tell("used.tokens", body)
        found = await given(d.client, 3)

        assert sorted([each["n"] for each in batch] for batch in found) == [
            [0, 2, 4],
            [1, 3, 5],
            [6],
        ]

        await nothing_more(d.client, 3)


async def test_a_batch_of_large_events():
    """Each is stored by itself; the run is given them whole."""
    async with deployment(an_app("large")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        await d.client.set_trigger(held(Batch(3, timeout="5s")))
        for letter in "abc":
            await d.client.publish_event("e", {"text": letter * 400_000})
        [found] = await given(d.client, 1)

        assert [(each["text"][0], len(each["text"])) for each in found] == [
            ("a", 400_000), ("b", 400_000), ("c", 400_000),
        ]  # fmt: skip


# -- while processes die ---------------------------------------------------------------------------


@asynccontextmanager
async def scene(
    broker: Broker, path: Path, hold: Debounce | Batch
) -> AsyncIterator[tuple[Fleet, Client]]:
    """Two schedulers and a worker, with the trigger."""
    async with fleet(broker, path, app=APP, schedulers=2, workers=1) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            await eventually(lambda: client.registry.current("note"))
            await client.set_trigger(held(hold, workflow="note"))
            yield f, client
        finally:
            await outside.close()


async def kill_every_scheduler(f: Fleet) -> None:
    """SIGKILL both: whoever owned the trigger is gone. Two others come."""
    for victim in list(f.schedulers):
        f.gone(victim)
        victim.kill()
    await f.add_scheduler()
    await f.add_scheduler()


async def restart(broker: Broker) -> None:
    """SIGKILL the server; it comes back on the same store."""
    broker.kill()
    await asyncio.sleep(1)
    broker.start()


async def endure(broker: Broker, f: Fleet, what: str) -> None:
    """What dies, while events are held."""
    if what == "server":
        await restart(broker)
    else:
        await kill_every_scheduler(f)


async def are_held(client: Client, events: int) -> None:
    """So many events are held: whoever dies now dies with them."""

    async def seen() -> bool:
        view = await client.view_trigger(await client.trigger("t"))
        return view.held.events == events

    await eventually(seen, 30)


@pytest.mark.parametrize("what", ["schedulers", "server"])
async def test_batches_survive_whoever_dies(broker, tmp_path, what):
    """Each event is in exactly one batch, in order for its key; none has more than its size."""
    async with scene(broker, tmp_path, Batch(7, timeout="4s", key="k")) as (f, client):
        for number in range(KEYS * 5):
            await client.publish_event("e", {"k": number % KEYS, "n": number})
        await are_held(client, KEYS * 5)
        await endure(broker, f, what)
        for number in range(KEYS * 5, BURST):
            await client.publish_event("e", {"k": number % KEYS, "n": number})

        async def all_there() -> list[Any]:
            fires = [each for each in await client.fires("t", 500) if not each.skipped]
            return fires if sum(each.events for each in fires) >= BURST else []

        fires = await eventually(all_there, 40)
        batches = [await client.handle(each.run_id).result(30) for each in reversed(fires)]

        assert sorted(each["n"] for batch in batches for each in batch) == list(range(BURST))
        assert all(len(batch) <= 7 for batch in batches)
        for key in range(KEYS):
            order = [each["n"] for batch in batches for each in batch if each["k"] == key]
            assert order == sorted(order)
        await nothing_more(client, len(batches))


@pytest.mark.parametrize("what", ["schedulers", "server"])
async def test_debounced_events_survive_whoever_dies(broker, tmp_path, what):
    """One run for each key, with its last event, though nobody was there when it was due."""
    async with scene(broker, tmp_path, Debounce("3s", key="k")) as (f, client):
        for number in range(BURST):
            await client.publish_event("e", {"k": number % KEYS, "n": number})
        await are_held(client, BURST)
        await endure(broker, f, what)
        found = await given(client, KEYS, 40)

        assert sorted(each["n"] for each in found) == list(range(BURST - KEYS, BURST))

        await nothing_more(client, KEYS)


async def test_what_is_held_may_be_more_than_a_message_carries():
    """It is saved all the same: who takes over folds what came since, and has every event."""
    app, keys = an_app("many"), 2_000
    async with deployment(app) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        await d.client.set_trigger(held(Batch(1_000, timeout="5m", key="id")))
        pad = "x" * 1_000
        for begin in range(0, keys, 100):
            numbers = range(begin, begin + 100)
            events = [{"id": number, "pad": pad} for number in numbers]
            await asyncio.gather(*(d.client.publish_event("e", event) for event in events))
        await are_held(d.client, keys)
        found = await d.outside.documents(subjects.SNAPSHOTS).get(entity_of("t"))

        assert found is not None
        assert b"$dagnats.blob" in found[0]

        read = d.outside.log.history
        facts: list[int] = []

        async def counted(entity: str, after_seq: int = 0) -> Any:
            entries = await read(entity, after_seq)
            facts.append(len(entries))
            return entries

        d.outside.log.history = counted  # type: ignore[method-assign]
        await are_held(d.client, keys)

        assert facts[-1] < keys

        await d.client.set_trigger(held(Batch(1_000, timeout="1s", key="id")))

        async def all_started() -> bool:
            return (await d.client.count()).total >= keys

        await eventually(all_started, 60)
        await nothing_more(d.client, keys)
