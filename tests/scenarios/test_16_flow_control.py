"""Flow control: how many at once, how often, who first; what waits says why, and nothing leaks."""

import asyncio

import pytest

from dagnats import App, Concurrency, Priority, RunCancelled, RunFailed
from dagnats.core.limiting import gate_id
from dagnats.wire import subjects
from tests.scenarios.gates_support import Ledger, empty, reason_of, status_of
from tests.support.deployment import deployment, eventually, holds_for


async def test_s331_a_run_waits_for_the_one_before():
    """max_runs 1: the second run is pending, says for whom it waits, and begins when the first has ended."""
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
        reason = await eventually(lambda: reason_of(second, "gate"))
        assert (reason.step, reason.position) == ("", 1)
        assert f"limit 1, held by {first.run_id}" in reason.text
        await holds_for(0.5, lambda: ledger.order == ["one"])
        assert await status_of(second) == "pending"
        ledger.gate("one").set()
        ledger.gate("two").set()
        assert await second.result(10) == "two"
        assert await first.result(10) == "one"
        await eventually(lambda: empty(d.client, "workflow", "alone"))


async def test_s333_never_more_than_three_and_in_order():
    """20 runs, three at once: first come, first served; all complete."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(n: int) -> int:
        await ledger.pass_by(n)
        return n

    @app.workflow(max_runs=3)
    def few(n: int):
        return work(n)

    async with deployment(app, schedulers=2) as d:
        handles = [await few.start(n) for n in range(20)]
        assert [await handle.result(20) for handle in handles] == list(range(20))
        assert ledger.most["all"] == 3
        # Those that begin together may overtake each other on the way to the worker.
        assert all(abs(place - n) <= 8 for place, n in enumerate(ledger.order))
        await eventually(lambda: empty(d.client, "workflow", "few"))


async def test_s337_a_task_has_slots_over_all_runs_and_workers():
    """Two tickets of a task at once, whatever runs and workers there are."""
    app, ledger = App("shop"), Ledger()

    @app.task(concurrency=2)
    async def work(n: int) -> int:
        await ledger.pass_by(n)
        return n

    async with deployment(app, workers=3) as d:
        handles = [await work.start(n) for n in range(10)]
        assert sorted([await handle.result(20) for handle in handles]) == list(range(10))
        assert ledger.most["all"] == 2
        await eventually(lambda: empty(d.client, "task", "work"))


async def test_s341_a_key_that_is_used_up_does_not_slow_others():
    """One at a time for each tenant, three altogether."""
    app, ledger = App("shop"), Ledger()

    @app.task(concurrency=[Concurrency(1, key="input.tenant"), Concurrency(3)])
    async def work(order: dict) -> str:
        await ledger.visit(order["name"], order["tenant"])
        return order["name"]

    async with deployment(app) as d:
        orders = [("a1", "a"), ("b1", "b"), ("c1", "c d.é"), ("a2", "a"), ("d1", "d")]
        handles = {}
        for name, tenant in orders:
            handles[name] = await work.start({"name": name, "tenant": tenant})
            # Runs of several partitions may overtake each other on the way to the gate.
            if len(handles) <= 3:
                await eventually(lambda name=name: name in ledger.order)
        blocked = await eventually(lambda: reason_of(handles["a2"], "gate"))
        assert "limit 1 for tenant a" in blocked.text
        full = await eventually(lambda: reason_of(handles["d1"], "gate"))
        assert "limit 3, held by" in full.text
        ledger.gate("b1").set()
        await eventually(lambda: "d1" in ledger.order)
        await holds_for(0.3, lambda: "a2" not in ledger.order)
        for name, _ in orders:
            ledger.gate(name).set()
        assert [await handles[name].result(10) for name, _ in orders] == [n for n, _ in orders]
        assert max(ledger.most.values()) == 1
        await eventually(lambda: empty(d.client, "task", "work"))


async def test_s343_a_missing_key_fails_the_step_with_the_path():
    """The error names the path, and what there is instead."""
    app = App("shop")

    @app.task(concurrency=1, key="input.tenant")
    async def work(order: dict) -> str:
        return "done"

    async with deployment(app):
        handle = await work.start({"customer": "a", "n": 1})
        with pytest.raises(
            RunFailed, match=r'key "tenant" is not in the input, which has: customer, n'
        ):
            await handle.result(10)


async def test_s345_a_singleton_is_not_let_in_twice():
    """The second start is a cancelled run that names the holder; its handler never runs."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(order: dict) -> str:
        await ledger.visit(order["name"])
        return order["name"]

    @app.workflow(singleton="skip", key="input.tenant")
    def once(order: dict):
        return work(order)

    async with deployment(app) as d:
        first = await once.start({"name": "one", "tenant": "a"})
        await eventually(lambda: ledger.order == ["one"])
        second = await once.start({"name": "two", "tenant": "a"})
        other = await once.start({"name": "three", "tenant": "ä b.c"})
        with pytest.raises(RunCancelled, match=f"run {first.run_id} has the place for tenant a"):
            await second.result(10)
        await eventually(lambda: ledger.order == ["one", "three"])
        ledger.gate("one").set()
        ledger.gate("three").set()
        assert await first.result(10) == "one"
        assert await other.result(10) == "three"
        await eventually(lambda: empty(d.client, "workflow", "once"))
        ledger.gate("four").set()
        again = await once.start({"name": "four", "tenant": "a"})
        assert await again.result(10) == "four"


@pytest.mark.parametrize("stored", [b"\x00no json", b'{"version": 99}', b"{}"])
async def test_a_gate_that_cannot_be_read_lets_nobody_in_twice(stored):
    """Its snapshot is of no use, and nonsense was written to it: its log says who is inside."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(n: int) -> int:
        await ledger.visit(n)
        return n

    @app.workflow(max_runs=1)
    def alone(n: int):
        return work(n)

    async with deployment(app, schedulers=0) as d:
        first_owner = await d.add_scheduler()
        first = await alone.start(1)
        await eventually(lambda: ledger.order)
        second = await alone.start(2)
        await eventually(lambda: reason_of(second, "gate"))
        gate = gate_id("workflow", "alone")
        await d.outside.documents(subjects.SNAPSHOTS).put(gate, stored)
        for nonsense in (
            b"\xff\x00",
            b'{"type": "gate.granted"}',
            b'{"type": "gate.left", "run": 7}',
        ):
            await d.forge(gate, "gate", nonsense)
        await first_owner.kill()
        await d.add_scheduler()
        third = await alone.start(3)

        async def in_line():
            why = await reason_of(third, "gate")
            return why if why is not None and why.position == 2 else None

        assert f"held by {first.run_id}" in (await eventually(in_line)).text
        assert ledger.order == [1]
        for n in (1, 2, 3):
            ledger.gate(n).set()
        assert [await each.result(20) for each in (first, second, third)] == [1, 2, 3]
        assert ledger.most["all"] == 1


async def test_a_singleton_can_replace_the_one_in_progress():
    """The new run cancels the old; of two that wait, the older does not begin."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(name: str) -> str:
        await ledger.visit(name)
        return name

    @app.workflow(singleton="cancel-in-progress")
    def newest(name: str):
        return work(name)

    async with deployment(app) as d:
        ledger.gate("two").set()
        first = await newest.start("one")
        await eventually(lambda: ledger.order == ["one"])
        second = await newest.start("two")
        with pytest.raises(RunCancelled, match=f"replaced by run {second.run_id}"):
            await first.result(10)
        assert await second.result(10) == "two"
        await eventually(lambda: empty(d.client, "workflow", "newest"))


async def test_priority_goes_first_where_runs_wait():
    """By rule, or at the start; the rest in the order in which they came."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(order: dict) -> str:
        await ledger.visit(order["name"])
        return order["name"]

    @app.workflow(max_runs=1, priority=Priority("input.plan", {"paid": 60}, default=-60))
    def ranked(order: dict):
        return work(order)

    async with deployment(app):
        names = [("first", "free"), ("free", "free"), ("paid", "paid"), ("pushed", "free")]
        handles = []
        for name, plan in names:
            more = {"priority": 600} if name == "pushed" else {}
            handles.append(await ranked.start({"name": name, "plan": plan}, **more))
            await eventually(lambda: ledger.order == ["first"])
        await eventually(lambda: reason_of(handles[-1], "gate"))
        for name, _ in names:
            ledger.gate(name).set()
        for handle in handles:
            await handle.result(10)
        assert ledger.order == ["first", "pushed", "paid", "free"]


async def test_s347_singletons_of_any_key():
    """Each value is one, whatever stands in it: they run together, and none lets a second in."""
    keys = ["a b", "a.b", "a=b", "ä*>", "", "x" * 256, "1"]
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(order: dict) -> str:
        await ledger.visit(order["key"], order["key"])
        return order["key"]

    @app.workflow(singleton="skip", key="input.key")
    def alone(order: dict):
        return work(order)

    async with deployment(app) as d:
        firsts = [await alone.start({"key": key}) for key in keys]
        await eventually(lambda: sum(ledger.inside.values()) == len(keys))
        seconds = [await alone.start({"key": key}) for key in keys]
        for second in seconds:
            with pytest.raises(RunCancelled, match="has the place"):
                await second.result(10)
        for key in keys:
            ledger.gate(key).set()
        assert [await first.result(10) for first in firsts] == keys
        assert set(ledger.most.values()) == {1}
        await eventually(lambda: empty(d.client, "workflow", "alone"))


async def test_s335_runs_that_have_ended_hold_nobody_up():
    """Very many ended before: those that wait for a place still begin."""
    app, ledger = App("shop"), Ledger()

    @app.task
    async def work(n: int) -> int:
        ledger.order.append(n)
        return n

    @app.workflow(max_runs=1)
    def one(n: int):
        return work(n)

    async with deployment(app) as d:
        ended = await asyncio.gather(*(one.start(n) for n in range(300)))
        await asyncio.gather(*(handle.result(60) for handle in ended))
        await d.workers[0].stop()
        waiting = [await one.start(1_000 + n) for n in range(3)]
        await eventually(lambda: reason_of(waiting[2], "gate"))
        await d.add_worker()
        assert [await handle.result(20) for handle in waiting] == [1_000, 1_001, 1_002]
        assert sorted(ledger.order[-3:]) == [1_000, 1_001, 1_002]
