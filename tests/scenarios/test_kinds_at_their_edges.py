"""Kinds of steps at their edges: failures that are made up for, children that fail their own way, sleeps, cut maps."""

import asyncio
import time

import pytest

from dagnats import App, Fail, Plan, RunCancelled, RunFailed, Step, sleep
from tests.support.deployment import deployment, eventually, holds_for


def covered(apology_fails: bool = False) -> App:
    """A step that fails, another that makes up for it, and one behind it."""
    app = App("covered")
    app.seen = []

    @app.task
    async def main_step(n: int) -> int:
        raise Fail("disk full")

    @app.task
    async def behind(n: int) -> int:
        app.seen.append("behind")
        return n

    @app.task
    async def fallback(failure: dict) -> str:
        app.seen.append(failure)
        if apology_fails:
            raise Fail("no apology either")
        return "sorry"

    @app.workflow
    def flow(n: int):
        return behind(main_step(n, on_failure=fallback))

    return app


async def test_s211_a_failure_is_made_up_for():
    """The fallback is told what failed and why; what depends on the failed step is skipped; the run completes."""
    app = covered()
    async with deployment(app) as d:
        handle = await app.flows["flow"].start(1)
        await handle.result(10)
        steps = {step.id: step.status for step in (await handle.status()).steps}
        assert steps == {"main_step": "recovered", "fallback": "completed", "behind": "skipped"}
        assert app.seen == [{"failed_step": "main_step", "error": "disk full"}]
        assert await d.dead() == []


async def test_s213_a_fallback_that_fails_fails_the_run():
    """One letter is kept: that of the fallback."""
    app = covered(apology_fails=True)
    async with deployment(app) as d:
        handle = await app.flows["flow"].start(1)
        with pytest.raises(RunFailed, match="no apology either"):
            await handle.result(10)
        [letter] = await d.dead()
        assert letter.subject.endswith(f".{handle.run_id}.fallback")


async def test_s217_what_was_never_done_is_not_undone():
    """Only completed steps have their compensation run."""
    app, undone = App("undo"), []

    @app.task
    async def make(what: str) -> str:
        if what == "second":
            raise Fail("no")
        return what

    @app.task
    async def undo(told: dict) -> None:
        undone.append(told["original_step"])

    @app.workflow
    def flow():
        first = make("first", compensate=undo, step_id="first")
        second = make("second", compensate=undo, step_id="second", after=first)
        return make("third", compensate=undo, step_id="third", after=second)

    async with deployment(app):
        with pytest.raises(RunFailed) as failure:
            await (await flow.start()).result(10)
        assert failure.value.status == "compensated"
        assert undone == ["first"]


async def test_s151_s153_a_child_ends_in_its_own_way():
    """Its own timeout, or its compensation, fails the parent's step with the reason."""
    app = App("ways")

    @app.task
    async def hang(n: int) -> int:
        await asyncio.sleep(60)
        return n

    @app.task
    async def make(n: int) -> int:
        return n

    @app.task
    async def fail(n: int) -> int:
        raise Fail("no luck")

    @app.task
    async def undo(told: dict) -> None: ...

    @app.workflow(timeout="500ms")
    def slow(n: int):
        return hang(n)

    @app.workflow
    def undoing(n: int):
        return fail(make(n, compensate=undo))

    @app.workflow
    def over_slow(n: int):
        return slow(n)

    @app.workflow
    def over_undoing(n: int):
        return undoing(n)

    async with deployment(app) as d:
        for child in (slow, undoing):
            await d.client.register(child.definition())
        for flow, reason in ((over_slow, "time"), (over_undoing, "no luck")):
            handle = await flow.start(1)
            with pytest.raises(RunFailed, match=reason):
                await handle.result(10)
            [step] = (await handle.status()).steps
            assert step.status == "failed"


async def test_s411_s413_sleeps_take_their_time_and_past_ones_none():
    """The step says until when; an instant that has passed is over at once; what is no instant fails it."""
    app, at = App("asleep"), {}

    @app.task
    async def mark(name: str) -> float:
        at[name] = time.monotonic()
        return at[name]

    @app.workflow
    def flow(until: str, n: int):
        before = mark("before", step_id="before")
        rested = sleep("600ms", after=before, step_id="rest")
        past = sleep(until=until, after=rested, step_id="past")
        return mark("after", after=past, step_id="after")

    async with deployment(app) as d:
        handle = await flow.start("2020-01-01T00:00:00Z", 1)

        async def resting():
            steps = {step.id: step for step in (await handle.status()).steps}
            return steps["rest"].status == "waiting" and steps["rest"]

        assert (await eventually(resting)).due_at
        await handle.result(10)
        assert at["after"] - at["before"] >= 0.6
        with pytest.raises(RunFailed, match="next tuesday"):
            await (
                await d.client.start(flow.definition(), {"until": "next tuesday", "n": 1})
            ).result(10)


async def test_s131_a_map_shares_the_places_of_its_task():
    """Of twenty items never more than four run at once, whoever has a slot; all complete."""
    app, now, most = App("places"), set(), []

    @app.task(concurrency=4)
    async def work(n: int) -> int:
        now.add(n)
        most.append(len(now))
        await asyncio.sleep(0.02)
        now.discard(n)
        return n

    @app.workflow
    def flow(items: list[int]):
        return work.map(items)

    async with deployment(app):
        assert await (await flow.start(list(range(20)))).result(20) == list(range(20))
        assert 1 < max(most) <= 4


async def test_s133_a_cancelled_map_starts_no_further_item():
    """Ten of fifty are done, and the eleventh is the last that ever begins."""
    app, began, gate = App("cut"), [], asyncio.Event()

    @app.task
    async def work(n: int) -> int:
        began.append(n)
        if n >= 10:
            await gate.wait()
        return n

    @app.workflow
    def flow(items: list[int]):
        return work.map(items, concurrency=1)

    async with deployment(app):
        handle = await flow.start(list(range(50)))
        await eventually(lambda: len(began) == 11)
        await handle.cancel("enough")
        with pytest.raises(RunCancelled):
            await handle.result(10)
        gate.set()
        await holds_for(0.5, lambda: len(began) == 11)


async def test_s071_planners_side_by_side_do_not_collide():
    """Both plan a step of the same name; each keeps its own."""
    app = App("side")

    @app.task
    async def say(what: str) -> str:
        return what

    @app.planner(allowed_tasks=[say])
    async def plan(what: str) -> Plan:
        return Plan([Step("same", "say", what)])

    @app.workflow
    def flow(one: str, two: str):
        return [plan(one, step_id="left"), plan(two, step_id="right")]

    async with deployment(app):
        handle = await flow.start("a", "b")
        assert await handle.result(10) == ["a", "b"]
        assert {s.id for s in (await handle.status()).steps} >= {"left.same", "right.same"}


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_s415_a_sleep_survives_schedulers_and_is_never_early(end):
    """One ends while it sleeps, the next right when its timer has come, before it was acknowledged: it wakes once."""
    app = App("s415")
    woke = []

    @app.task
    async def wake(at: float) -> float:
        woke.append(time.time())
        return woke[0] - at

    @app.workflow
    def nap(at: float):
        return wake(at, after=[sleep("3s")])

    async with deployment(app) as d:
        handle = await nap.start(time.time())
        await eventually(lambda: sleeps(handle))
        await getattr(d.schedulers[0], end)()
        await d.add_scheduler()

        async def fired():
            return any(each.type == "timer.fired" for each in await handle.history())

        await eventually(fired)
        await d.schedulers[1].kill()
        await d.add_scheduler()
        assert await handle.result(15) >= 3
        assert len(woke) == 1


async def sleeps(handle) -> bool:
    """Whether a step of the run waits."""
    return any(step.status == "waiting" for step in (await handle.status()).steps)
