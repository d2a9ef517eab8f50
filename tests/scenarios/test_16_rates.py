"""Limits over time, and over a run's life: rates, pauses, waiting runs that are cancelled, opened again, go on."""

import asyncio

import pytest

from dagnats import App, Rate, Retry, RunCancelled, RunFailed
from tests.scenarios.gates_support import Ledger, empty, reason_of, status_of
from tests.support.deployment import deployment, eventually


async def test_a_rate_lets_through_so_many_in_a_time():
    """Five at once, then as they come: two seconds' worth."""
    app = App("shop")
    times = []

    @app.task(rate="5/s")
    async def call(n: int) -> int:
        times.append(asyncio.get_running_loop().time())
        return n

    async with deployment(app) as d:
        handles = [await call.start(n) for n in range(12)]
        for handle in handles:
            await handle.result(20)
        assert times[4] - times[0] < 1.0
        # Seven more at five in a second: not sooner than 1.4 s after the first, less what a clock may differ.
        assert times[11] - times[0] > 1.2
        await eventually(lambda: empty(d.client, "task", "call"))


async def test_a_rate_that_refuses_is_a_failed_attempt():
    """Throttling waits; limiting refuses, and the retry policy decides."""
    app = App("shop")

    @app.task(rate=Rate("1/min", on_limit="refuse"))
    async def call(n: int) -> int:
        return n

    async with deployment(app):
        assert await (await call.start(1)).result(10) == 1
        with pytest.raises(RunFailed, match="not let through: the rate of 1 in 1m"):
            await (await call.start(2)).result(10)


async def test_units_are_taken_from_the_input():
    """What a ticket costs stands in its input; one that could never be let through is refused."""
    app = App("shop")

    @app.task(rate=Rate(100, per="1h", units="input.tokens"))
    async def call(request: dict) -> int:
        return request["tokens"]

    async with deployment(app) as d:
        assert await (await call.start({"tokens": 70})).result(10) == 70
        assert await (await call.start({"tokens": 30})).result(10) == 30
        waits = await call.start({"tokens": 1})
        reason = await eventually(lambda: reason_of(waits, "gate"))
        assert "rate 100 in 1h is used up" in reason.text
        assert reason.next_at
        with pytest.raises(RunFailed, match="it costs 101, and there are never more than 100"):
            await (await call.start({"tokens": 101})).result(10)
        gate = await d.client.gate("task", "call")
        assert [limit.left for limit in gate.limits] == [0]


async def test_one_answer_pauses_a_key_for_everybody():
    """429 with Retry-After: all with that key wait as long, others do not."""
    app = App("shop")
    calls = []

    @app.task(key="input.model", retry=3)
    async def call(request: dict) -> str:
        calls.append((request["model"], request["n"], asyncio.get_running_loop().time()))
        if len(calls) == 1:
            raise Retry(after="1s", pause_key=True)
        return "done"

    async with deployment(app):
        first = await call.start({"model": "big", "n": 1})
        await eventually(lambda: calls)
        await eventually(lambda: reason_of(first, "retry"))
        second = await call.start({"model": "big", "n": 2})
        third = await call.start({"model": "small", "n": 3})
        assert await third.result(10) == "done"
        reason = await eventually(lambda: reason_of(second, "gate"))
        assert "paused for model big until" in reason.text
        assert await second.result(10) == "done"
        assert await first.result(10) == "done"
        began = {n: at for _, n, at in calls[1:]}
        assert began[2] - calls[0][2] > 0.8


async def test_a_run_can_bound_its_own_steps():
    """max_steps: so many steps of one run are under way at once; the others say what they wait for."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(n: int) -> int:
        await ledger.visit(n)
        return n

    @app.workflow(max_steps=2)
    def wide(n: int):
        return [work(1), work(2), work(3), work(4)]

    async with deployment(app):
        handle = await wide.start(0)
        await eventually(lambda: sorted(ledger.order) == [1, 2])
        reasons = [r for r in await handle.explain() if r.cause == "max_steps"]
        assert [r.position for r in reasons] == [1, 2]
        assert "2 of 2 steps are under way" in reasons[0].text
        for n in (1, 2, 3, 4):
            ledger.gate(n).set()
        assert await handle.result(10) == [1, 2, 3, 4]
        assert ledger.most["all"] == 2


async def test_what_was_cancelled_while_it_waited_never_begins():
    """A run that waits for its gate can be cancelled; it leaves the line."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(name: str) -> str:
        await ledger.visit(name)
        return name

    @app.workflow(max_runs=1)
    def alone(name: str):
        return work(name)

    async with deployment(app) as d:
        first = await alone.start("one")
        await eventually(lambda: ledger.order == ["one"])
        second = await alone.start("two")
        await eventually(lambda: reason_of(second, "gate"))
        assert await second.cancel("not wanted")
        with pytest.raises(RunCancelled):
            await second.result(10)
        third = await alone.start("three")
        ledger.gate("three").set()
        ledger.gate("one").set()
        assert await third.result(10) == "three"
        assert await first.result(10) == "one"
        assert ledger.order == ["one", "three"]
        await eventually(lambda: empty(d.client, "workflow", "alone"))


async def test_an_operator_can_release_a_place():
    """`gate release` gives a holder's place to the next."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(name: str) -> str:
        await ledger.visit(name)
        return name

    @app.workflow(max_runs=1)
    def alone(name: str):
        return work(name)

    async with deployment(app) as d:
        first = await alone.start("one")
        await eventually(lambda: ledger.order == ["one"])
        second = await alone.start("two")
        await eventually(lambda: reason_of(second, "gate"))
        await d.client.release_gate("workflow", "alone", first.run_id)
        await eventually(lambda: ledger.order == ["one", "two"])
        ledger.gate("one").set()
        ledger.gate("two").set()
        assert await first.result(10) == "one"
        assert await second.result(10) == "two"
        await eventually(lambda: empty(d.client, "workflow", "alone"))


async def test_a_failed_run_asks_again_when_it_is_opened_again():
    """`run retry` of a limited workflow waits for its turn; what was done stays done."""
    app, ledger = App("shop"), Ledger()
    broken = [True]

    @app.task
    async def work(name: str) -> str:
        if name == "one" and broken:
            raise ValueError("broken")
        await ledger.visit(name)
        return name

    @app.workflow(max_runs=1)
    def alone(name: str):
        return work(name)

    async with deployment(app) as d:
        first = await alone.start("one")
        with pytest.raises(RunFailed):
            await first.result(10)
        broken.clear()
        second = await alone.start("two")
        await eventually(lambda: ledger.order == ["two"])
        await first.retry()
        await eventually(lambda: reason_of(first, "gate"))
        assert await status_of(first) == "pending"
        ledger.gate("one").set()
        ledger.gate("two").set()
        assert await second.result(10) == "two"
        assert await first.result(10) == "one"
        await eventually(lambda: empty(d.client, "workflow", "alone"))


async def test_a_run_that_continues_as_new_keeps_its_place():
    """The successor goes before those that wait."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(ctx, n: int):
        ledger.order.append(n)
        if n == 1:
            await ledger.gate("go").wait()
            return ctx.continue_as_new(2)
        return n

    @app.workflow(max_runs=1)
    def alone(n: int):
        return work(n)

    async with deployment(app) as d:
        first = await alone.start(1)
        await eventually(lambda: ledger.order == [1])
        second = await alone.start(9)
        await eventually(lambda: reason_of(second, "gate"))
        ledger.gate("go").set()
        assert await first.result(10) == 2
        assert await second.result(10) == 9
        assert ledger.order == [1, 2, 9]
        await eventually(lambda: empty(d.client, "workflow", "alone"))
