"""Triggers in virtual time: schedules, events and subjects, as users test them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from dagnats import App
from dagnats.core.entities import TriggerFired
from dagnats.core.triggers.model import Cron, Subject, Trigger, Webhook
from dagnats.errors import InvalidInput, RequestError
from dagnats.testing import in_memory, virtual_time

DAY_MS = 24 * 3_600_000


def an_app() -> tuple[App, list[Any]]:
    """An app whose task notes what it is given."""
    app, seen = App("triggered"), []

    @app.task
    async def note(given: Any = None) -> None:
        seen.append(given)

    return app, seen


@virtual_time
async def test_a_schedule_fires_at_its_instants_and_not_when_it_is_registered():
    """Every day at nine in Berlin: seven times in a week, each with the input of a call without arguments."""
    app, days = App("nightly"), []

    @app.cron("0 9 * * *", tz="Europe/Berlin")
    @app.task
    async def report(days_back: int = 1) -> None:
        days.append(days_back)

    async with in_memory(app) as sandbox:
        await asyncio.sleep(0)

        assert not days

        await sandbox.advance("7d")
        fires = await sandbox.client.fires("report-cron", 50)

        assert days == [1] * 7
        assert len({fire.run_id for fire in fires}) == 7
        hours = {datetime.fromisoformat(f.fired_at).astimezone(UTC).minute for f in fires}
        assert hours == {0}
        assert {fire.status for fire in fires} == {"completed"}


@virtual_time
async def test_events_start_runs_with_their_data_when_the_filter_lets_them_through():
    """``@app.on_event`` unwraps: the function is given the data."""
    app, paid = App("orders"), []

    @app.on_event("order.paid", filter='amount > 100 and country == "DE"')
    @app.task
    async def ship(order: dict[str, Any]) -> None:
        paid.append(order["id"])

    async with in_memory(app) as sandbox:
        client = sandbox.client
        await sandbox.advance(1)
        for number, amount in enumerate((50, 150, 500)):
            order = {"id": number, "amount": amount, "country": "DE"}
            await client.publish_event("order.paid", order)
        await client.publish_event("order.paid", {"id": 9, "amount": 999, "country": "FR"})
        await sandbox.advance(1)

        assert sorted(paid) == [1, 2]


@virtual_time
async def test_subjects_are_captured_and_give_the_envelope():
    """Each message of a subject starts one run; what is no JSON is noted, and starts none."""
    app, seen = an_app()
    async with in_memory(app) as sandbox:
        client = sandbox.client
        await client.set_trigger(
            Trigger(id="files", workflow="note", on=Subject(subject="files.*.new"))
        )
        await sandbox.advance(1)
        for subject, body in (
            ("files.a.new", b'{"n": 1}'),
            ("files.b.old", b"2"),
            ("files.c.new", b"{"),
        ):
            await client.outside.notices.tell(subject, body)
        await sandbox.advance(1)
        [given] = seen
        refused, started = await client.fires("files")

        assert given["data"] == {"n": 1}
        assert {key: given[key] for key in ("trigger", "source", "workflow_id")} == {
            "trigger": "subject", "source": "files", "workflow_id": "note",
        }  # fmt: skip
        assert started.status == "completed"
        assert refused.skipped
        assert refused.skip_reason == "the message is not JSON"


def slow_app() -> tuple[App, list[str]]:
    """An app whose task takes three and a half minutes."""
    app, told = App("slow"), []

    @app.task
    async def work() -> None:
        told.append("begun")
        try:
            await asyncio.sleep(210)
        except BaseException:
            told.append("cancelled")
            raise
        told.append("done")

    return app, told


@pytest.mark.parametrize(
    ("overlap", "begun", "done", "skipped"),
    [("allow", 10, 10, 0), ("skip", 3, 3, 7), ("cancel-running", 10, 1, 0)],
)
def test_overlap_says_what_happens_while_a_run_goes_on(overlap, begun, done, skipped):
    """Ten instants, a minute apart, of a task that takes three and a half."""

    @virtual_time
    async def main() -> None:
        app, told = slow_app()
        async with in_memory(app) as sandbox:
            client = sandbox.client
            await client.set_trigger(
                Trigger(id="t", workflow="work", on=Cron("* * * * *"), overlap=overlap)
            )
            await sandbox.advance("10m")
            await client.enable_trigger("t", enabled=False)
            fires = await client.fires("t", 50)
            await sandbox.advance("1h")

            assert told.count("begun") == begun
            assert told.count("done") == done
            assert sum(fire.skipped for fire in fires) == skipped

    main()


@virtual_time
async def test_a_queue_is_worked_off_in_order():
    """Fires that wait start one after the other, each when the one before has ended."""
    app, told = slow_app()
    async with in_memory(app) as sandbox:
        client = sandbox.client
        hook = Trigger(id="hook", workflow="work", on=Webhook("in"), overlap="queue", input=None)
        await client.set_trigger(hook)
        await sandbox.advance(1)
        for number in range(4):
            await client._tell("hook", a_fire(number), f"n-{number}")
        await sandbox.advance("20m")

        assert told == ["begun", "done"] * 4


def a_fire(number: int) -> Any:
    """The fact that a webhook was called."""
    return TriggerFired(key=f"n-{number}", kind="webhook")


@virtual_time
async def test_disabled_and_deleted_triggers_fire_no_more():
    """And a trigger that is enabled again does not make up for what it missed."""
    app, seen = an_app()
    async with in_memory(app) as sandbox:
        client = sandbox.client
        await client.set_trigger(Trigger(id="t", workflow="note", on=Cron("* * * * *", "", True)))
        await sandbox.advance("3m")

        assert len(seen) == 3

        await client.enable_trigger("t", enabled=False)
        await sandbox.advance("10m")

        assert len(seen) == 3

        await client.enable_trigger("t")
        await sandbox.advance("2m")

        assert len(seen) == 5

        await client.delete_trigger("t")
        await sandbox.advance("10m")

        assert len(seen) == 5


@virtual_time
async def test_firing_by_hand():
    """Schedules and webhooks can be fired; subjects and what is disabled cannot; filters hold."""
    app, seen = an_app()
    async with in_memory(app) as sandbox:
        client = sandbox.client
        await client.set_trigger(Trigger(id="c", workflow="note", on=Cron("0 0 1 1 *")))
        await client.set_trigger(Trigger(id="s", workflow="note", on=Subject(event="e")))
        hook = Trigger(id="w", workflow="note", on=Webhook("in"), filter="ok")
        await client.set_trigger(hook)
        fired = await client.fire_trigger("c", {"by": "hand"})
        await client.handle(fired.run_id).result()

        assert seen[0]["trigger"] == "manual"
        assert seen[0]["data"] == {"by": "hand"}

        with pytest.raises(RequestError, match="waits for event e: publish one instead"):
            await client.fire_trigger("s")
        with pytest.raises(InvalidInput, match="does not let this through: ok"):
            await client.fire_trigger("w", {"ok": False})
        await client.enable_trigger("c", enabled=False)
        with pytest.raises(RequestError, match="disabled"):
            await client.fire_trigger("c")
