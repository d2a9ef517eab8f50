"""Child runs: output, failure, cancellation, depth; runs that continue as new ones."""

import pytest

from dagnats import App, Context, ContinueAsNew, Fail, Retry, RunCancelled, RunFailed
from dagnats.core.commands import child_run_id, successor_run_id
from tests.support.deployment import deployment, eventually, holds_for


def family() -> App:
    """Workflows that run others."""
    app = App("family")
    app.seen = []

    @app.task
    async def double(n: int) -> int:
        app.seen.append(n)
        if n == 13:
            raise Fail("unlucky")
        return 2 * n

    @app.task
    async def hold(ctx: Context, n: int) -> int:
        return await ctx.wait_for_signal("go", timeout="1m")

    @app.workflow
    def child(n: int):
        return double(double(n))

    @app.workflow
    def parent(n: int):
        return double(child(n))

    @app.workflow
    def again(n: int):
        return child(n, retry=Retry(2, delay=0.01))

    @app.workflow
    def holding(n: int):
        return hold(n)

    @app.workflow
    def over(n: int):
        return holding(n)

    @app.workflow
    def beside(n: int):
        return holding(n, detach=True)

    @app.workflow
    def third(n: int):
        return over(n)

    @app.workflow
    def fourth(n: int):
        return third(n)

    @app.task
    async def count(ctx: Context, n: int) -> int | ContinueAsNew:
        return n if n >= 5 else ctx.continue_as_new(n + 1)

    @app.workflow
    def counting(n: int):
        return count(n)

    @app.workflow
    def waiting_for_it(n: int):
        return counting(n)

    return app


async def registered(d):
    """All workflows under their names, as a worker does."""
    for workflow in d.app.workflows().values():
        await d.client.register(workflow)


async def test_s141_a_child_runs_and_its_output_goes_on():
    """It has its parent and its root."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        handle = await app.flows["parent"].start(1)
        assert await handle.result(10) == 8
        child = await d.client.run(child_run_id(handle.run_id, "child/1/0"))

        assert (child.parent, child.root, child.depth) == (handle.run_id, handle.run_id, 1)


async def test_s143_s155_a_child_that_fails():
    """The parent's step fails, after as many children as its policy allows."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        handle = await app.flows["again"].start(13)
        with pytest.raises(RunFailed, match=r"child workflow failed: .*unlucky"):
            await handle.result(10)
        for attempt in (1, 2):
            child = child_run_id(handle.run_id, f"child/{attempt}/0")
            assert (await d.client.run(child)).status == "failed"


async def test_an_unknown_workflow_is_told():
    """The step fails with its name."""
    app = family()
    async with deployment(app):
        handle = await app.flows["parent"].start(1)
        with pytest.raises(RunFailed, match='no workflow "child" is registered'):
            await handle.result(10)


async def test_s145_cancelling_goes_down_but_not_beside():
    """An attached child is cancelled with its parent; a detached one goes on."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        over = await app.flows["over"].start(1)
        attached = d.client.handle(child_run_id(over.run_id, "holding/1/0"))
        await eventually(lambda: begun(d, attached.run_id))
        await over.cancel()
        with pytest.raises(RunCancelled):
            await attached.result(10)

        beside = await app.flows["beside"].start(1)
        told = await beside.result(10)
        detached = d.client.handle(told["child_run_id"])
        await holds_for(0.3, lambda: begun(d, detached.run_id))
        await detached.signal("go", 5)
        assert await detached.result(10) == 5


async def begun(d, run_id):
    """Whether a run is under way."""
    try:
        return (await d.client.run(run_id)).status == "running"
    except Exception:
        return False


async def test_s147_depth_is_bounded():
    """Two levels below the root, and no more."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        handle = await app.flows["fourth"].start(1)
        with pytest.raises(RunFailed, match="depth"):
            await handle.result(10)


async def test_runs_continue_as_new_ones():
    """``result`` follows the chain; each has a history of its own; both ends know each other."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        handle = await app.flows["counting"].start(1)
        assert await handle.result(10) == 5
        first = await d.client.run(handle.run_id)
        second = await d.client.run(successor_run_id(handle.run_id))

        assert first.status == "continued"
        assert (second.previous, second.root, second.chain) == (first.id, first.id, 1)


async def test_a_parent_waits_for_the_whole_chain():
    """The last of them tells it."""
    app = family()
    async with deployment(app) as d:
        await registered(d)
        assert await (await app.flows["waiting_for_it"].start(3)).result(10) == 5


async def test_s149_a_child_that_is_started_twice_runs_once():
    """Its first fact comes again, after the server has forgotten its id; and once more when it has ended."""
    app = family()
    async with deployment(app) as d:
        await d.client.register(app.flows["holding"].definition())
        handle = await app.flows["over"].start(1)

        async def child_of():
            steps = (await handle.status()).steps
            return steps[0].child_run_id if steps else ""

        child = await eventually(child_of)

        async def first_of():
            found = [m for m in await d.messages("DAGNATS_EVENTS") if child in m.subject]
            return next((m for m in found if m.subject.endswith(".client")), None)

        first = await eventually(first_of)
        await d.forge(child, "client", first.body, "once more")
        await d.client.handle(child).signal("go", 7)
        assert await handle.result(10) == 7
        await d.forge(child, "client", first.body, "and again")
        marks = [m for m in await d.messages("DAGNATS_EVENTS") if child in m.subject]
        assert sum(m.subject.endswith(".closed") for m in marks) == 1
        assert sum(m.subject.startswith("dagnats.task.") for m in marks) == 1
        assert (await d.client.count()).total == 2
        assert [row.run_id for row in (await d.client.runs(workflow="holding")).runs] == [child]
