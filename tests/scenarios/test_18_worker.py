"""Scenarios, section 18: worker. S403 (singleton handlers) is in ``test_18_routing``."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from msgspec.structs import replace

from dagnats import App, Context, Retry, RunFailed, WorkflowBuilder
from dagnats.errors import BrokerUnsuitable
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for, program


async def test_s391_started_is_told_before_the_handler_runs():
    """Watchers hear that a step began before its handler does anything; it is no event of the log."""
    app, told, order = App("s391"), [], []

    @app.task
    async def work(ctx: Context) -> str:
        await asyncio.wait_for(heard.wait(), 10)
        order.append("handler")
        return ctx.run_id

    heard = asyncio.Event()

    def listen(_subject: str, payload: bytes, _reply: str) -> None:
        told.append(msgspec.json.decode(payload))
        order.append("notice")
        heard.set()

    async with deployment(app) as d:
        stop = await d.outside.notices.listen(subjects.live("watched"), listen)
        handle = await work.start(id="watched")
        assert await handle.result(20) == "watched"
        stop()
        types = {event.type for event in await handle.history()}
    assert order == ["notice", "handler"]
    assert [(n["type"], n["ticket"], n["worker"]) for n in told] == [
        ("step.started", "work/1/0", d.workers[0].service.name)
    ]
    assert types == {"run.started", "step.dispatched", "step.succeeded", "run.closed"}


async def test_s393_stop_waits_for_the_handler_and_takes_no_more():
    """A stopping worker finishes what runs, stores its answer, and leaves the rest to others."""
    app, began, ended = App("s393"), [], []

    @app.task
    async def work(n: int) -> int:
        began.append(n)
        await asyncio.sleep(0.5)
        ended.append(n)
        return n

    async with deployment(app, concurrency=1) as d:
        first = await work.start(1)
        await eventually(lambda: began == [1])
        second = await work.start(2)
        await d.dispatch(second.run_id, "work/1/0")
        await d.workers[0].stop()
        assert ended == [1]
        assert "step.succeeded" in [event.type for event in await first.history()]
        assert await first.result(10) == 1
        await holds_for(0.5, lambda: began == [1])
        await d.add_worker()
        assert await second.result(10) == 2


async def test_s393_a_handler_that_outlives_the_drain_is_run_again_by_another():
    """After the drain time handlers are told to stop and their tickets are given back, not failed."""
    app, attempts = App("s393-drain"), []

    @app.task
    async def work(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await asyncio.sleep(60)
        return "by another"

    async with deployment(app, drain_ms=200, lease_ms=60_000) as d:
        handle = await work.start()
        await eventually(lambda: attempts)
        await d.workers[0].stop()
        await d.add_worker(lease_ms=60_000)
        assert await handle.result(10) == "by another"
        assert attempts == [1, 1]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_s395_a_handler_longer_than_the_lease_runs_once(kind):
    """A lease of 1 s and a handler of 3.2 s, without a heartbeat of its own: it is executed once."""
    app, calls = App("s395"), []

    @app.task(name="async")
    async def on_loop() -> str:
        calls.append(1)
        await asyncio.sleep(3.2)
        return "once"

    @app.task(name="thread")
    def in_thread() -> str:
        calls.append(1)
        time.sleep(3.2)
        return "once"

    async with deployment(app, workers=2, lease_ms=1_000) as d:
        handle = await app.tasks[kind].start()
        assert await handle.result(20) == "once"
        assert calls == [1]
        consumer = next(
            c for c in await d.consumers(subjects.TASKS) if c["name"].startswith(f"worker+{kind}+")
        )
        assert consumer["delivered"]["consumer_seq"] == 1


class Odd(BaseException):
    """No Exception at all."""


def raisers() -> dict[str, BaseException]:
    """What handlers may raise."""
    return {
        "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "base": Odd("odd"), "exception": ValueError("bad"),
        "cancelled": asyncio.CancelledError(), "generator": GeneratorExit(), "stop": StopIteration(),
        "memory": MemoryError(), "assertion": AssertionError("no"), "group": ExceptionGroup("many", [OSError("x")]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_s397_whatever_a_handler_raises_the_worker_goes_on(kind):
    """SystemExit, KeyboardInterrupt and everything else fail one step; the same worker serves the next."""
    app = App("s397")

    @app.task(name="async")
    async def on_loop(what: str) -> str:
        if what != "fine":
            raise raisers()[what]
        return what

    @app.task(name="thread")
    def in_thread(what: str) -> str:
        if what != "fine":
            raise raisers()[what]
        return what

    async with deployment(app) as d:
        for what, error in raisers().items():
            with pytest.raises(RunFailed) as failure:
                await (await app.tasks[kind].start(what)).result(10)
            name = "RuntimeError" if what == "stop" and kind == "async" else type(error).__name__
            assert name in str(failure.value), what
            assert await (await app.tasks[kind].start("fine")).result(10) == "fine"
        assert not d.workers[0].service.tickets.running
        await d.workers[0].stop()


async def test_s399_similar_names_have_queues_of_their_own():
    """Tasks "a.b", "a_b", "a-b", "ä b" and "_" are served by their own handlers only."""
    app, names = App("s399"), ["a.b", "a_b", "a-b", "ä b", "_", "%5F", "a=b"]

    def define(name: str) -> None:
        @app.task(name=name)
        async def work() -> str:
            return name

    for name in names:
        define(name)
    async with deployment(app, concurrency=20) as d:
        for name in names:
            definition = WorkflowBuilder("named").task("step", task=name).build()
            assert await (await d.client.start(definition)).result(10) == name
        consumers = await d.consumers(subjects.TASKS)
        assert len(consumers) == len(names)
        assert len({c["config"]["filter_subject"] for c in consumers}) == len(names)


async def test_s399_a_consumer_of_another_make_is_refused_with_both_filters():
    """A consumer of our name for other subjects stops the worker with an error that names both."""
    app = App("s399-foreign")

    @app.task
    async def work() -> None:
        return None

    async with deployment(app, workers=0) as d:
        name = subjects.worker_consumer("work", "")
        config = {
            "durable_name": name,
            "filter_subject": "dagnats.queue.other._.*",
            "ack_policy": "explicit",
        }
        body = {"stream_name": subjects.TASKS, "config": config}
        await d.outside.link.api(
            f"CONSUMER.CREATE.{subjects.TASKS}.{name}.dagnats.queue.other._.*", body
        )
        with pytest.raises(BrokerUnsuitable) as refusal:
            await d.add_worker()
        assert "dagnats.queue.other._.*" in str(refusal.value)
        assert "dagnats.queue.work._.*" in str(refusal.value)
        await d.outside.link.api(f"CONSUMER.DELETE.{subjects.TASKS}.{name}")
        await d.add_worker()
        await (await work.start()).result(10)


async def test_s401_input_that_does_not_fit_fails_for_good():
    """A typed handler's bad input is a failure that names the place, once, whatever the policy."""
    app, calls = App("s401"), []

    @app.task(retry=Retry(5, delay="1ms"))
    async def typed(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app) as d:
        definition = replace(typed.definition(), input_schema=None)  # as a file may have none
        for wrong in ("seven", None, {"n": 7}, 7.5):
            handle = await d.client.start(definition, wrong)
            with pytest.raises(RunFailed, match="input of task typed: Expected `int`") as failure:
                await handle.result(10)
            assert failure.value.failure == "non_retriable"
            assert (await handle.status()).steps[0].attempt == 1
        assert await (await d.client.start(definition, 7)).result(10) == 7
        assert calls == [7]


async def test_s401_null_is_an_input_like_others():
    """Input null goes to a handler that takes None or has a default, and to one without parameters."""
    app = App("s401-null")

    @app.task
    async def optional(n: int | None) -> str:
        return repr(n)

    @app.task
    async def default(n: int = 5) -> str:
        return repr(n)

    @app.task
    async def nothing() -> str:
        return "nothing"

    async with deployment(app) as d:
        for task, answer in ((optional, "None"), (default, "5"), (nothing, "nothing")):
            assert await (await d.client.start(task.definition(), None)).result(10) == answer


@pytest.mark.parametrize("lease", ["0s", "-1s", "10ms", "soon", "5", "2s"])
async def test_s405_a_lease_that_cannot_work_is_refused(broker, lease, tmp_path):
    """A worker with a lease of (next to) nothing does not start, and says what is wrong; with 2 s it does."""
    module, said = tmp_path / "tasks.py", tmp_path / "said"
    module.write_text("from dagnats import App\napp = App('t')\n@app.task\ndef t() -> None: ...\n")
    arguments = ("worker", str(module))
    with program(
        broker, *arguments, output=said, DAGNATS_LEASE=lease, PYTHONWARNINGS=""
    ) as process:
        if lease == "2s":
            async with deployment(App("s405"), broker=broker, schedulers=0, workers=0) as d:

                async def at_work():
                    return await d.outside.documents(subjects.WORKERS).all()

                await eventually(at_work)
            assert process.poll() is None
        else:
            assert await asyncio.to_thread(process.wait, 20) in (1, 2)
            assert "lease" in said.read_text()


async def test_three_workers_share_the_work_and_survive_each_other():
    """Tickets of one task spread over three workers; when one dies, the others do what it had."""
    app, ran = App("three"), []
    apps = [App(f"three-{number}") for number in range(3)]

    def serve(one: App) -> None:
        @one.task
        async def work(n: int) -> int:
            ran.append((one.name, n))
            await asyncio.sleep(0.05)
            return n

    for one in (app, *apps):
        serve(one)
    async with deployment(app, workers=0) as d:
        for one in apps:
            await d.add_worker(one, concurrency=2, lease_ms=1_000)
        handles = [await app.tasks["work"].start(number) for number in range(60)]
        await eventually(lambda: len({name for name, _ in ran}) == 3)
        await d.workers[0].kill()
        assert [await handle.result(30) for handle in handles] == list(range(60))
    assert len(ran) <= 60 + 2


async def test_the_directory_lists_the_living():
    """A worker is in the directory with what it runs, and leaves it when it stops."""
    app = App("directory")

    @app.task
    async def work() -> None:
        return None

    async with deployment(app) as d:
        documents = d.outside.documents(subjects.WORKERS)

        async def listed():
            return {k: msgspec.json.decode(v) for k, (v, _) in (await documents.all()).items()}

        [record] = (await eventually(listed)).values()
        assert record["tasks"] == ["work"]
        assert record["concurrency"] == 20
        await d.workers[0].stop()
        assert await listed() == {}
