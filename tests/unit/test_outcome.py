"""Steps of plans, as a planner writes them in Python."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dagnats import App, DefinitionError, Plan, Retry, Step
from dagnats.builder import condition

app = App("plans")


@app.task(retry=2, timeout="5s", group="gpu", metadata={"team": "a"})
def edit(path: str) -> str:
    """A task with options."""
    return path


def test_a_step_brings_the_options_of_its_task():
    """Those of the decorator; what the step says itself wins."""
    usual = Step("a", edit, "x").data
    own = Step("a", edit, "x", retry=5, timeout=timedelta(seconds=9), after="b").data

    assert (usual["retry"]["max_attempts"], usual["timeout"]) == (1, "5s")
    assert (usual["worker_group"], usual["metadata"]) == ("gpu", {"team": "a"})
    assert (own["retry"]["max_attempts"], own["timeout"], own["depends_on"]) == (4, "9s", ["b"])


def test_a_step_of_a_name_says_only_what_is_said():
    """In the form of a workflow file."""
    step = Step(
        "a", "edit", {"path": Step.output("b", "x.y")}, after=["b", "c"], timeout=3, retry=Retry(1),
        when=condition("b", "ok", "==", True), skip_if={"step_id": "c", "op": "==", "value": 1},
    )  # fmt: skip

    assert step.data["input"] == {"path": {"$step": "b", "path": "x.y"}}
    assert step.data["timeout"] == "3s", "a number is seconds, as everywhere in Python"
    assert step.data["when"] == {"step_id": "b", "field": "ok", "op": "==", "value": True}
    assert step.data["skip_if"] == {"step_id": "c", "op": "==", "value": 1}
    assert Step("a", "edit").data == {"id": "a", "task": "edit"}


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"retry": "often"}, {"timeout": -1}])
def test_options_that_cannot_be_read_are_refused(options):
    """Where they are written, not when the plan is looked at."""
    with pytest.raises(DefinitionError, match="Step a: "):
        Step("a", "edit", **options)


def test_a_plan_takes_steps_and_plain_objects():
    """As a model writes them."""
    plan = Plan([Step("a", "edit"), {"id": "b", "task": "edit", "depends_on": ["a"]}])

    assert [step["id"] for step in plan.steps] == ["a", "b"]
