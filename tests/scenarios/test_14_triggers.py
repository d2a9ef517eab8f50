"""Scenarios, section 14: triggers. What HTTP listens to comes with its listeners (S283, S285).

Debounce and batch (S287, S289) are in test_14_held.py; S271, S273 and S277 are also looked at without a server, in
tests/unit/core/triggers.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from dagnats import App
from dagnats.client import Client
from dagnats.core.triggers.model import Cron, Subject, Trigger, Webhook
from dagnats.errors import DefinitionError, RequestError
from dagnats.jetstream.outside import JetStream
from tests.support.broker import Broker
from tests.support.deployment import deployment, eventually, holds_for
from tests.support.processes import Fleet, fleet

APP = str(Path(__file__).with_name("triggers_app.py"))


def an_app(name: str) -> App:
    """One task, which gives back what it is given."""
    app = App(name)

    @app.task
    async def note(given: object = None) -> object:
        return given

    return app


async def fired(client: Client, trigger: str) -> list[int]:
    """The instants that started a run, Unix milliseconds, oldest first."""
    fires = await client.fires(trigger, 500)
    instants = [datetime.fromisoformat(each.fired_at) for each in fires if not each.skipped]
    return sorted(round(each.timestamp() * 1000) for each in instants)


async def test_s275_a_trigger_that_is_disabled_or_gone_fires_no_more():
    """While another schedule of the same period goes on."""
    async with deployment(an_app("s275")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        for name in ("kept", "paused", "gone"):
            await d.client.set_trigger(Trigger(id=name, workflow="w", on=Cron("@every 1s")))
        await eventually(lambda: fired(d.client, "gone"))
        await d.client.enable_trigger("paused", enabled=False)
        await d.client.delete_trigger("gone")

        async def settled() -> bool:
            states = {
                each.id: await d.client.view_trigger(each) for each in await d.client.triggers()
            }
            return not states["paused"].enabled and len(await fired(d.client, "kept")) >= 3

        await eventually(settled)
        before = [await fired(d.client, name) for name in ("paused", "gone")]
        kept = len(await fired(d.client, "kept"))

        async def same() -> bool:
            return before == [await fired(d.client, name) for name in ("paused", "gone")]

        await holds_for(2.5, same)

        assert len(await fired(d.client, "kept")) > kept


async def test_s279_a_message_becomes_an_enveloped_run():
    """Also one of a subject that a stream of somebody else keeps already: it is sourced from there."""
    async with deployment(an_app("s279")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        theirs = {"name": "THEIRS", "subjects": ["theirs.>"]}
        await d.outside.link.api("STREAM.CREATE.THEIRS", theirs)
        for name in ("orders.new", "theirs.new"):
            trigger = Trigger(id=name, workflow="w", on=Subject(subject=name))
            await d.client.set_trigger(trigger)
            await d.outside.notices.tell(name, b'{"order_id": "123"}')
            [fire] = await eventually(lambda name=name: d.client.fires(name))
            given = await d.client.handle(fire.run_id).result(10)

            assert given["data"] == {"order_id": "123"}
            assert given["timestamp"] == fire.fired_at
            assert [given[key] for key in ("trigger", "source", "workflow_id")] == [
                "subject", name, "w",
            ]  # fmt: skip


async def test_a_subject_that_cannot_be_captured_is_refused_in_one_line():
    """Two streams have parts of it: none can be the source of all."""
    async with deployment(an_app("captured"), workers=0) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        for name in ("A", "B"):
            await d.outside.link.api(
                f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"x.{name}"]}
            )
        with pytest.raises(Exception, match=r'"x\.\*" cannot be captured: it overlaps with .*A, B'):
            await d.client.set_trigger(Trigger(id="t", workflow="w", on=Subject(subject="x.*")))

        assert not await d.client.triggers()


async def test_s291_manual_fires():
    """Of a schedule and a webhook: a run. Of a subject, or of what is disabled: refused."""
    async with deployment(an_app("s291")) as d:
        await d.register({"name": "w", "steps": [{"id": "s", "task": "note"}]})
        for name, on in (("c", Cron("0 0 1 1 *")), ("h", Webhook("in")), ("s", Subject(event="e"))):
            await d.client.set_trigger(Trigger(id=name, workflow="w", on=on))
        for name in ("c", "h"):
            fire = await d.client.fire_trigger(name, 7)

            assert (await d.client.handle(fire.run_id).result(10))["data"] == 7

        with pytest.raises(RequestError, match="waits for event e: publish one"):
            await d.client.fire_trigger("s")
        await d.client.enable_trigger("c", enabled=False)
        with pytest.raises(RequestError, match="is disabled"):
            await d.client.fire_trigger("c")


async def test_s293_and_what_else_is_refused():
    """Two kinds or none; a bad cron, zone or filter names its field; what contradicts is named with both names."""
    async with deployment(an_app("s293"), workers=0) as d:
        steps = [{"id": "s", "task": "note"}]
        for triggers, words in (
            ([{"cron": "0 9 * * *", "subject": "a"}], "has both cron and subject"),
            ([{"id": "x"}], "says not what it waits for"),
            ([{"cron": "* * * * * *"}], "cron.expression: .* has 6 fields, not five"),
            (
                [{"cron": {"expression": "@daily", "timezone": "Mars"}}],
                'timezone: there is no .*"Mars"',
            ),
            ([{"event": "e", "filter": "a >"}], "filter: the filter cannot be read at its end"),
            ([{"cron": "@daily", "filter": "a"}], "cron and filter contradict"),
            ([{"subject": "dagnats.fact.>"}], "takes in what is not an application's"),
            ([{"event": "e", "overlap": "wait"}], 'unknown policy "wait"'),
            ([{"event": "e"}, {"event": "e", "id": "w-1"}], 'two are named "w-1"'),
        ):
            with pytest.raises(DefinitionError, match=words):
                await d.register({"name": "w", "steps": steps, "triggers": triggers})


async def test_s281_every_message_starts_one_run_whoever_is_killed(broker, tmp_path):
    """Two schedulers; the owners and the server are killed in turn while messages are published."""
    async with fleet(broker, tmp_path, app=APP, schedulers=2, workers=1) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            [decorated] = await client.triggers()

            assert (decorated.id, decorated.source) == ("new-year", "app:triggers")

            trigger = Trigger(id="t", workflow="note", on=Subject(event="e"), filter="odd")
            await client.set_trigger(trigger)

            async def publish(numbers: range) -> None:
                for n in numbers:
                    await client.publish_event("e", {"n": n, "odd": n % 2 == 1})

            await publish(range(50))
            await kill_a_scheduler(f)
            await publish(range(50, 100))
            await kill_a_scheduler(f)
            await publish(range(100, 150))
            await restart(broker)
            await publish(range(150, 200))
            expected = list(range(1, 200, 2))

            async def given() -> bool:
                fires = await client.fires("t", 500)
                return len(fires) >= len(expected) and all(
                    each.status == "completed" for each in fires
                )

            await eventually(given, 60)
            runs = [each.run_id for each in await client.fires("t", 500)]
            outputs = [(await client.handle(run).output())["data"]["n"] for run in runs]

            assert sorted(outputs) == expected
            assert (await client.count()).total == len(expected)
        finally:
            await outside.close()


async def test_s271_every_instant_starts_one_run_whoever_is_killed(broker, tmp_path):
    """A schedule of each second, with backfill: from first to last no instant is missing or doubled."""
    async with fleet(broker, tmp_path, app=APP, schedulers=2, workers=1) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            await client.set_trigger(
                Trigger(
                    id="t", workflow="note", on=Cron("@every 1s", "", backfill=True), input=None
                )
            )
            await eventually(lambda: fired(client, "t"), 20)
            await kill_a_scheduler(f)
            await kill_a_scheduler(f)
            await restart(broker)
            last = (await fired(client, "t"))[-1]

            async def beyond() -> bool:
                return (await fired(client, "t"))[-1] >= last + 3_000

            await eventually(beyond, 60)
            await client.enable_trigger("t", enabled=False)
            instants = await fired(client, "t")

            assert instants == list(range(instants[0], instants[-1] + 1, 1_000))

            async def all_there() -> bool:
                return (await client.count()).completed >= len(instants)

            await eventually(all_there, 30)

            assert (await client.count()).total == len(await fired(client, "t"))
        finally:
            await outside.close()


async def kill_a_scheduler(f: Fleet) -> None:
    """SIGKILL the one that has worked longest; another takes its place."""
    victim = f.schedulers[0]
    f.gone(victim)
    victim.kill()
    await f.add_scheduler()


async def restart(broker: Broker) -> None:
    """SIGKILL the server; it comes back on the same store."""
    broker.kill()
    await asyncio.sleep(2)  # instants pass meanwhile
    broker.start()
