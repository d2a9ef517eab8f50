"""Signals and external events: kept, consumed once, in order; matched by a field; timed out."""

import asyncio

import pytest

from dagnats import (
    App,
    Context,
    RunFailed,
    RunNotFound,
    SignalRefused,
    SignalTimeout,
    wait_for_event,
    wait_for_signal,
)
from tests.support.deployment import deployment, eventually, holds_for


def desk() -> App:
    """Handlers and workflows that wait."""
    app = App("desk")
    app.entered = []

    @app.task
    async def listen(ctx: Context, name: str) -> str:
        app.entered.append(ctx.message.ticket)
        return await ctx.wait_for_signal(name, timeout="30s")

    @app.task
    async def two(ctx: Context) -> list[int]:
        return [await ctx.wait_for_signal("n", timeout="30s", type=int) for _ in range(2)]

    @app.task
    async def hurried(ctx: Context) -> str:
        try:
            await ctx.wait_for_signal("never", timeout="200ms")
        except SignalTimeout:
            return "nobody came"
        return "somebody came"

    @app.task
    async def parked(ctx: Context) -> str:
        app.entered.append(ctx.message.ticket)
        return await ctx.wait_for_signal("wake", timeout="30s", park=True)

    @app.workflow
    def paid(order_id: int):
        return wait_for_event("order.paid", match={"order.id": order_id}, timeout="30s")

    @app.workflow
    def impatient(order_id: int):
        return wait_for_event("order.paid", match={"order.id": order_id}, timeout="300ms")

    @app.workflow
    def gate(n: int):
        return wait_for_signal("go", timeout="30s")

    return app


async def test_s101_a_signal_reaches_its_handler():
    """It is sent while the handler waits."""
    app = desk()
    async with deployment(app):
        handle = await app.tasks["listen"].start("go")
        await eventually(lambda: app.entered)
        await handle.signal("go", "approved")
        assert await handle.result(10) == "approved"


async def test_signals_come_early_and_in_order():
    """Those sent before anybody waits are kept; each is consumed once."""
    app = desk()
    async with deployment(app, workers=0) as d:
        handle = await app.tasks["two"].start()
        for number in (1, 2):
            await handle.signal("n", number)
        await d.add_worker()
        assert await handle.result(10) == [1, 2]


async def test_s103_a_wait_times_out():
    """The handler is told, and decides."""
    app = desk()
    async with deployment(app):
        assert await (await app.tasks["hurried"].start()).result(10) == "nobody came"


async def test_s105_names_and_runs_are_independent():
    """A signal of another name, or to another run, is not taken."""
    app = desk()
    async with deployment(app):
        a, b = await app.tasks["listen"].start("x"), await app.tasks["listen"].start("y")
        await a.signal("y", "wrong name")
        await b.signal("y", "right")
        assert await b.result(10) == "right"
        assert (await a.status()).status == "running"
        await a.signal("x", "right too")
        assert await a.result(10) == "right too"


async def test_s107_waiting_longer_than_the_lease_is_safe():
    """The handler is entered once."""
    app = desk()
    async with deployment(app, lease_ms=1_000):
        handle = await app.tasks["listen"].start("go")
        await eventually(lambda: app.entered)
        await holds_for(3, lambda: len(app.entered) == 1)
        await handle.signal("go", "late")
        assert await handle.result(10) == "late"
        assert len(app.entered) == 1


async def test_a_parked_handler_is_entered_again():
    """Under a new ticket of the same attempt; meanwhile nothing of it is held."""
    app = desk()
    async with deployment(app) as d:
        handle = await app.tasks["parked"].start()
        await eventually(lambda: app.entered)
        await eventually(lambda: not d.workers[0].service.tickets.running)
        await handle.signal("wake", "up")
        assert await handle.result(10) == "up"
        assert app.entered == ["parked/1/0", "parked/1/0/1"]


async def test_signals_to_nobody_are_refused():
    """An unknown run and a run that has ended are errors at the sender."""
    app = desk()
    async with deployment(app) as d:
        with pytest.raises(RunNotFound):
            await d.client.signal("nobody", "go")
        handle = await app.tasks["hurried"].start()
        await handle.result(10)
        with pytest.raises(SignalRefused, match="completed"):
            await handle.signal("go")


async def test_a_step_that_waits_for_a_signal():
    """Without any worker."""
    app = desk()
    async with deployment(app, workers=0) as d:
        await d.client.register(app.flows["gate"].definition())
        handle = await app.flows["gate"].start(1)
        await handle.signal("go", {"by": "ada"})
        assert await handle.result(10) == {"by": "ada"}


async def test_s109_s117_an_event_must_match_and_counts_once():
    """Another order's event is ignored; the right one twice completes the run once."""
    app = desk()
    async with deployment(app) as d:
        handle = await app.flows["paid"].start(7)
        await d.client.publish_event("order.paid", {"order": {"id": 8}})
        await holds_for(0.5, lambda: open_run(handle))
        for _ in range(2):
            await d.client.publish_event("order.paid", {"order": {"id": "7"}, "v": 1})
        assert await handle.result(10) == {"order": {"id": "7"}, "v": 1}


async def open_run(handle):
    """Whether it has not ended."""
    return (await handle.status()).status == "running"


async def test_an_event_right_after_the_start_is_not_missed():
    """Published before any scheduler has seen the run."""
    app = desk()
    async with deployment(app, schedulers=0) as d:
        handle = await app.flows["paid"].start(7)
        await d.client.publish_event("order.paid", {"order": {"id": 7}})
        await d.add_scheduler()
        assert await handle.result(10) == {"order": {"id": 7}}


async def test_s111_a_wait_that_times_out_succeeds():
    """With a word that says so, while another goes on waiting."""
    app = desk()
    async with deployment(app) as d:
        slow = await app.flows["paid"].start(1)
        quick = await app.flows["impatient"].start(2)
        assert await quick.result(10) == {"timeout": True}
        await d.client.publish_event("order.paid", {"order": {"id": 1}})
        assert await slow.result(10) == {"order": {"id": 1}}


async def test_s113_a_wait_survives_the_schedulers_death():
    """The next one hears the event, also one that was published while nobody lived."""
    app = desk()
    async with deployment(app) as d:
        first, second = await app.flows["paid"].start(1), await app.flows["paid"].start(2)
        waiting = d.outside.documents("dagnats_waiters")
        await eventually(lambda: two_in(waiting))
        await d.schedulers[0].kill()
        await d.client.publish_event("order.paid", {"order": {"id": 1}})
        await d.add_scheduler()
        assert await first.result(15) == {"order": {"id": 1}}
        await d.client.publish_event("order.paid", {"order": {"id": 2}})
        assert await second.result(10) == {"order": {"id": 2}}
        await eventually(lambda: none_in(waiting))


async def two_in(documents):
    """Whether two are noted."""
    return len(await documents.all()) == 2


async def none_in(documents):
    """Whether none is."""
    return not await documents.all()


async def test_s115_a_path_that_is_missing_fails_at_once():
    """The message says which."""
    app = App("desk")

    @app.workflow
    def paid(order: dict):
        return wait_for_event("order.paid", match={"order.id": order.id}, timeout="30s")

    async with deployment(app):
        handle = await paid.start({"number": 7})
        with pytest.raises(RunFailed, match="'id'"):
            await asyncio.wait_for(handle.result(), 10)
