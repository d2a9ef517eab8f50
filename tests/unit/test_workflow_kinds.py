"""Every kind of step is the same definition, whichever way it was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dagnats import (
    App,
    CancelOn,
    WorkflowBuilder,
    agent,
    approval,
    sleep,
    wait_for_signal,
)
from dagnats.core.definition import read_workflow, write_workflow
from dagnats.core.model import CancelOn as Watch
from dagnats.core.model import EventMatch, PlannerConfig, Workflow
from tests.support.three_ways import WRITTEN, Answer, child, draft, plan, think


def steps_of(definition: Workflow) -> list[Any]:
    """What a definition says, in an order that does not depend on who wrote it."""
    return sorted(write_workflow(definition)["steps"], key=lambda step: step["id"])


@pytest.mark.parametrize("name", WRITTEN)
def test_three_ways_one_definition(name):
    """Tracing, building and reading give the same steps, and the file comes back as it is."""
    way = WRITTEN[name]
    traced = App("a").workflow(way.traced).definition()
    read, problems = read_workflow({"name": name, "steps": way.file})
    assert read is not None
    assert not problems

    built = way.built(WorkflowBuilder(name)).build()
    assert steps_of(traced) == steps_of(built) == steps_of(read)
    assert read_workflow(write_workflow(traced)) == (traced, [])


def test_a_workflow_is_cancelled_by_events():
    """``cancel_on`` says which, where the value stands, and for how long."""
    watches = (
        Watch(event="order.cancelled", match=EventMatch("order.id", {"$input": "id"}), timeout_ms=3_600_000),
        Watch(event="shutdown"),
    )  # fmt: skip

    @App("a").workflow(
        cancel_on=[
            CancelOn("order.cancelled", match={"order.id": "input.id"}, timeout="1h"),
            CancelOn("shutdown"),
        ]
    )
    def w(goal: str):
        draft(goal)

    built = (
        WorkflowBuilder("w")
        .task("draft", task=draft)
        .cancel_on("order.cancelled", match={"order.id": "input.id"}, timeout="1h")
        .cancel_on("shutdown")
        .build()
    )
    assert w.definition().cancel_on == watches == built.cancel_on


def test_a_planner_of_any_task():
    """Without ``allowed_tasks`` a plan may hold any; a preview can be plain."""
    other = App("a")

    @other.planner(preview=True)
    async def free(goal: str) -> Any:
        return goal

    config = free.definition().steps[0].config
    assert isinstance(config, PlannerConfig)
    assert (config.allowed_tasks, config.max_steps, config.max_depth) == ((), 100, 0)
    assert config.preview is not None
    assert config.preview.timeout_ms == 168 * 3_600_000


def test_outputs_have_types():
    """What is known of a step's output is in the schema of the run's."""

    @App("a").workflow
    def w(goal: str):
        return {
            "form": approval(form=Answer),
            "map": think.map([goal]),
            "lossy": think.map([goal], tolerate=1),
            "signal": wait_for_signal("go", type=int),
            "child": child(goal),
            "detached": child.detached(goal),
            "slept": sleep("1s"),
            "agent": agent("x", type=bool),
            "plan": plan(goal),
        }

    schema = w.definition().output_schema["$defs"]["output"]["properties"]
    text = {"type": "string"}
    assert schema["form"] == {"$ref": "#/$defs/Answer"}
    assert schema["map"] == {"type": "array", "items": text}
    assert schema["lossy"]["items"]["anyOf"] == [text, {"type": "null"}]
    assert schema["signal"] == {"type": "integer"}
    assert schema["child"] == text
    assert schema["detached"] == {"$ref": "#/$defs/Detached"}
    assert schema["slept"] == {"type": "null"}
    assert schema["agent"] == {"type": "boolean"}
    assert schema["plan"] == {}


def test_a_constant_that_is_null_is_given():
    """None as the one argument is null, and not "nothing said", which would be the output before."""
    other = App("a")

    @other.task
    async def maybe(value: str | None) -> None: ...

    @other.workflow
    def w(goal: str):
        maybe(None, after=draft(goal))

    assert w.definition().steps[1].input == {"$literal": None}


def test_configs_survive_the_wire():
    """Every config is told from others by its tag, as plans and snapshots carry them."""
    for way in WRITTEN.values():
        for step in App("a").workflow(way.traced).definition().steps:
            assert msgspec.json.decode(msgspec.json.encode(step), type=type(step)) == step
