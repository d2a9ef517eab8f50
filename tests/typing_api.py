"""A user of the API, for type checkers only: `make types` checks that everything here is as promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from dagnats import AgentContext, App, Context, Continue, Fail, Handle, Retry

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


async def use() -> None:
    """What a caller sees."""
    page = await fetch.start("https://example.org", id="one")
    assert_type(page, Handle[Page])
    assert_type(await page.result(), Page)
    count = await measure.start(Page("text"))
    assert_type(await count.result(timeout=3), int)
    thought = await think.start("goal", metadata={"tenant": "a"})
    assert_type(await thought.result(), Page)
    assert_type((await flow.start("goal")).run_id, str)
    assert_type(measure.delay(Page("text")).result_sync(timeout=3), int)
