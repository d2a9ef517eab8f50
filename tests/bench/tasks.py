"""The work that benchmarks run: as little as possible."""

from __future__ import annotations

import asyncio
import time

from dagnats import AgentContext, App, Concurrency, Context, Continue, Rate, WorkflowBuilder

app = App("bench")


@app.task
async def noop(value: str) -> str:
    """Give back what came."""
    return value


@app.agent_loop(max_iterations=1_000)
async def spin(ctx: AgentContext[str], turns: int) -> int | Continue[str]:
    """Go round with an 8 KB checkpoint."""
    state = ctx.checkpoint or "x" * 8192
    return ctx.iteration + 1 if ctx.iteration + 1 >= turns else Continue(state)


@app.task
async def speak(ctx: Context, chunks: int, pause_s: float) -> None:
    """Emit the time, again and again; without a pause to speak of, in a tight loop."""
    for _ in range(chunks):
        await ctx.emit(time.time())
        if pause_s > 1e-6:
            await asyncio.sleep(pause_s)


def chain(steps: int) -> WorkflowBuilder:
    """A chain of no-ops."""
    builder = WorkflowBuilder(f"chain-{steps}")
    for number in range(steps):
        builder.task(f"s{number}", task="noop", after=[f"s{number - 1}"] if number else [])
    return builder


def fan(width: int) -> WorkflowBuilder:
    """One no-op, many after it, and one after all of them."""
    builder = WorkflowBuilder(f"fan-{width}").task("first", task="noop")
    for number in range(width):
        builder.task(f"s{number}", task="noop", after=["first"])
    return builder.task("last", task="noop", after=[f"s{number}" for number in range(width)])


app.add(chain(2).build())
app.add(chain(5).build())
app.add(chain(10).build())


@app.task(concurrency=100)
async def hot(value: str) -> str:
    """One gate that everybody asks."""
    return value


@app.task(concurrency=5, key="input.tenant")
async def keyed(order: dict[str, str]) -> str:
    """A limit for each of many tenants, at one gate."""
    return order["tenant"]


@app.task(concurrency=[Concurrency(8), Concurrency(1_000, key="input.tenant")])
async def fair(_order: dict[str, str]) -> float:
    """Few places, for which tenants compete; when it ran."""
    began = time.time()
    await asyncio.sleep(0.04)
    return began


@app.task(rate=Rate("50/s", burst=1))
async def paced(_value: str) -> float:
    """So many in a second; when it ran."""
    return time.time()


@app.task
async def clock(_value: str) -> float:
    """When its first line runs."""
    return time.time()


_turns: list[float] = []


@app.agent_loop(max_iterations=100_000)
async def long(ctx: AgentContext[str], turns: int) -> list[float] | Continue[str]:
    """A run of very many iterations; when each of them began, as one process saw them."""
    if ctx.iteration == 0:
        _turns.clear()
    _turns.append(time.time())
    return _turns if len(_turns) >= turns else Continue("x")


EACH = WorkflowBuilder("each").map("item", task="noop", input={"$input": ""}, max_items=10_000)
app.add(EACH.build())
app.add(WorkflowBuilder("wait").wait_for_signal("park", "go").build())
