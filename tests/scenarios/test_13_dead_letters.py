"""Scenarios, section 13: dead letters.

S255 has a file of its own. Left out, with the features they belong to: S257 (the HTTP bridge), and the
HTTP and console sides of S261 and S263.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from dagnats import App, Fail, Retry, RunFailed, WorkflowBuilder
from dagnats.dead import DeadLetters
from dagnats.errors import LetterNotFound
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.worker import tickets
from tests.support.deployment import deployment, eventually, holds_for


async def test_s251_a_permanent_failure_leaves_one_letter():
    """On dagnats.dead.<task>.<run>.<step>, with who, why, how often, and where the work came from."""
    app = App("s251")

    @app.task(name="bank.charge", retry=Retry(3, delay="10ms"))
    async def charge(amount: int) -> None:
        raise OSError(f"no money\nfor {amount}")

    flow = WorkflowBuilder("paying").task("pay", task=charge).build()
    async with deployment(app) as d:
        handle = await d.client.start(flow, 7)
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        view = await d.client.dead.show(row.sequence)
        place = d.partition(handle.run_id)
    assert row.subject == f"dagnats.dead.bank%2Echarge.{handle.run_id}.pay"
    assert (row.run_id, row.step_id, row.task) == (handle.run_id, "pay", "bank.charge")
    assert (row.workflow, row.failure) == ("paying", "retriable")
    assert (row.attempts, row.delivery_count) == (3, 3)
    assert row.error == "OSError: no money for 7"
    assert row.consumer == "worker+bank=2Echarge+_"
    assert row.headers["Dagnats-Dlq-Task-Subject"] == subjects.task(
        place, handle.run_id, "bank.charge", ""
    )
    assert msgspec.json.decode(view.body)["input"] == 7
    assert row.replayable


async def test_s251_a_step_without_a_task_goes_by_its_kind():
    """An approval that nobody answered has a letter, too."""
    app = App("s251-kinds")
    flow = {
        "name": "asking",
        "steps": [{"id": "may-we", "type": "approval", "config": {"timeout": "100ms"}}],
    }
    async with deployment(app) as d:
        await d.register(flow)
        handle = await d.client.start("asking")
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
    assert row.subject == f"dagnats.dead.approval.{handle.run_id}.may-we"
    assert (row.task, row.headers["Dagnats-Dlq-Kind"]) == ("approval", "approval")
    assert row.body_preserved


async def test_s253_a_failure_told_again_is_one_letter():
    """The same answer again, with and without its id, and by another scheduler: one letter."""
    app = App("s253")

    @app.task
    async def broken() -> None:
        raise Fail("no good")

    async with deployment(app) as d:
        handle = await broken.start()
        with pytest.raises(RunFailed):
            await handle.result(10)
        await d.letter(handle.run_id)
        answers = [
            msgspec.json.decode(entry.payload)
            for entry in await d.outside.log.history(handle.run_id)
            if entry.subject.endswith(".worker")
        ]
        for number in range(3):
            await d.forge(handle.run_id, "worker", answers[0], f"again-{number}")
        await d.schedulers[0].kill()
        await d.add_scheduler()
        await d.forge(handle.run_id, "worker", answers[0])
        with pytest.raises(RunFailed):  # the other scheduler is at work
            await (await broken.start()).result(10)

        async def one() -> bool:
            return (await d.client.dead.count(run=handle.run_id)).total == 1

        await holds_for(1.0, one)


async def test_s253_the_stream_knows_a_letter_for_an_hour():
    """Its memory for duplicates is at least that long."""
    async with deployment(App("s253-window"), schedulers=0, workers=0) as d:
        config = (await d.outside.link.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    assert config["duplicate_window"] >= 3_600 * 10**9


async def test_s259_the_number_of_attempts_is_on_the_letter():
    """Four failures: one letter, attempts 4. Three and a success: none."""
    app, calls = App("s259"), []

    @app.task(retry=Retry(4, delay="10ms"))
    async def never() -> None:
        raise OSError("never")

    @app.task(retry=Retry(4, delay="10ms"))
    async def late() -> int:
        calls.append(1)
        if len(calls) < 4:
            raise OSError("not yet")
        return len(calls)

    async with deployment(app) as d:
        failing = await never.start()
        assert await (await late.start()).result(10) == 4
        with pytest.raises(RunFailed):
            await failing.result(10)
        row = await d.letter(failing.run_id)
        assert row.attempts == 4
        assert (await d.client.dead.count()).total == 1


@asynccontextmanager
async def slow_line(port: int, gap_s: float) -> AsyncIterator[str]:
    """A way to a server on which each message needs a while; its url."""

    async def forth(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            first, *others = data.split(b"HMSG ")
            writer.write(first)
            for frame in others:
                await asyncio.sleep(gap_s)
                writer.write(b"HMSG " + frame)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.wait(
            [
                asyncio.ensure_future(forth(reader, far_writer)),
                asyncio.ensure_future(back(far_reader, writer)),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        far_writer.close()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_s261_slow_delivery_leaves_nothing_out():
    """Fifty letters with a gap of 50 ms between any two: all are listed, and nothing is called truncated."""
    async with deployment(App("s261"), schedulers=0, workers=0) as d:
        await d.outside.log.append(
            [Append(subjects.dead("task", f"run-{n}", "step"), b"{}") for n in range(52)]
        )
        async with slow_line(d.broker.port, 0.05) as url:
            outside = await JetStream.open(url, ensure=False)
            try:
                listing = await DeadLetters(outside, d.client.clock, d.client.cancel).list(limit=52)
            finally:
                await outside.close()
    assert [row.run_id for row in listing.letters] == [f"run-{n}" for n in reversed(range(52))]
    assert (listing.total, listing.returned, listing.truncated) == (52, 52, False)


async def test_s263_what_was_discarded_can_be_brought_back():
    """Gone at once, back as it was; an undo of what was never discarded is refused."""
    app = App("s263")

    @app.task
    async def broken(_: str) -> None:
        raise Fail("no good")

    async with deployment(app) as d:
        handle = await broken.start("x" * 400_000)
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        before = await d.outside.letters.get(row.sequence)
        await d.client.dead.discard(row.sequence)
        assert (await d.client.dead.list(run=handle.run_id)).letters == []
        back = await d.client.dead.undo(row.sequence)
        after = await d.outside.letters.get(back.sequence)
        assert after.payload == before.payload
        assert after.headers[:-1] == before.headers
        again = await d.letter(handle.run_id)
        assert again.timestamp == row.timestamp
        with pytest.raises(LetterNotFound, match="kept for 1 h"):
            await d.client.dead.undo(row.sequence)
        bucket = (await d.outside.link.api(f"STREAM.INFO.KV_{subjects.DISCARDED}"))["config"]
        assert bucket["max_age"] == 3_600 * 10**9


async def test_s265_work_that_kills_its_workers_fails_its_run(monkeypatch):
    """When its deliveries are used up, the run has failed, and the letter says why."""
    app, calls = App("s265"), []
    monkeypatch.setattr(tickets, "DELIVERIES_MAX", 1)

    @app.task
    async def deadly() -> None:
        calls.append(1)
        await asyncio.sleep(60)

    async with deployment(app, lease_ms=1_000) as d:
        handle = await deadly.start()
        await eventually(lambda: len(calls) == 1)
        await d.workers[-1].kill()
        await d.add_worker(lease_ms=1_000)
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        assert row.failure == "worker_lost"
        assert "lost" in row.error
        assert len(calls) == 1
