"""Sagas: what was done is undone in reverse; and failed runs that are opened again, or forked."""

import asyncio

import pytest

from dagnats import AgentContext, App, Continue, Fail, RequestError, Retry, RunFailed
from tests.scenarios.gates_support import empty
from tests.support.deployment import deployment, eventually


def travel(fail_undo=False) -> App:
    """Bookings that are cancelled when a later one fails."""
    app = App("travel")
    app.log = []
    app.full = True
    app.undo_fails = 1 if fail_undo else 0

    @app.task
    async def book(what: str) -> str:
        app.log.append(f"book {what}")
        return f"{what} booked"

    @app.task(retry=Retry(2, delay=0.01))
    async def unbook(told: dict) -> None:
        app.log.append(f"undo {told['original_output']} because {told['trigger_step']}")
        if app.undo_fails:
            app.undo_fails -= 1
            raise ValueError("once")

    @app.task
    async def pay(parts: object) -> str:
        app.log.append("pay")
        if app.full:
            raise Fail("card refused")
        return "paid"

    @app.workflow
    def trip(n: int):
        flight = book("flight", compensate=unbook)
        hotel = book("hotel", compensate=unbook, after=flight)
        return pay([flight, hotel])

    @app.workflow
    def plain(n: int):
        return pay([book("car"), n])

    @app.agent_loop(max_iterations=9)
    async def think(ctx: AgentContext[list[int]], n: int) -> list[int] | Continue[list[int]]:
        seen = [*(ctx.checkpoint or []), n * 10 + ctx.iteration]
        app.log.append(f"think {ctx.iteration}")
        return seen if len(seen) == 3 else Continue(seen)

    @app.workflow
    def thinking(n: int):
        return think(n)

    return app


UNDONE = [
    "book flight", "book hotel", "pay", "undo hotel booked because pay", "undo flight booked because pay",
]  # fmt: skip


async def test_s215_what_was_done_is_undone_in_reverse():
    """The run ends compensated, and says why."""
    app = travel()
    async with deployment(app):
        handle = await app.flows["trip"].start(1)
        with pytest.raises(RunFailed, match=r"was undone: .*card refused") as failure:
            await handle.result(10)

        assert failure.value.status == "compensated"
        assert app.log == UNDONE


async def test_s221_a_compensator_is_retried():
    """Its own policy holds."""
    app = travel(fail_undo=True)
    async with deployment(app):
        handle = await app.flows["trip"].start(1)
        with pytest.raises(RunFailed, match="was undone"):
            await handle.result(10)

        assert app.log == [*UNDONE[:4], *UNDONE[3:]]


async def test_a_failed_run_goes_on_where_it_failed():
    """What was done stays done; a second request is refused; a run that is not failed is, too."""
    app = travel()
    async with deployment(app) as d:
        handle = await app.flows["plain"].start(1)
        with pytest.raises(RunFailed):
            await handle.result(10)
        app.full = False
        await handle.retry("the card works again")
        assert await handle.result(10) == "paid"
        assert app.log == ["book car", "pay", "pay"]
        with pytest.raises(RequestError, match="it is completed"):
            await d.client.retry(handle.run_id)
        assert (await handle.status()).status == "completed"


async def test_a_rerun_is_a_new_run():
    """With the same input, or another."""
    app = travel()
    app.full = False
    async with deployment(app) as d:
        first = await app.flows["thinking"].start(1)
        assert await first.result(10) == [10, 11, 12]
        await d.client.register(app.flows["thinking"].definition())
        assert await (await d.client.rerun(first.run_id)).result(10) == [10, 11, 12]
        assert await (await d.client.rerun(first.run_id, 2)).result(10) == [20, 21, 22]


async def test_a_fork_shares_history_up_to_a_place():
    """Finished iterations do not run again; the rest runs with another input."""
    app = travel()
    async with deployment(app) as d:
        first = await app.flows["thinking"].start(1)
        await first.result(10)
        app.log.clear()
        fork = await d.client.fork(first.run_id, "think", 1)
        assert await fork.result(10) == [10, 11, 12]
        assert app.log == ["think 1", "think 2"]
        other = await d.client.fork(first.run_id, "think", 2, 7)
        assert await other.result(10) == [10, 11, 72]
        with pytest.raises(RequestError, match="never came to"):
            await d.client.fork(first.run_id, "think", 8)


@pytest.mark.parametrize("undo_fails", [0, 5])
async def test_s219_what_was_undone_gives_back_what_the_run_had(undo_fails):
    """Also where undoing fails: its place, its singleton, its worker; and its end is told."""
    app = travel()
    app.undo_fails = undo_fails

    @app.workflow(max_runs=1, sticky="hard", timeout="1m")
    def narrow(what: str):
        return app.tasks["pay"]([app.tasks["book"](what, compensate=app.tasks["unbook"])])

    @app.workflow(singleton="skip", sticky="hard", timeout="1m")
    def alone(what: str):
        return app.tasks["pay"]([app.tasks["book"](what, compensate=app.tasks["unbook"])])

    async with deployment(app) as d:
        told = []
        await d.outside.notices.listen("dagnats.mark.*.*.closed", lambda s, *_: told.append(s))
        for flow in (narrow, alone):
            app.full, app.undo_fails = True, undo_fails
            first = await flow.start("car")
            ended = asyncio.ensure_future(first.result(20))
            with pytest.raises(RunFailed) as failure:
                await ended
            assert failure.value.status == ("compensate_failed" if undo_fails else "compensated")
            await eventually(lambda flow=flow: empty(d.client, "workflow", flow.name))
            app.full = False
            await d.add_worker()  # the next run is not bound to the first one's worker
            await d.workers[-2].stop()
            assert await (await flow.start("car")).result(20) == "paid"
            assert sum(first.run_id in subject for subject in told) == 1
