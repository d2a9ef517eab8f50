"""What a worker promises beyond the scenarios: threads, slots, cancellation, blocked loops, payloads, types."""

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from dagnats import (
    AgentContext, App, Cancelled, Context, Continue, DefinitionError, InvalidInput, Retry, RunCancelled, RunFailed,
    WorkflowBuilder, current,
)  # fmt: skip
from dagnats.errors import DagNatsError, PayloadTooLarge, RequestError
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for

# -- threads and slots -----------------------------------------------------------------------------


class Gauge:
    """How many are inside, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def test_plain_functions_run_in_parallel_up_to_the_concurrency():
    """With concurrency 4 four plain handlers run at once, each in a thread of its own, and never a fifth."""
    app, gauge, together = App("threads"), Gauge(), threading.Barrier(4)
    loop_thread = threading.get_ident()

    @app.task
    def work(n: int) -> bool:
        with gauge:
            if n < 4:
                together.wait(10)  # only four at once get past
            time.sleep(0.02)
        return threading.get_ident() != loop_thread

    async with deployment(app, concurrency=4):
        first = [await work.start(number) for number in range(4)]
        assert [await handle.result(20) for handle in first] == [True] * 4
        more = [await work.start(number) for number in range(4, 24)]
        assert [await handle.result(20) for handle in more] == [True] * 20
    assert gauge.most == 4


async def test_async_handlers_keep_within_the_concurrency():
    """Concurrency bounds async handlers of all tasks together, and is reached."""
    app, gauge = App("bounded"), Gauge()

    @app.task
    async def one() -> None:
        with gauge:
            await asyncio.sleep(0.05)

    @app.task
    async def two() -> None:
        with gauge:
            await asyncio.sleep(0.05)

    async with deployment(app, concurrency=5):
        handles = [await task.start() for _ in range(15) for task in (one, two)]
        for handle in handles:
            await handle.result(20)
    assert gauge.most == 5


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_worker_never_hoards(kind):
    """Two workers of concurrency 1: while one is busy for long, the second takes the next ticket at once."""
    app, apps, ran, release = App("hoard"), [App("h1"), App("h2")], [], threading.Event()

    def serve(one: App) -> None:
        @one.task(name="async")
        async def on_loop(n: int) -> int:
            ran.append((one.name, n))
            while not release.is_set():
                await asyncio.sleep(0.01)
            return n

        @one.task(name="thread")
        def in_thread(n: int) -> int:
            ran.append((one.name, n))
            release.wait(20)
            return n

    for one in (app, *apps):
        serve(one)
    try:
        async with deployment(app, workers=0) as d:
            for one in apps:
                await d.add_worker(one, tasks={kind: one.tasks[kind]}, concurrency=1)
            handles = [await app.tasks[kind].start(number) for number in range(3)]
            await eventually(lambda: len(ran) == 2, 3)
            assert len({name for name, _ in ran}) == 2
            await holds_for(0.3, lambda: len(ran) == 2)
            release.set()
            assert [await handle.result(20) for handle in handles] == [0, 1, 2]
    finally:
        release.set()


async def test_a_worker_of_concurrency_one_serves_every_task():
    """One slot and five tasks: each has its turn, one at a time."""
    app, gauge = App("turns"), Gauge()

    def define(name: str) -> None:
        @app.task(name=name)
        async def work() -> str:
            with gauge:
                await asyncio.sleep(0.01)
            return name

    for number in range(5):
        define(f"t{number}")
    async with deployment(app, concurrency=1):
        handles = [await task.start() for task in app.tasks.values()]
        assert [await handle.result(30) for handle in handles] == list(app.tasks)
    assert gauge.most == 1


# -- being told to stop ----------------------------------------------------------------------------


async def test_a_sleeping_thread_that_is_cancelled_is_not_waited_for():
    """A plain handler deep in a C call cannot be interrupted: the run is over at once, and its slot is free."""
    app, began, release = App("deep"), threading.Event(), threading.Event()

    @app.task
    def deep() -> None:
        began.set()
        release.wait(30)

    @app.task
    def quick() -> str:
        return "quick"

    try:
        async with deployment(app, concurrency=2) as d:
            handle = await deep.start()
            await eventually(began.is_set)
            await handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result(5)
            assert await (await quick.start()).result(10) == "quick"
            await eventually(lambda: not d.workers[0].service.tickets.running)
            for _ in range(3):  # the lost thread's place in the pool was replaced
                assert await (await quick.start()).result(10) == "quick"
    finally:
        release.set()


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_handler_that_ignores_its_time_out_is_abandoned(kind, caplog):
    """A handler that swallows being told to stop fails with timeout all the same, and is named in the log."""
    app, release = App("stubborn"), threading.Event()

    @app.task(name="async", timeout="200ms")
    async def on_loop() -> str:
        while not release.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
        return "late"

    @app.task(name="thread", timeout="200ms")
    def in_thread() -> str:
        while not release.is_set():
            try:
                time.sleep(0.02)
            except Cancelled:
                continue
        return "late"

    @app.task
    async def after() -> str:
        return "after"

    try:
        with caplog.at_level(logging.WARNING, "dagnats.worker"):
            async with deployment(app, concurrency=2):
                handle = await app.tasks[kind].start()
                with pytest.raises(RunFailed, match="timeout"):
                    await handle.result(10)
                assert await (await after.start()).result(10) == "after"
                release.set()
        assert any(kind in r.getMessage() and handle.run_id in r.getMessage() for r in caplog.records)
    finally:
        release.set()


async def test_a_late_interrupt_does_not_hit_the_next_handler_of_the_thread():
    """Cancelled is for the handler it was sent to: whatever runs in the same thread next is spared."""
    app = App("spared")

    @app.task(timeout="30ms")
    def edge() -> str:
        time.sleep(0.03)
        return "edge"

    @app.task
    def calm() -> int:
        return sum(range(20_000))

    async with deployment(app, concurrency=1, workers=1) as d:
        del d
        for _ in range(15):
            handle = await edge.start()
            try:
                assert await handle.result(10) == "edge"
            except RunFailed as failure:
                assert "timeout" in str(failure)
            assert await (await calm.start()).result(10) == 199_990_000


async def test_a_blocked_loop_keeps_its_lease_and_is_named(caplog):
    """time.sleep in an async handler, longer than the lease: run once, and the log names the place."""
    app, calls = App("blocked"), []

    @app.task
    async def blocker() -> str:
        calls.append(1)
        time.sleep(3)
        return "once"

    with caplog.at_level(logging.WARNING, "dagnats.worker"):
        async with deployment(app, workers=1, lease_ms=2_000) as d:
            handle = await blocker.start()
            assert await handle.result(20) == "once"
            await holds_for(0.5, lambda: calls == [1])
            consumer = next(c for c in await d.consumers(subjects.TASKS) if c["name"].startswith("worker+blocker"))
            assert consumer["delivered"]["consumer_seq"] == 1
    named = [r.getMessage() for r in caplog.records if "blocked" in r.getMessage()]
    assert len(named) == 1
    assert "blocker" in named[0]
    assert "test_worker_details.py" in named[0]


async def test_a_blocked_loop_does_not_hide_a_time_out():
    """A handler that blocks the loop beyond its time-out is reported as timed out while it still blocks."""
    app, times = App("overdue"), {}

    @app.task(timeout="300ms")
    async def blocker() -> str:
        time.sleep(4)
        times["unblocked"] = time.monotonic()
        return "late"

    async with deployment(app) as d:
        handle = await blocker.start()
        with pytest.raises(RunFailed, match="timeout"):
            await handle.result(20)
        failed = [e for e in await handle.history() if e.type == "step.failed"]
        assert len(failed) == 1
        del d
    assert "unblocked" in times


# -- payloads --------------------------------------------------------------------------------------


def text(size: int) -> str:
    """Text of that many bytes that does not compress to nothing."""
    unit = "".join(chr(33 + (number * 7919) % 90) for number in range(1_000)).replace("\\", "-").replace('"', "-")
    return (unit * (size // 1_000 + 1))[:size]


@pytest.mark.parametrize("size", [255 * 1024, 300_000, 1_100_000, 5_000_000])
async def test_large_payloads_go_both_ways(size):
    """Input, output, checkpoint and the joined inputs of several parents arrive whole, whatever their size."""
    app, body = App("large"), text(size)

    @app.task
    async def echo(data: str) -> str:
        return data

    @app.agent_loop(max_iterations=3)
    async def carry(ctx: AgentContext[str], data: str) -> str | Continue:
        if ctx.checkpoint is None:
            return Continue(data)
        assert ctx.checkpoint == data
        return ctx.checkpoint

    @app.task
    async def join(parts: dict[str, str]) -> dict[str, int]:
        assert all(part == body for part in parts.values())
        return {name: len(part) for name, part in parts.items()}

    flow = (
        WorkflowBuilder("big")
        .task("first", task=echo)
        .agent_loop("carry", task="carry", max_iterations=3, after="first")
        .task("left", task=echo, after="carry")
        .task("right", task=echo, after="carry")
        .task("third", task=echo, after="carry")
        .task("fourth", task=echo, after="carry")
        .task("join", after=["left", "right", "third", "fourth"])
        .build()
    )
    async with deployment(app) as d:
        assert await (await echo.start(body)).result(20) == body
        handle = await d.client.start(flow, body)
        assert await handle.result(30) == dict.fromkeys(("left", "right", "third", "fourth"), size)
        sizes = [len(entry.payload) for entry in await d.outside.log.history(handle.run_id)]
        assert max(sizes) < 1024 * 1024


async def test_many_middling_parents_add_up():
    """Twenty parents of 200 KB each, none large enough to be stored apart, join in one input."""
    app, body = App("middling"), text(200_000)

    @app.task
    async def make() -> str:
        return body

    @app.task
    async def join(parts: dict[str, str]) -> int:
        return sum(len(part) for part in parts.values())

    names = [f"p{number}" for number in range(20)]
    build = WorkflowBuilder("middling")
    for name in names:
        build = build.task(name, task=make)
    async with deployment(app) as d:
        assert await (await d.client.start(build.task("join", after=names).build())).result(30) == 20 * 200_000


async def test_a_saved_checkpoint_may_be_large():
    """save_checkpoint and load_checkpoint carry 2 MB."""
    app, body = App("saved"), text(2_000_000)

    @app.task
    async def save(ctx: Context[str]) -> bool:
        await ctx.save_checkpoint(body)
        return await ctx.load_checkpoint() == body

    async with deployment(app):
        assert await (await save.start()).result(20) is True


async def test_a_payload_beyond_the_limit_is_refused_at_its_source():
    """An input above 64 MB is refused at the caller; such an output fails the step and says how much it may be."""
    app = App("beyond")

    @app.task
    async def make() -> str:
        return "x" * (64 * 1024 * 1024 + 1)

    @app.task
    async def take(data: str) -> int:
        return len(data)

    async with deployment(app):
        with pytest.raises(PayloadTooLarge, match="64 MB"):
            await take.start("x" * (64 * 1024 * 1024 + 1))
        with pytest.raises(RunFailed, match="64 MB") as failure:
            await (await make.start()).result(30)
        assert failure.value.failure == "non_retriable"


# -- types -----------------------------------------------------------------------------------------


class StructArg(msgspec.Struct):
    n: int
    name: str = "struct"


@dataclass
class DataArg:
    n: int
    name: str = "data"


class TypedArg(TypedDict):
    n: int


@attrs.define
class AttrsArg:
    n: int
    name: str = "attrs"


class ModelArg(pydantic.BaseModel):
    n: pydantic.PositiveInt
    name: str = "model"


VALUES: list[tuple[type, Any]] = [
    (StructArg, StructArg(3)), (DataArg, DataArg(3)), (TypedArg, {"n": 3}), (AttrsArg, AttrsArg(3)),
    (ModelArg, ModelArg(n=3)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[kind.__name__ for kind, _ in VALUES])
async def test_typed_arguments_and_results(kind, value):
    """A value of each kind reaches the handler as its type and comes back as its type; lists of them too."""
    app, seen = App("typed"), []

    @app.task
    async def alone(value: kind) -> kind:
        seen.append(value)
        return value

    @app.task
    def several(first: kind, others: list[kind], factor: int = 2) -> list[kind]:
        seen.extend([first, *others])
        return others * factor

    async with deployment(app) as d:
        assert await (await alone.start(value)).result(10) == value
        assert await (await several.start(value, [value, value])).result(10) == [value] * 4
        assert seen == [value] * 4
        assert all(isinstance(item, dict if kind is TypedArg else kind) for item in seen)
        with pytest.raises(InvalidInput, match="n"):
            await alone.start({"n": "three"})
        with pytest.raises(InvalidInput):
            await several.start(value, value)
        with pytest.raises(InvalidInput, match="first"):
            await several.start()
        assert await (await d.client.start(alone.definition(), {"n": 3})).result(10) == {
            "n": 3, **({} if kind is TypedArg else {"name": value.name}),
        }  # fmt: skip


async def test_a_model_checks_its_own_rules_at_the_caller():
    """A Pydantic rule refuses a start before anything is sent; in a run it fails the step for good."""
    app = App("rules")

    @app.task(retry=3)
    async def take(value: ModelArg) -> int:
        return value.n

    async with deployment(app) as d:
        with pytest.raises(InvalidInput, match="greater than 0"):
            await take.start({"n": -1})
        with pytest.raises(RunFailed, match="greater than 0") as failure:
            await (await d.client.start(take.definition(), {"n": -1})).result(10)
        assert failure.value.failure == "non_retriable"


async def test_wrong_arguments_are_refused_at_the_caller():
    """Wrong types, too many, too few and unknown arguments raise InvalidInput; nothing is written."""
    app = App("refused")

    @app.task
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @app.workflow
    def flow(a: int, b: int):
        return add(a, b)

    async with deployment(app) as d:
        before = (await d.state(subjects.EVENTS))["last_seq"]
        for args, kwargs in (
            (("1",), {}), ((1, 2, 3), {}), ((), {}), ((1,), {"c": 2}), ((1,), {"a": 2}), ((1.5,), {}),
            ((object(),), {}), (({1: 2},), {}),
        ):  # fmt: skip
            with pytest.raises(InvalidInput):
                await add.start(*args, **kwargs)
        with pytest.raises(InvalidInput):
            await flow.start("one", 2)
        assert (await d.state(subjects.EVENTS))["last_seq"] == before
        assert await (await add.start(1)).result(10) == 2
        assert await (await flow.start(1, b=5)).result(10) == 6


async def test_a_result_that_is_no_json_fails_the_step_for_good():
    """What a handler returns must be JSON; the error names the type and is not retried."""
    app, calls = App("unwritable"), []

    @app.task(retry=Retry(3, delay="1ms"))
    async def bad() -> Any:
        calls.append(1)
        return threading.Lock()

    async with deployment(app):
        with pytest.raises(RunFailed, match="lock") as failure:
            await (await bad.start()).result(10)
    assert failure.value.failure == "non_retriable"
    assert calls == [1]


class Homemade:
    """A class that nothing can read from JSON."""


def test_an_annotation_that_json_cannot_fill_is_an_error_at_import():
    """A parameter of a class that cannot be read from JSON is refused when the task is defined."""
    app = App("homemade")
    with pytest.raises(DefinitionError, match="Homemade"):

        @app.task
        async def take(value: Homemade) -> None: ...

    with pytest.raises(DefinitionError, match="Homemade"):

        @app.task
        async def take_many(values: list[Homemade], n: int) -> None: ...


# -- the context -----------------------------------------------------------------------------------


async def test_a_saved_checkpoint_survives_attempts():
    """What attempt 1 saved before it failed, attempt 2 loads."""
    app, loaded = App("attempts"), []

    @app.task(retry=Retry(3, delay="1ms"))
    async def work(ctx: Context[list[int]]) -> list[int]:
        done = await ctx.load_checkpoint() or []
        loaded.append(list(done))
        done.append(ctx.attempt)
        await ctx.save_checkpoint(done)
        if ctx.attempt < 3:
            raise OSError("again")
        return done

    async with deployment(app):
        assert await (await work.start()).result(10) == [1, 2, 3]
    assert loaded == [[], [1], [1, 2]]


async def test_a_saved_checkpoint_survives_the_worker():
    """What was saved before the worker died is there when the same attempt is delivered again."""
    app, loaded = App("redelivery"), []

    @app.task
    async def work(ctx: Context[str]) -> str:
        found = await ctx.load_checkpoint()
        loaded.append((ctx.attempt, found))
        if found is None:
            await ctx.save_checkpoint("half way")
            await asyncio.sleep(60)
        return f"from {found}"

    async with deployment(app, lease_ms=1_000) as d:
        handle = await work.start()

        async def saved():
            return (await d.state(f"KV_{subjects.CHECKPOINTS}"))["messages"] == 1

        await eventually(saved)
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        assert await handle.result(20) == "from half way"
    assert loaded == [(1, None), (1, "half way")]


async def test_a_checkpoint_is_of_its_annotated_type():
    """AgentContext[T] reads checkpoints as T, from Continue and from save_checkpoint."""
    app, seen = App("state"), []

    @app.agent_loop(max_iterations=4)
    async def think(ctx: AgentContext[DataArg]) -> str | Continue:
        seen.append((ctx.checkpoint, await ctx.load_checkpoint()))
        if ctx.iteration == 2:
            return "done"
        await ctx.save_checkpoint(DataArg(10 + ctx.iteration))
        return Continue(DataArg(ctx.iteration))

    async with deployment(app):
        assert await (await think.start()).result(10) == "done"
    assert seen == [(None, None), (DataArg(0), DataArg(0)), (DataArg(1), DataArg(1))]


async def test_emitted_pieces_reach_the_stream_in_order():
    """handle.stream gives every piece with its execution, live and again from the start afterwards."""
    app, gate = App("tokens"), asyncio.Event()

    @app.agent_loop(max_iterations=3)
    async def talk(ctx: AgentContext[int]) -> str | Continue:
        for number in range(50):
            await ctx.emit({"token": number})
            if number == 10 and ctx.iteration == 0:
                await gate.wait()
        return "said" if ctx.iteration == 1 else Continue(1)

    async with deployment(app):
        handle = await talk.start()
        live = []
        async for piece in handle.stream():
            live.append(piece)
            if len(live) == 11:
                gate.set()  # the first eleven came while the handler was still running
        again = [piece async for piece in handle.stream("talk")]
    assert [(p.iteration, p.n, p.data["token"]) for p in live] == [(i, n, n) for i in (0, 1) for n in range(50)]
    assert again == live
    assert {(p.step, p.attempt) for p in live} == {("talk", 1)}


async def test_what_a_handler_started_and_did_not_await_is_finished_first():
    """Pieces emitted without await are stored before the answer; a failure among them is the step's."""
    app = App("unawaited")

    @app.task
    async def talk(ctx: Context) -> str:
        for number in range(20):
            ctx.emit(number)
        return "said"

    @app.task
    async def shout(ctx: Context) -> str:
        ctx.emit("x" * 100_000)
        return "said"

    async with deployment(app):
        handle = await talk.start()
        assert await handle.result(10) == "said"
        assert [piece.data async for piece in handle.stream()] == list(range(20))
        with pytest.raises(RunFailed, match="64 KB"):
            await (await shout.start()).result(10)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_current_gives_the_context_below_the_handler(kind):
    """current() finds the running context at any depth, in tasks and threads; outside it is an error."""
    app = App("current")

    def deep() -> tuple[str, str, int]:
        ctx = current()
        return ctx.run_id, ctx.step_id, ctx.attempt

    @app.task(name="async")
    async def on_loop() -> list[Any]:
        inner = asyncio.ensure_future(asyncio.to_thread(deep))
        return [deep(), await inner]

    @app.task(name="thread")
    def in_thread() -> list[Any]:
        return [deep(), deep()]

    with pytest.raises(DagNatsError, match="outside"):
        current()
    async with deployment(app):
        handles = [await app.tasks[kind].start() for _ in range(5)]
        for handle in handles:
            assert await handle.result(10) == [[handle.run_id, kind, 1]] * 2


async def test_a_thread_uses_its_context_by_waiting():
    """In a plain handler .wait() does what await does; on the loop it is refused."""
    app = App("waiting")

    @app.task
    def in_thread(ctx: Context[str]) -> str:
        ctx.emit("one").wait()
        ctx.heartbeat({"done": 1}).wait()
        ctx.save_checkpoint("kept").wait()
        return str(ctx.load_checkpoint().wait())

    @app.task
    async def on_loop(ctx: Context) -> None:
        ctx.emit("one").wait()

    async with deployment(app):
        handle = await in_thread.start()
        assert await handle.result(10) == "kept"
        assert [piece.data async for piece in handle.stream()] == ["one"]
        with pytest.raises(RunFailed, match=RequestError.__name__):
            await (await on_loop.start()).result(10)


async def test_the_context_tells_where_it_is():
    """Run, step, attempt, metadata, input and a key that stays the same over attempts."""
    app, seen = App("facts"), []

    @app.task(metadata={"step": "s", "both": "step"}, retry=Retry(2, delay="1ms"))
    async def look(ctx: Context, a: int, b: int = 2) -> None:
        seen.append(ctx)
        if ctx.attempt == 1:
            raise OSError("once")

    async with deployment(app):
        handle = await look.start(1, metadata={"run": "r", "both": "run"})
        await handle.result(10)
    one, two = seen
    assert (one.run_id, one.step_id, one.attempt, one.iteration) == (handle.run_id, "look", 1, 0)
    assert one.metadata == {"step": "s", "run": "r", "both": "step"}
    assert one.input == {"a": 1}
    assert one.idempotency_key == two.idempotency_key
    assert two.attempt == 2
    assert not one.cancelled


# -- stopping --------------------------------------------------------------------------------------


async def test_a_stopping_worker_gives_back_what_it_has_not_begun():
    """Tickets that arrive while a worker drains go to another at once, long before a lease is over."""
    app, ran = App("drain"), []
    apps = [App("first"), App("second")]

    def serve(one: App) -> None:
        @one.task
        async def work(n: int) -> int:
            ran.append((one.name, n))
            await asyncio.sleep(0.3)
            return n

    for one in (app, *apps):
        serve(one)
    async with deployment(app, workers=0) as d:
        first = await d.add_worker(apps[0], concurrency=3, lease_ms=60_000)
        handles = [await app.tasks["work"].start(number) for number in range(20)]
        await eventually(lambda: ran)
        await d.add_worker(apps[1], concurrency=20, lease_ms=60_000)
        await first.stop()
        taken = len([name for name, _ in ran if name == "first"])
        assert [await handle.result(10) for handle in handles] == list(range(20))
        assert len(ran) == 20
        assert len([name for name, _ in ran if name == "first"]) == taken
