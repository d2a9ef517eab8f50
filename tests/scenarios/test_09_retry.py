"""Scenarios, section 9: retry. A policy's attempts count executions; workflow files count retries, one less.

Left out, with the features they belong to: S177 (rate limits and concurrency), and of S171 the bare
string, which only the HTTP bridge can be sent.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest

from dagnats import App, Context, Fail, Retry, RunFailed, WorkflowBuilder
from tests.support.deployment import deployment, eventually, holds_for


async def test_s161_exponential_back_off_grows():
    """Two failures and a success: three calls, at least 100 and 200 ms apart, and the run completes."""
    app, times = App("s161"), []

    @app.task(retry=Retry(4, backoff="exponential", delay="100ms", multiplier=2, jitter=False))
    async def shaky() -> int:
        times.append(time.monotonic())
        if len(times) < 3:
            raise OSError("not yet")
        return len(times)

    async with deployment(app):
        handle = await shaky.start()
        assert await handle.result(10) == 3
        step = (await handle.status()).steps[0]
    assert (step.status, step.attempt, step.attempts) == ("completed", 3, 4)
    assert times[1] - times[0] >= 0.1
    assert times[2] - times[1] >= 0.2


async def test_s163_without_a_policy_the_first_failure_is_final():
    """One call, and the run has failed with the exception's name and words."""
    app, calls = App("s163"), []

    @app.task
    async def broken() -> None:
        calls.append(1)
        raise ValueError("no good")

    async with deployment(app):
        with pytest.raises(RunFailed, match="ValueError: no good"):
            await (await broken.start()).result(10)
    assert calls == [1]


async def test_s165_fail_is_never_retried():
    """A handler that raises Fail is called once whatever its policy; another exception would be retried."""
    app, calls = App("s165"), []

    @app.task(retry=Retry(6, delay="10ms"))
    async def picky(final: bool) -> None:
        calls.append(final)
        raise Fail("disk full") if final else OSError("again")

    async with deployment(app):
        with pytest.raises(RunFailed, match="disk full"):
            await (await picky.start(True)).result(10)
        assert calls == [True]
        with pytest.raises(RunFailed):
            await (await picky.start(False)).result(10)
    assert calls == [True] + [False] * 6


async def test_s165_only_listed_exceptions_are_retried():
    """With ``on=`` other exceptions fail at once, subclasses of the listed ones are retried."""
    app, calls = App("s165-on"), []

    @app.task(retry=Retry(3, delay="10ms", on=(OSError,)))
    async def picky(kind: str) -> None:
        calls.append(kind)
        raise {"listed": FileNotFoundError, "other": KeyError}[kind](kind)

    async with deployment(app):
        for kind in ("listed", "other"):
            with pytest.raises(RunFailed):
                await (await picky.start(kind)).result(10)
    assert calls == ["listed"] * 3 + ["other"]


@pytest.mark.parametrize(
    ("after", "at_least_s", "at_most_s"), [("1ms", 0.1, 5), ("2h", 3590, 3600.5)]
)
async def test_s167_retry_after_is_kept_within_its_bounds(after, at_least_s, at_most_s):
    """A handler's own delay is never below 100 ms nor above 1 h."""
    app, times = App("s167"), []

    @app.task(retry=2)
    async def later() -> int:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Retry(after=after)
        return len(times)

    async with deployment(app) as d:
        handle = await later.start()
        if after == "1ms":
            assert await handle.result(10) == 2
            assert times[1] - times[0] >= at_least_s
            return

        async def parked():
            step = (await handle.status()).steps[0]
            return step if step.status == "waiting" else None

        step = await eventually(parked)
        due, began = datetime.fromisoformat(step.due_at), datetime.fromisoformat(step.started_at)
        assert at_least_s <= (due - began).total_seconds() <= at_most_s
        [timer] = await d.messages("DAGNATS_TIMERS")
        assert timer.subject.endswith(handle.run_id)


async def test_s169_a_step_policy_wins_over_that_of_the_workflow():
    """The workflow's policy holds for steps that have none; a step's own policy wins."""
    app, calls = App("s169"), []

    @app.task
    async def broken(name: str) -> None:
        calls.append(name)
        raise OSError(name)

    fallback = Retry(3, delay="10ms")
    default = WorkflowBuilder("default", retry=fallback).task("s", task=broken).build()
    own = (
        WorkflowBuilder("own", retry=fallback)
        .task("s", task=broken, retry=Retry(2, delay="10ms"))
        .build()
    )
    async with deployment(app) as d:
        for definition in (default, own):
            with pytest.raises(RunFailed):
                await (await d.client.start(definition, definition.name)).result(10)
    assert calls == ["default"] * 3 + ["own"] * 2


async def test_s171_an_unknown_kind_of_failure_is_retried():
    """A worker of another make that answers with a failure kind nobody knows is retried, not given up."""
    app = App("s171")

    @app.task(retry=Retry(2, delay="10ms"))
    async def foreign() -> str:
        return "unused"

    async with deployment(app, workers=0) as d:
        handle = await foreign.start()
        first = await d.dispatch(handle.run_id, "foreign/1/0")
        answer = {"type": "step.failed", "ticket": first["ticket"], "nonce": first["nonce"]}
        await d.forge(handle.run_id, "worker", {**answer, "error": "oh", "failure": "permanent"})
        second = await d.dispatch(handle.run_id, "foreign/2/0")
        assert second["error"] == "oh"
        answer = {"type": "step.failed", "ticket": second["ticket"], "nonce": second["nonce"]}
        await d.forge(
            handle.run_id, "worker", {**answer, "error": "no", "failure": "non_retriable"}
        )
        with pytest.raises(RunFailed, match="no"):
            await handle.result(10)


async def test_s173_retries_that_follow_closely_are_not_taken_for_duplicates():
    """Five retries at 10 ms are six calls."""
    app, attempts = App("s173"), []

    @app.task(retry=Retry(6, backoff="fixed", delay="10ms"))
    async def broken(ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise OSError("again")

    async with deployment(app):
        with pytest.raises(RunFailed):
            await (await broken.start()).result(10)
    assert attempts == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_s175_a_back_off_survives_the_scheduler(end):
    """A scheduler that ends in the middle of a back-off changes neither its length nor its number."""
    app, times = App("s175"), []

    @app.task(retry=Retry(2, backoff="fixed", delay="2500ms", jitter=False))
    async def shaky() -> int:
        times.append(time.monotonic())
        if len(times) == 1:
            raise OSError("again")
        return len(times)

    async with deployment(app) as d:
        handle = await shaky.start()

        async def waiting():
            return (await handle.status()).steps[0].status == "waiting"

        await eventually(waiting)
        await getattr(d.schedulers[0], end)()
        await d.add_scheduler()
        assert await handle.result(15) == 2
        assert times[1] - times[0] >= 2.5
        await holds_for(0.5, lambda: len(times) == 2)


async def test_s179_a_late_success_of_an_earlier_attempt_is_ignored():
    """While attempt 2 runs, attempt 1 returns after all: the output is attempt 2's."""
    app, release = App("s179"), {1: asyncio.Event(), 2: asyncio.Event()}

    @app.task(retry=Retry(2, delay="10ms"))
    async def slow(ctx: Context) -> str:
        await release[ctx.attempt].wait()
        return f"output of {ctx.attempt}"

    async with deployment(app) as d:
        handle = await slow.start()
        first = await d.dispatch(handle.run_id, "slow/1/0")
        timeout = {"type": "step.failed", "error": "timeout", "failure": "timeout"}
        await d.forge(
            handle.run_id, "worker", {**timeout, "ticket": "slow/1/0", "nonce": first["nonce"]}
        )
        await d.dispatch(handle.run_id, "slow/2/0")
        release[1].set()

        async def arrived():
            return [e.attempt for e in await handle.history() if e.type == "step.succeeded"] == [1]

        await eventually(arrived)
        assert (await handle.status()).status == "running"
        release[2].set()
        assert await handle.result(10) == "output of 2"


async def test_s181_every_attempt_is_in_the_history_with_its_error():
    """History shows each dispatch and each failure with its attempt, its words and its traceback."""
    app = App("s181")

    @app.task(retry=Retry(3, delay="10ms"))
    async def shaky(ctx: Context) -> str:
        if ctx.attempt < 3:
            raise OSError(f"failure {ctx.attempt}")
        return "done"

    async with deployment(app):
        handle = await shaky.start()
        await handle.result(10)
        history = await handle.history()
    failures = [(e.attempt, bytes(e.data)) for e in history if e.type == "step.failed"]
    assert [attempt for attempt, _ in failures] == [1, 2]
    assert all(f"failure {attempt}".encode() in data for attempt, data in failures)
    assert all(b"in shaky" in data for _, data in failures)
    assert [e.attempt for e in history if e.type == "step.dispatched"] == [1, 2, 3]
    times = [e.at for e in history]
    assert times == sorted(times)


async def test_a_file_counts_retries_and_a_decorator_executions():
    """``max_attempts: 2`` in a file and ``Retry(3)`` in Python are both three calls."""
    app, calls = App("counting"), []

    @app.task(retry=Retry(3, delay="1ms"))
    async def broken(who: str) -> None:
        calls.append(who)
        raise OSError(who)

    step = {"id": "s", "task": "broken", "retry": {"max_attempts": 2, "initial_delay": "1ms"}}
    async with deployment(app) as d:
        await d.register({"name": "counted", "steps": [step]})
        for handle in (await d.client.start("counted", "file"), await broken.start("python")):
            with pytest.raises(RunFailed):
                await handle.result(10)
    assert sorted(calls) == ["file"] * 3 + ["python"] * 3


async def test_work_that_was_given_up_is_in_the_dead_letters_when_the_run_has_failed():
    """Whoever sees a failed run finds its dead letter at once, with the input of the step."""
    app = App("letters")

    @app.task(retry=Retry(2, delay="1ms"))
    async def broken(order: dict[str, int]) -> None:
        raise OSError("no")

    async with deployment(app) as d:
        for number in range(5):
            handle = await broken.start({"order": number})
            with pytest.raises(RunFailed):
                await handle.result(10)
            letters = await d.dead()
            assert len(letters) == number + 1
            assert handle.run_id in letters[-1].subject
            assert f'"order":{number}'.encode() in letters[-1].body
