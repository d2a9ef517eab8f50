"""Scenarios, sections 12 and 22: many runs at once (S241, S455)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dagnats import App, Fail
from dagnats.bulk import BulkResult
from dagnats.client import Client
from dagnats.errors import InvalidInput
from dagnats.jetstream.outside import JetStream
from tests.scenarios.test_14_triggers import APP, kill_a_scheduler, restart
from tests.support.deployment import deployment, eventually
from tests.support.processes import fleet


def an_app() -> App:
    """A task that takes numbers, one that hangs, and one that fails as long as it is told to."""
    app = App("bulk")

    @app.task
    async def number(n: int) -> int:
        return n

    @app.task
    async def hang() -> None:
        await asyncio.sleep(600)

    app.broken = True  # type: ignore[attr-defined]

    @app.task
    async def shaky(n: int) -> int:
        if app.broken:  # type: ignore[attr-defined]
            raise Fail("down")
        return n

    return app


async def test_s455_all_inputs_are_checked_before_any_run_starts():
    """Three give three runs; one that does not fit gives none; none and 1,001 are refused."""
    app = an_app()
    async with deployment(app) as d:
        bulk = d.client.bulk
        await d.client.register(app.workflows()["number"])
        result = await bulk.start("number", [1, 2, 3])

        assert (result.done, len(set(result.run_ids))) == (3, 3)
        outputs = [await d.client.handle(run).result(10) for run in result.run_ids]
        assert outputs == [1, 2, 3]

        for inputs, words in (
            ([1, "two", 3], r"input\[1\]: "),
            ([], "inputs must not be empty"),
            ([1] * 1001, "1001 inputs; at most 1000"),
        ):
            with pytest.raises(InvalidInput, match=words):
                await bulk.start("number", inputs)

        assert (await d.client.count()).total == 3


async def test_the_same_batch_again_starts_what_is_missing():
    """As when the first call was interrupted half-way."""
    app = an_app()
    async with deployment(app) as d:
        await d.client.register(app.workflows()["number"])
        half = await d.client.bulk.start("number", [1, 2], batch="monday")
        told: list[tuple[int, int]] = []
        whole = await d.client.bulk.start(
            "number", [1, 2, 3, 4], batch="monday", told=lambda *done: told.append(done)
        )

        assert whole.run_ids[:2] == half.run_ids
        assert (whole.done, whole.already) == (2, 2)
        assert told[-1] == (4, 4)
        assert (await d.client.count()).total == 4


async def test_s241_cancel_all():
    """A dry run changes nothing; scheduled starts are pending; what is asked wrongly is refused."""
    app = an_app()
    async with deployment(app) as d:
        bulk = d.client.bulk
        for name in ("hang", "number"):
            await d.client.register(app.workflows()[name])
        other = await d.client.start("number", 1)
        await other.result(10)
        hung = [(await d.client.start("hang")).run_id for _ in range(3)]
        later = (await d.client.start("hang", run_at="1h")).run_id
        dry = await bulk.cancel("hang", "all", dry_run=True)

        assert (dry.dry_run, dry.matched, dry.done) == (True, 4, 0)
        assert set(dry.run_ids) == {*hung, later}
        assert (await d.client.count(workflow="hang")).running == 3

        assert (await bulk.cancel("hang", "all", before_ms=1_000)).run_ids == []
        assert (await bulk.cancel("hang", "pending")).run_ids == [later]
        assert [each.status for each in await d.client.scheduled()] == ["cancelled"]
        done = await bulk.cancel("hang", reason="enough")

        assert (done.matched, done.done) == (3, 3)

        async def cancelled() -> bool:
            return (await d.client.count(workflow="hang")).cancelled == 3

        await eventually(cancelled)
        for arguments, words in (
            (("",), "workflow_id is required"),
            (("hang", "done"), 'status "done": use one of running, pending, all'),
        ):
            with pytest.raises(InvalidInput, match=words):
                await bulk.cancel(*arguments)


async def test_retry_all_in_both_modes():
    """``rerun`` starts each once anew, ``replay`` lets the failed ones go on."""
    app = an_app()
    async with deployment(app) as d:
        bulk = d.client.bulk
        await d.client.register(app.workflows()["shaky"])
        first = await bulk.start("shaky", [1, 2, 3])

        async def failed(count: int) -> bool:
            return (await d.client.count()).failed == count

        await eventually(lambda: failed(3))
        dry = await bulk.retry("shaky", dry_run=True)

        assert sorted(dry.run_ids) == sorted(first.run_ids)

        app.broken = False  # type: ignore[attr-defined]
        anew = await bulk.retry("shaky")

        assert (anew.done, anew.failed) == (3, [])
        assert (await bulk.retry("shaky")).matched == 0  # each once

        replayed = await bulk.retry("shaky", "replay")

        assert (replayed.done, replayed.failed) == (3, [])

        async def all_done() -> bool:
            return (await d.client.count()).completed == 6

        await eventually(all_done)
        with pytest.raises(InvalidInput, match="rerun, replay"):
            await bulk.retry("shaky", "again")  # type: ignore[arg-type]


async def test_a_bulk_start_goes_on_through_kills(broker, tmp_path: Path):
    """Schedulers and the server are killed while 300 runs start; the batch again leaves none out and doubles none."""
    async with fleet(broker, tmp_path, app=APP, schedulers=2, workers=1) as f:
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:

            async def start() -> BulkResult:
                return await client.bulk.start("note", list(range(300)), batch="b")

            starting = asyncio.ensure_future(start())
            await kill_a_scheduler(f)
            await restart(broker)
            await kill_a_scheduler(f)
            await starting
            again = await start()
            runs = [client.handle(run) for run in again.run_ids]

            assert again.failed == []
            assert [await run.result(60) for run in runs] == list(range(300))
            assert (await client.count()).total == 300
        finally:
            await outside.close()
