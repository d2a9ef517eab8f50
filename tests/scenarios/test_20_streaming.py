"""Scenarios, section 20: streams of tokens, seen live and again, through retries and the death of workers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from dagnats import (
    AgentContext,
    App,
    ChunkView,
    Context,
    Continue,
    Retry,
    RunFailed,
    RunNotFound,
    Superseded,
    WorkflowBuilder,
)
from dagnats.wire import subjects
from dagnats.worker import emitter
from tests.support.deployment import deployment, eventually, program


async def read(handle, **place) -> list:
    """Everything a reader gets until the run has ended."""
    async with asyncio.timeout(30):
        return [item async for item in handle.stream(**place)]


def told(items) -> list:
    """Data of chunks, and the attempts that superseded."""
    return [i.data if isinstance(i, ChunkView) else ("void", i.attempt) for i in items]


async def test_s421_a_subscriber_gets_the_chunks_in_order_and_then_the_end():
    """Three chunks, each while the handler is still at it; the stream is over when the run is."""
    app, gate = App("s421"), asyncio.Queue()

    @app.task
    async def talk(ctx: Context) -> str:
        for word in ("one", "two", "three"):
            await ctx.emit(word)
            await gate.get()
        return "said"

    async with deployment(app) as d:
        handle, heard = await talk.start(), []
        async for chunk in handle.stream("talk"):
            heard.append((chunk.step, chunk.n, chunk.data))
            gate.put_nowait(None)  # the handler goes on only once its chunk was seen
        assert heard == [("talk", 0, "one"), ("talk", 1, "two"), ("talk", 2, "three")]
        assert await handle.result(5) == "said"
        assert {event.type for event in await handle.history()} == {
            "run.started", "step.dispatched", "step.succeeded", "run.closed",
        }  # fmt: skip
        assert (await d.state(subjects.STREAMS))["messages"] == 3


async def test_s425_a_slow_subscriber_does_not_slow_the_handler():
    """Who reads one chunk a moment gets all of them, long after the handler is done."""
    app, took = App("s425"), []

    @app.task
    async def talk(ctx: Context) -> None:
        began = time.monotonic()
        for number in range(2_000):
            await ctx.emit({"token": number})
        took.append(time.monotonic() - began)

    async with deployment(app) as d:
        handle, heard = await talk.start(), []

        async def slow() -> None:
            async for chunk in handle.stream():
                heard.append(chunk.data["token"])
                if len(heard) <= 20:
                    await asyncio.sleep(0.1)

        reading = asyncio.ensure_future(slow())
        await handle.result(10)
        assert len(heard) < 20
        assert took[0] < 2, "the handler would have waited 200 s for this reader"
        await asyncio.wait_for(reading, 20)
        assert heard == list(range(2_000))
        messages = (await d.state(subjects.STREAMS))["messages"]
        assert messages < 1_000, "chunks of a tight loop are gathered"


async def test_many_subscribers_and_streams_at_once():
    """Each subscriber gets every chunk of its run or step, once and in order."""
    app = App("many")

    @app.task
    async def talk(ctx: Context) -> None:
        for number in range(100):
            await ctx.emit((ctx.step_id, number))

    flow = WorkflowBuilder("talks")
    for name in ("a", "b", "c"):
        flow = flow.task(name, task=talk)
    definition = flow.build()
    async with deployment(app) as d:
        handles = [await d.client.start(definition) for _ in range(5)]
        readers = [(h, step) for h in handles for step in ("", "a", "b")]
        found = await asyncio.gather(*(read(handle, step=step) for handle, step in readers))
        for (_, step), items in zip(readers, found, strict=True):
            for name in (step,) if step else ("a", "b", "c"):
                said = [i.data for i in items if i.step == name]
                assert said == [[name, number] for number in range(100)]
            assert [i.offset for i in items] == sorted({i.offset for i in items})


async def test_a_stream_is_replayed_from_any_offset():
    """After the end as during the run: from the first chunk, or behind the one seen last."""
    app, go_on = App("replay"), asyncio.Event()

    @app.agent_loop(max_iterations=3)
    async def think(ctx: AgentContext[int]) -> str | Continue[int]:
        for number in range(10):
            await ctx.emit(f"{ctx.iteration}.{number}")
        if ctx.iteration == 1:
            await go_on.wait()
        return "done" if ctx.iteration == 2 else Continue(0)

    async with deployment(app):
        handle, first = await think.start(), []
        stream = handle.stream()
        async for chunk in stream:
            first.append(chunk)
            if len(first) == 14:
                break
        await stream.aclose()
        go_on.set()
        rest = await read(handle, offset=first[-1].offset + 1)
        whole = await read(handle)
        assert told(whole) == [f"{i}.{n}" for i in range(3) for n in range(10)]
        assert first + rest == whole
        for at in (0, 5, 29):
            assert await read(handle, offset=whole[at].offset) == whole[at:]
        assert await read(handle, offset=whole[-1].offset + 1) == []


async def test_a_retried_attempt_supersedes_what_was_streamed():
    """Live and afterwards; an attempt that streams nothing takes back what the one before did."""
    app = App("retried")

    @app.task(retry=Retry(4, delay="1ms"))
    async def talk(ctx: Context) -> str:
        for number in range(3):
            if ctx.attempt != 3:
                await ctx.emit(f"{ctx.attempt}.{number}")
        if ctx.attempt < 4:
            raise OSError("again")
        return "said"

    async with deployment(app):
        handle = await talk.start()
        live = await read(handle)
        assert told(live) == [
            "1.0", "1.1", "1.2", ("void", 2), "2.0", "2.1", "2.2", ("void", 3),
            ("void", 4), "4.0", "4.1", "4.2",
        ]  # fmt: skip
        assert await read(handle) == live
        assert "".join(item.data for item in live[-3:]) == "4.04.14.2"
        assert [i.offset for i in live] == sorted(i.offset for i in live)
        # Somebody who left in the middle of the second attempt knows of the first end already.
        assert told(await read(handle, offset=live[5].offset)) == told(live[5:])


async def test_an_iteration_that_is_repeated_takes_back_its_own_chunks_only():
    """Those of iterations before it stay; the stream of another step too."""
    app, failed = App("iterations"), []

    @app.task
    async def other(ctx: Context) -> None:
        await ctx.emit("other")

    @app.agent_loop(max_iterations=3, retry=Retry(2, delay="1ms"))
    async def think(ctx: AgentContext[int]) -> str | Continue[int]:
        await ctx.emit(f"thought {ctx.iteration}")
        if ctx.iteration == 1 and not failed:
            failed.append(1)
            raise OSError("again")
        return "done" if ctx.iteration == 2 else Continue(0)

    flow = WorkflowBuilder("both").task("other", task=other)
    definition = flow.agent_loop("think", task=think, max_iterations=3, after="other").build()
    async with deployment(app) as d:
        items = await read(await d.client.start(definition))
    assert told(items) == [
        "other", "thought 0", "thought 1", ("void", 2), "thought 1", "thought 2",
    ]  # fmt: skip
    [void] = [item for item in items if isinstance(item, Superseded)]
    assert (void.step, void.iteration) == ("think", 1)


async def test_the_death_of_a_worker_supersedes_what_it_streamed():
    """The same attempt runs again elsewhere: readers learn that what they have is void, live and later."""
    app, died = App("killed"), asyncio.Event()

    @app.task
    async def talk(ctx: Context) -> str:
        for word in ("once ", "upon ", "a "):
            await ctx.emit(word)
        if not died.is_set():
            await asyncio.sleep(60)
        await ctx.emit("time")
        return "said"

    async with deployment(app, lease_ms=1_000) as d:
        handle, live = await talk.start(), []

        async def reader() -> None:
            async for item in handle.stream():
                live.append(item)  # noqa: PERF401  (they are counted while they come)

        reading = asyncio.ensure_future(reader())
        await eventually(lambda: len(live) == 3)
        died.set()
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        assert await handle.result(20) == "said"
        await asyncio.wait_for(reading, 10)
        words = ["once ", "upon ", "a "]
        assert told(live) == [*words, ("void", 1), *words, "time"]
        assert len({item.execution for item in live}) == 2
        assert await read(handle) == live
        assert told(await read(handle, offset=live[2].offset + 1)) == told(live[3:])


@pytest.mark.faults
async def test_a_worker_killed_by_sigkill_is_superseded(broker, tmp_path):
    """The same with workers that are processes of the command line."""
    record, live = tmp_path / "record", []
    environment = {"CRASH_RECORD": str(record), "DAGNATS_LEASE": "1s"}
    worker = ("worker", str(Path(__file__).with_name("crash_app.py")))
    async with deployment(App("client"), broker=broker, workers=0) as d:
        await d.register({"name": "talk", "steps": [{"id": "t", "task": "crash_talk"}]})
        handle = await d.client.start("talk")

        async def reader() -> None:
            async for item in handle.stream():
                live.append(item)  # noqa: PERF401  (they are counted while they come)

        reading = asyncio.ensure_future(reader())
        with program(broker, *worker, **environment) as first:
            await eventually(lambda: len(live) == 3 and record.exists(), 20)
            first.kill()
        with program(broker, *worker, **environment):
            assert await handle.result(30) == "said"
        await asyncio.wait_for(reading, 10)
        words = ["once ", "upon ", "a "]
        assert told(live) == [*words, ("void", 1), *words, "time"]
        assert await read(handle) == live


async def test_a_run_streams_no_more_than_its_bound(monkeypatch):
    """The handler is told the bound and what to do; what was streamed stays readable."""
    app = App("bounded")
    monkeypatch.setattr(emitter, "STREAM_CHUNKS_PER_RUN_MAX", 500)

    @app.task
    async def talk(ctx: Context) -> None:
        while True:
            await ctx.emit("word ")

    async with deployment(app):
        handle = await talk.start()
        with pytest.raises(RunFailed, match=r"500 chunks.*emit fewer and larger chunks"):
            await handle.result(20)
        assert len(await read(handle)) == 500


async def test_a_tight_loop_holds_little_in_memory():
    """However fast a handler emits, no more than a message's worth waits to be sent."""
    app, most = App("tight"), []

    @app.task
    async def talk(ctx: Context) -> None:
        for _ in range(20_000):
            await ctx.emit("x" * 100)
            most.append(len(ctx._stream._unsent))

    async with deployment(app):
        handle = await talk.start()
        await handle.result(30)
        assert max(most) <= emitter.STREAM_BATCH_MAX
        assert len(await read(handle)) == 20_000


async def test_an_outage_costs_a_stream_nothing():
    """The server is killed in the middle: the handler waits, and every chunk is there once."""
    app, halfway = App("outage"), asyncio.Event()

    @app.task
    async def talk(ctx: Context) -> None:
        for number in range(300):
            await ctx.emit(number)
            if number == 100:
                halfway.set()
            await asyncio.sleep(0.002)

    async with deployment(app, lease_ms=10_000) as d:
        handle = await talk.start()
        reading = asyncio.ensure_future(read(handle))
        await halfway.wait()
        d.broker.kill()
        await asyncio.sleep(0.3)
        d.broker.start()
        assert told(await reading) == list(range(300))


async def test_a_run_that_is_not_there_has_no_stream():
    """An error instead of waiting for ever."""
    async with deployment(App("nothing"), workers=0) as d:
        with pytest.raises(RunNotFound):
            await read(d.client.handle("nobody"))
