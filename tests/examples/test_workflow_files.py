"""The workflow files beside the examples are run, with handlers for the tasks they name: weeks, in virtual time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dagnats import AgentContext, App, Context, Continue, Plan, Step
from dagnats.core.definition import read_workflow
from dagnats.core.model import Workflow
from dagnats.testing import in_memory, virtual_time

FILES = Path(__file__).parents[2] / "examples" / "workflows"


def of_file(name: str) -> Workflow:
    """A workflow as its file has it."""
    workflow, problems = read_workflow(json.loads((FILES / f"{name}.json").read_text()))
    assert workflow is not None
    assert not problems
    return workflow


def app_of(*tasks: str, **groups: str) -> App:
    """An app with tasks that give back what they are given, some for workers of a group."""
    app = App("files")
    for name in tasks:
        app.task(name=name, group=groups.get(name, ""))(echo)
    return app


async def echo(ctx: Context, given: Any) -> Any:
    """What a task is given, under its step's name."""
    return {ctx.step_id: given}


def test_every_file_is_run():
    """By a test of its name."""
    assert {f"test_{path.stem}" for path in FILES.iterdir()} <= globals().keys()


@virtual_time
async def test_nightly():
    """It waits for half past two in Berlin, and for a signal; what the check finds broken is repaired."""
    app = app_of("backup")

    @app.task
    async def check(given: Any) -> dict[str, int]:
        return {"broken": 2}

    @app.workflow(name="check-backup")
    def check_backup(given: Any):
        return check(given)

    @app.agent_loop(max_iterations=9)
    async def repair(ctx: AgentContext[int], found: Any) -> str | Continue[int]:
        left = found["broken"] if ctx.checkpoint is None else ctx.checkpoint
        return Continue(left - 1) if left else "repaired"

    async with in_memory(app) as sandbox:
        handle = await sandbox.client.start(of_file("nightly"), "everything")
        await handle.signal("go")
        assert await handle.result() == "repaired"
        run = await handle.status()
        [night] = [datetime.fromisoformat(s.ended_at) for s in run.steps if s.id == "night"]
        assert (night.hour, night.minute) in {(0, 30), (1, 30)}
        assert night.weekday() < 5


@virtual_time
async def test_order():
    """Reserved, paid for, charged, delivered on the day that was asked for; the caller was answered meanwhile."""
    names = ("release_stock", "charge", "refund", "deliver", "tell_support")
    app = app_of(*names, deliver="warehouse")

    @app.task
    async def reserve_stock(given: dict[str, Any]) -> dict[str, Any]:
        return {"order_id": given["order"]["id"], "reservation": "r1"}

    async with in_memory(app) as sandbox:
        tomorrow = datetime.fromtimestamp(sandbox.now_ms / 1000 + 86_400, UTC).isoformat()
        given = {"order": {"id": 7}, "deliver_at": tomorrow}
        handle = await sandbox.client.start(of_file("order"), given)
        await sandbox.advance("1h")
        await sandbox.client.publish_event("payment.received", {"payment": {"order": 8}})
        await sandbox.client.publish_event("payment.received", {"payment": {"order": 7}})
        assert await handle.result() == {"order": 7, "delivery": {"deliver": {"order": {"id": 7}}}}
        assert sandbox.now_ms >= datetime.fromisoformat(tomorrow).timestamp() * 1000
        steps = {step.id: step.status for step in (await handle.status()).steps}
        assert (steps["accept"], steps["charge"]) == ("completed", "completed")


@virtual_time
async def test_research():
    """Planned, looked at by people, read, criticised, written, published by two; then a newsletter goes out."""
    app = app_of("search", "read", "summarize", "second_opinion", "archive", second_opinion="agent")

    @app.planner(allowed_tasks=["search", "read"])
    async def plan_research(topic: str) -> Plan:
        return Plan([Step("look", "search", {"words": topic})])

    @app.task
    async def pick_sources(found: Any) -> list[str]:
        return ["one", "two"]

    @app.agent_loop(max_iterations=20)
    async def writer(ctx: AgentContext[int], given: Any) -> str | Continue[int]:
        return Continue(ctx.iteration) if ctx.iteration < 2 else "a text"

    @app.task
    async def send(given: dict[str, str]) -> str:
        return f"{given['headline']}: {given['text']}"

    @app.workflow
    def newsletter(given: dict[str, str]):
        return send(given)

    async with in_memory(app) as sandbox:
        handle = await sandbox.client.start(of_file("research"), "tea")

        async def asks(step: str) -> bool:
            return any(q.step == step for q in await sandbox.client.approvals(handle.run_id))

        await sandbox.advance("1m")
        assert await asks("plan")
        await handle.approve("plan")
        await sandbox.advance("1m")
        assert await asks("publish")
        for who in ("ada", "bob"):
            await handle.approve("publish", by=who, answer={"headline": "Tea"})
        child = (await handle.result())["child_run_id"]
        assert await sandbox.client.handle(child).result() == "Tea: a text"
