"""A user of the API, for type checkers only: `make types` checks that everything here is as promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from dagnats import (
    AgentContext,
    App,
    CancelOn,
    ChunkView,
    Context,
    Continue,
    Fail,
    Handle,
    Retry,
    Superseded,
    agent,
    approval,
    respond,
    sleep,
    sub_workflow,
    wait_for_event,
    wait_for_signal,
)

app = App("typed")


@dataclass
class Page:
    """A result."""

    text: str


@app.task
async def fetch(url: str) -> Page:
    """Async, without options."""
    if not url:
        raise Fail("no url")
    return Page(url)


@app.cron("@daily", tz="Europe/Berlin", overlap="skip")
@app.on_event("page.added", filter="size > 1")
@app.task
async def nightly(days: int = 1) -> Page:
    """Started by triggers; what it is stays."""
    return Page(str(days))


@app.task(retry=Retry(5, on=(OSError,)), timeout="30s", singleton=True)
def measure(ctx: Context[None], page: Page) -> int:
    """Plain, with options and a context."""
    ctx.log.info("measuring")
    return len(page.text)


@app.agent_loop(max_iterations=3, max_duration="1m", singleton=True)
async def think(ctx: AgentContext[list[str]], goal: str) -> Page | Continue[list[str]]:
    """A loop with a typed checkpoint."""
    said = ctx.checkpoint or []
    assert_type(said, list[str])
    await ctx.emit("token")
    return Continue([*said, goal]) if len(said) < 2 else Page(" ".join(said))


@app.workflow(timeout="1h", sticky="soft")
def flow(goal: str) -> Any:
    """Traced: calls make steps, and give references."""
    return measure(fetch(think(goal).text))


@dataclass
class Verdict:
    """What people answer."""

    good: bool


@app.planner(allowed_tasks=[fetch, "measure"], max_steps=5, preview={"timeout": "1h"}, retry=3)
async def plan(ctx: Context[Any], goal: str) -> Any:
    """A planner: what its runs give is what the plan gives."""
    return {"steps": [{"id": "a", "task": "fetch", "input": goal}]}


@app.workflow
def sized(page: Page) -> int:
    """A workflow that another one runs."""
    counted: int = measure(page)
    return counted


@app.workflow(cancel_on=[CancelOn("order.cancelled", match={"order.id": "input"}, timeout="1h")])
def every_kind(goal: str) -> int:
    """Each kind of step, with the type of what it gives."""
    planned = plan(goal, compensate=measure)
    said = approval("Go on?", show=planned, form=Verdict, timeout="24h", quorum=2)
    assert_type(said, Verdict)
    sleep("1h", after=said)
    sleep(cron="0 9 * * 1-5", tz="Europe/Berlin")
    assert_type(wait_for_signal("go", type=Verdict), Verdict)
    pages = fetch.map([goal], concurrency=10)
    assert_type(pages, list[Page])
    assert_type(fetch.map([goal], tolerate="5%"), list[Page | None])
    assert_type(sized.detached(Page(goal))["child_run_id"], str)
    wait_for_event("order.paid", match={"order.id": goal}, timeout="1h", on_failure=measure)
    agent("critic", {"goal": goal}, metadata={"role": "critic"})
    sub_workflow("newsletter", goal, detach=True)
    respond(pages, status=202, headers={"x-pages": "1"})
    size = sized(Page(goal))
    assert_type(size, int)
    return size


async def use() -> None:
    """What a caller sees."""
    page = await fetch.start("https://example.org", id="one")
    assert_type(page, Handle[Page])
    assert_type(await page.result(), Page)
    count = await measure.start(Page("text"))
    assert_type(await count.result(timeout=3), int)
    async for item in page.stream(offset=7):
        assert_type(item, ChunkView | Superseded)
    thought = await think.start("goal", metadata={"tenant": "a"})
    assert_type(await thought.result(), Page)
    assert_type((await flow.start("goal")).run_id, str)
    assert_type(await plan.start("goal"), Handle[Any])
    assert_type(await (await every_kind.start("goal")).result(), int)
    assert_type(measure.delay(Page("text")).result_sync(timeout=3), int)
