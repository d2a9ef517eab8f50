"""Scenarios, section 19: scheduled starts (S419). Sleep is in test_06_waits and the step kinds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dagnats import App
from dagnats.client import Client
from dagnats.errors import (
    InvalidInput,
    RequestError,
    RunAlreadyStarted,
    RunCancelled,
    RunNotFound,
)
from dagnats.jetstream.outside import JetStream
from dagnats.testing import in_memory, virtual_time
from tests.scenarios.test_14_triggers import APP, kill_a_scheduler, restart
from tests.support.deployment import deployment, eventually, holds_for
from tests.support.processes import fleet


def an_app() -> App:
    """One task, which gives back what it is given."""
    app = App("scheduled")

    @app.task
    async def note(given: object = None) -> object:
        return given

    return app


async def test_s419_a_start_in_two_seconds():
    """No run before, the run after, with the same id; its record is gone then."""
    app = an_app()
    async with deployment(app) as d:
        handle = await app.tasks["note"].start(7, id="later", run_at=timedelta(seconds=2))
        [record] = await d.client.scheduled()
        with pytest.raises(RunNotFound):
            await d.client.run("later")

        assert (record.run_id, record.workflow_id, record.status) == ("later", "note", "scheduled")
        assert bytes(record.input) == b"7"
        assert await handle.result(15) == 7
        run = await d.client.run("later")

        assert run.started_ms >= datetime.fromisoformat(record.run_at).timestamp() * 1000

        await eventually(lambda: gone(d.client))


async def gone(client: Client) -> bool:
    """Whether no start is scheduled."""
    return not await client.scheduled()


async def test_s419_cancelled_before_its_time():
    """It never runs; cancelling again is an error, and so is starting another of its id."""
    app = an_app()
    async with deployment(app) as d:
        note = app.tasks["note"]
        handle = await note.start(id="never", run_at="1500ms")
        other = await note.start(id="other", run_at="1500ms")

        assert await handle.cancel("not needed")
        with pytest.raises(RunCancelled, match="not needed"):  # who waits is told at once
            await handle.result(10)
        with pytest.raises(RequestError, match="was cancelled before"):
            await handle.cancel()
        with pytest.raises(RunAlreadyStarted):
            await note.start(id="never", run_at="1h")

        await other.result(15)  # the same instant has passed for both

        async def absent() -> bool:
            return (await d.client.count()).total == 1

        await holds_for(1, absent)

        assert [each.status for each in await d.client.scheduled()] == ["cancelled"]


async def test_s419_what_is_refused():
    """The past, more than 365 days, no zone, no time; within a second is at once."""
    app = an_app()
    async with deployment(app) as d:
        note, now = app.tasks["note"], datetime.now(UTC)
        for when, words in (
            (now - timedelta(seconds=5), "has passed"),
            (timedelta(days=366), "more than 365 days"),
            ("2026-01-31T09:00:00", "no time: give one with a zone"),
            ("soon", "is no time"),
        ):
            with pytest.raises(InvalidInput, match=words):
                await note.start(run_at=when)
        handle = await note.start(1, run_at="900ms")

        assert await d.client.run(handle.run_id)
        with pytest.raises(RunNotFound):
            await d.client.cancel("nothing-of-this-id")


async def test_the_definition_is_that_of_the_time():
    """What was registered meanwhile runs; of a workflow that is gone, what was registered when it was asked for."""
    async with deployment(an_app()) as d:
        steps = [{"id": "s", "task": "note", "input": {"$literal": 1}}]
        await d.register({"name": "w", "steps": steps})
        await d.register({"name": "gone", "steps": steps})
        handle = await d.client.start("w", run_at="2s")
        lost = await d.client.start("gone", run_at="2s")
        await d.register({"name": "w", "steps": [{**steps[0], "input": {"$literal": 2}}]})
        await d.client.registry.forget("gone")

        assert await handle.result(15) == 2
        assert await lost.result(15) == 1


async def test_two_schedulers_and_kills_start_each_run_once(broker, tmp_path: Path):
    """Twenty starts at one time; the owners and the server are killed around it."""
    async with fleet(broker, tmp_path, app=APP, schedulers=2, workers=1) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            at = datetime.now(UTC) + timedelta(seconds=6)
            handles = [await client.start("note", n, id=f"at-{n}", run_at=at) for n in range(20)]
            await kill_a_scheduler(f)
            await restart(broker)
            await kill_a_scheduler(f)

            assert [await handle.result(60) for handle in handles] == list(range(20))
            assert (await client.count()).total == 20
        finally:
            await outside.close()


@virtual_time
async def test_a_year_passes_in_virtual_time():
    """As far ahead as there is; and idempotent starts are one."""
    app = an_app()
    async with in_memory(app) as sandbox:
        note = app.tasks["note"]
        handle = await note.start("x", idempotency_key="k", run_at=timedelta(days=365))
        again = await note.start("x", idempotency_key="k", run_at="1h")
        await sandbox.advance("364d")

        assert again.run_id == handle.run_id
        assert len(await sandbox.client.scheduled()) == 1
        assert await handle.result() == "x"
