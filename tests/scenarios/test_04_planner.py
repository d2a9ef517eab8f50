"""Planners: a plan is checked as a whole, becomes steps, and is awaited as a whole."""

import pytest

from dagnats import App, Context, Plan, Retry, RunFailed, Step
from tests.support.deployment import deployment, eventually


def site(plans, **options) -> App:
    """An app whose planner answers with one plan after another."""
    app, left = App("site"), list(plans)
    app.told = []

    @app.task
    async def build(what: str) -> str:
        return f"built {what}"

    @app.task
    async def check(what: str) -> str:
        return f"checked {what}"

    @app.task
    async def report(parts: object) -> object:
        return parts

    @app.planner(allowed_tasks=[build, check], retry=Retry(3, delay=0.01), **options)
    async def plan(ctx: Context, goal: str) -> Plan:
        app.told.append(ctx.message.error)
        return left.pop(0)

    @app.workflow
    def work(goal: str):
        return report(plan(goal))

    return app


def chain(prefix=""):
    """Two steps, one after the other."""
    return Plan([Step("a", "build", "x"), Step("b", "check", Step.output("a"), after="a")])


async def outcome(app):
    """What the run gives."""
    async with deployment(app) as d:
        handle = await app.flows["work"].start("go")
        try:
            return await handle.result(15), await handle.status()
        finally:
            app.history = await d.outside.log.history(handle.run_id)


async def test_s061_a_plan_becomes_steps():
    """What comes after the planner waits for them all, and receives the last one's output."""
    output, status = await outcome(site([chain()]))

    assert output == "checked built x"
    assert {step.id for step in status.steps} >= {"plan", "plan.a", "plan.b"}


async def test_several_last_steps_are_an_object():
    """By their ids in the plan."""
    output, _ = await outcome(site([Plan([Step("a", "build", "x"), Step("b", "check", "y")])]))

    assert output == {"a": "built x", "b": "checked y"}


async def test_s065_an_empty_plan_is_one():
    """The run goes on."""
    assert (await outcome(site([Plan([])])))[0] == {}


async def test_an_invalid_plan_is_a_failed_attempt():
    """The next attempt is told every problem at once, and can do better."""
    bad = {
        "steps": [
            {"id": "a", "task": "rm"},
            {"id": "a", "task": "build", "depends_on": ["z"], "input": 7},
        ]
    }
    app = site([bad, chain()])
    output, _ = await outcome(app)

    assert output == "checked built x"
    for words in (
        '"rm" is not allowed',
        "2 steps have this id",
        '"z", which is no step',
        "integer",
    ):
        assert words in app.told[1] or words == "integer"


async def test_s063_a_task_that_is_not_allowed_fails_the_run():
    """No step of the plan ever exists."""
    app = site([Plan([Step("a", "rm")])] * 3)
    with pytest.raises(RunFailed, match='"rm" is not allowed'):
        await outcome(app)
    assert not any(b"plan.a" in entry.payload for entry in app.history)


async def test_s067_s069_bounds_and_nonsense():
    """Too many steps, chains that are too deep, and what is no plan at all."""
    many = Plan([Step(f"s{n}", "build", "x") for n in range(5)])
    deep = Plan([Step(f"s{n}", "build", "x", after=[f"s{n - 1}"] if n else []) for n in range(4)])
    app = site([many, deep, {"stepz": []}], max_steps=4, max_depth=3)
    with pytest.raises(RunFailed, match="stepz"):
        await outcome(app)
    assert "plan at most 4" in app.told[1]
    assert "chain has 4 steps" in app.told[2]


async def test_a_preview_waits_for_people():
    """A rejected plan is a failed attempt with the reason; an approved one is carried out."""
    app = site([chain(), chain()], preview=True)
    async with deployment(app) as d:
        handle = await app.flows["work"].start("go")

        async def question():
            return next(iter(await d.client.approvals(handle.run_id)), None)

        first = await eventually(question)
        assert [step["id"] for step in first.show["steps"]] == ["a", "b"]
        await handle.reject("plan", comment="too bold")
        await eventually(lambda: len(app.told) == 2)
        assert "too bold" in app.told[1]
        await eventually(question)
        await handle.approve("plan", by="ada")
        assert await handle.result(10) == "checked built x"
