"""What users write with decorators and calls, run to its end on a real deployment."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from dagnats import (
    App,
    Plan,
    RunFailed,
    Step,
    approval,
    respond,
    sleep,
    sub_workflow,
    wait_for_event,
    wait_for_signal,
)
from tests.support.deployment import deployment, eventually

app = App("authored")
undone: list[dict[str, Any]] = []


class Verdict(TypedDict):
    """What people answer."""

    headline: str


@app.task
async def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


@app.task
async def add(a: int, b: int) -> int:
    """Their sum."""
    return a + b


@app.task
async def picky(n: int) -> int:
    """Fails on 2."""
    if n == 2:
        raise ValueError("not 2")
    return n


@app.task
async def note(failure: dict[str, Any]) -> str:
    """Stands in for what failed, or undoes."""
    undone.append(failure)
    return "noted"


@app.planner(allowed_tasks=[double, add], max_steps=3, max_depth=2, retry=2)
async def plan(n: int) -> Plan:
    """Two steps, one after the other."""
    later = {"a": Step.output("twice"), "b": 1}
    return Plan([Step("twice", double, n), Step("more", add, later, after="twice")])


@app.workflow
def child(n: int, by: int = 10) -> int:
    """A workflow that another one runs, with a default."""
    added: int = add(n, by)
    return added


@app.workflow
def growing(n: int) -> dict[str, Any]:
    """Kinds that make more of a run."""
    planned = plan(n)
    numbers = picky.map([n, 2, planned], concurrency=2, tolerate="50%")
    waited = sleep("10ms", after=numbers)
    below = child(n, after=waited)
    by_name = sub_workflow("child", {"n": n, "by": planned}, type=int)
    respond({"planned": planned})
    return {"planned": planned, "numbers": numbers, "child": below, "named": by_name}


@app.workflow
def asking(n: int) -> dict[str, Any]:
    """Kinds that wait for somebody."""
    verdict = approval("Go on?", show={"n": n}, form=Verdict, timeout="1m")
    sent = wait_for_signal("more", type=int, timeout="1m", after=verdict)
    nobody: Any = wait_for_event("never", match={"id": n}, timeout="50ms")
    late = double(sent, when=nobody.timeout == True)  # noqa: E712
    return {"headline": verdict["headline"], "late": late}


@app.workflow
def undoing(n: int) -> None:
    """A saga: what was done is undone when a question is answered with no."""
    done = double(n, compensate=note)
    approval("Keep it?", show=done, timeout="1m")


async def test_kinds_that_grow_a_run():
    """A plan, a map with a hole, a sleep, two children: each reference is the value of its kind."""
    async with deployment(app) as d:
        await d.client.register(child.definition())  # as a worker's command does
        handle = await growing.start(4)
        assert await handle.result(20) == {
            "planned": 9,
            "numbers": [4, None, 9],
            "child": 14,
            "named": 13,
        }


async def test_kinds_that_ask():
    """An answer to a form, a signal, and an event that never comes."""
    async with deployment(app) as d:
        handle = d.client.handle((await asking.start(1)).run_id)
        await eventually(lambda: _waits(handle, "approval"))
        await handle.approve("approval", answer={"headline": "Yes"}, by="ann")
        await handle.signal("more", 21)

        assert await handle.result(20) == {"headline": "Yes", "late": 42}


async def test_a_no_undoes_what_was_done():
    """The compensation is told what it undoes, and why."""
    undone.clear()
    async with deployment(app) as d:
        handle = d.client.handle((await undoing.start(3)).run_id)
        await eventually(lambda: _waits(handle, "approval"))
        await handle.reject("approval", comment="too much", by="ann")
        with pytest.raises(RunFailed, match="too much"):
            await handle.result(20)

        assert (await handle.status()).status == "compensated"
    assert [(told["original_step"], told["original_output"]) for told in undone] == [("double", 6)]


async def _waits(handle: Any, step: str) -> bool:
    view = await handle.status()
    return any(each.id == step and each.status == "waiting" for each in view.steps)
