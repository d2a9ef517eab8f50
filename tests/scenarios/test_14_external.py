"""Scenarios, section 14: kinds of triggers that workers own (S295)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagnats.client import Client
from dagnats.core.triggers.model import External, Trigger
from dagnats.errors import InvalidInput, RequestError
from dagnats.jetstream.outside import JetStream
from dagnats.trigger_types import TriggerType, register_type, types
from dagnats.wire import subjects
from tests.support.deployment import eventually, holds_for
from tests.support.processes import fleet

APP = str(Path(__file__).with_name("external_app.py"))
TEMPLATE = {"$input": "data"}


def a_trigger(name: str, **config: Any) -> Trigger:
    """One of the app's kind."""
    return Trigger(id=name, workflow="note", on=External("count", config), input=TEMPLATE)


async def test_s295_one_worker_serves_a_kind_and_another_takes_it_over(broker, tmp_path):
    """Triggers reach it, changes and pauses too; when it is killed, the other goes on, and no key starts two runs."""
    async with fleet(broker, tmp_path, app=APP, schedulers=1, workers=2) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            await eventually(lambda: types(outside.documents(subjects.TRIGGER_TYPES)))
            await client.set_trigger(a_trigger("t", pause=0.2))

            async def outputs() -> list[dict[str, Any]]:
                fires = await client.fires("t", 500)
                return [
                    await client.handle(each.run_id).output()
                    for each in fires
                    if each.status == "completed"
                ]

            async def several() -> bool:
                return len(await outputs()) >= 3

            await eventually(several)
            pids = {each["pid"] for each in await outputs()}

            assert len(pids) == 1

            [owner] = [w for w in f.workers if w.pid in pids]
            f.gone(owner)
            owner.kill()
            before = {each["n"] for each in await outputs()}

            async def goes_on() -> bool:
                return len({each["n"] for each in await outputs()} - before) >= 2

            await eventually(goes_on, 20)
            found = await outputs()

            assert {each["pid"] for each in found} > pids
            assert len(found) == len({each["n"] for each in found})

            await client.enable_trigger("t", enabled=False)

            async def quiet() -> int:
                return (await client.count()).total

            await eventually(lambda: is_disabled(client))
            total = await settled(quiet)

            async def same() -> bool:
                return await quiet() == total

            await holds_for(1.5, same)
        finally:
            await outside.close()


async def is_disabled(client: Client) -> bool:
    """Whether the scheduler has heard of it."""
    view = await client.view_trigger(await client.trigger("t"))
    return not view.enabled


async def settled(count: Any) -> int:
    """A number that has not changed for longer than a worker takes to look."""
    seen: list[int] = []

    async def same() -> bool:
        seen.append(await count())
        return len(seen) > 30 and len(set(seen[-30:])) == 1

    await eventually(same, 20)
    return seen[-1]


async def test_s295_registering_is_idempotent_and_drift_is_refused(broker):
    """Another owner, or another schema without a higher version; a config that does not fit; an unknown kind."""
    outside = await JetStream.open(broker.url, name="test")
    client = Client(outside)
    documents = outside.documents(subjects.TRIGGER_TYPES)
    kind = TriggerType(name="count", owner="a", config_schema={"type": "object"})
    try:
        assert await register_type(documents, kind, 1)
        assert not await register_type(documents, kind, 2)

        for other, words in (
            (TriggerType(name="count", owner="b", version=2), "is owned by app a"),
            (TriggerType(name="count", owner="a"), "raise version="),
        ):
            with pytest.raises(RequestError, match=words):
                await register_type(documents, other, 3)
        with pytest.raises(InvalidInput, match="payload_schema"):
            bad = TriggerType(name="x", owner="a", payload_schema={"type": "nothing"})
            await register_type(documents, bad, 3)

        assert await register_type(documents, TriggerType(name="count", owner="a", version=2), 4)

        strict = TriggerType(name="strict", owner="a", config_schema={"type": "number"})
        await register_type(documents, strict, 5)
        await outside.documents(subjects.DEFINITIONS).put(
            "name.note", b'{"name":"note","definition":"-"}'
        )
        for on, words in (
            (External("strict", "x"), "config of a trigger of type strict"),
            (External("other"), 'no trigger type "other" is registered'),
        ):
            with pytest.raises(RequestError, match=words):
                await client.set_trigger(Trigger(id="t", workflow="note", on=on))
    finally:
        await outside.close()
