"""Mistakes in workflows are told where they are made, at import, with the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagnats import (
    App,
    CancelOn,
    DefinitionError,
    WorkflowBuilder,
    agent,
    approval,
    respond,
    sleep,
    sub_workflow,
    wait_for_event,
    wait_for_signal,
)
from dagnats.errors import UnknownOption

app = App("mistakes")


@app.task
async def draft(goal: str) -> dict[str, Any]:
    """A task like any."""
    return {"goal": goal}


@app.task
async def edit(path: str, text: str) -> str:
    """One of two parameters."""
    return path + text


@app.task
async def fetch(url: str) -> list[str]:
    """A task that gives an array."""
    return [url]


@app.planner()
async def plan(goal: str) -> Any:
    """A planner."""
    return goal


@app.workflow
def child(name: str, size: int = 4) -> Any:
    """A workflow that others run."""
    return edit(name, size)


OUTSIDE: dict[str, Callable[[], Any]] = {
    "approval": lambda: approval("ok?"),
    "sleep": lambda: sleep("1h"),
    "wait_for_event": lambda: wait_for_event("x"),
    "wait_for_signal": lambda: wait_for_signal("x"),
    "respond": respond,
    "agent": lambda: agent("x"),
    "sub_workflow": lambda: sub_workflow("x"),
    "child": lambda: child("x"),
    "edit.map": lambda: edit.map([]),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_a_workflow_there_are_no_steps(name):
    """The message says where such a call belongs."""
    with pytest.raises(DefinitionError, match=r"decorated with @app\.workflow") as problem:
        OUTSIDE[name]()
    assert name in str(problem.value)


# What is written in a workflow's function, and words of the message.
MISTAKES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a typo": (lambda _: approval("ok?", timeuot="1h"), "did you mean timeout"),
    "a long question": (lambda _: approval("ok?", timeout="169h"), "169h is too long; write at most 168h"),
    "a crowd": (lambda _: approval("ok?", quorum=21), "21 is out of bounds; use 1 … 20"),
    "nobody": (lambda _: approval("ok?", quorum=0), "quorum=0; give a whole number, at least 1"),
    "no form": (lambda _: approval("ok?", form=object), "has no JSON Schema; give a dataclass"),
    "no end": (lambda _: sleep(), "nothing of when it ends; give exactly one"),
    "two ends": (lambda _: sleep("1h", cron="* * * * *"), "both a duration and cron=; give exactly one"),
    "a long sleep": (lambda _: sleep("366d"), "8784h is too long; write at most 8760h"),
    "no cron": (lambda _: sleep(cron="daily"), "write five fields"),
    "no zone": (lambda _: sleep(cron="0 9 * * *", tz="Mars"), 'no time zone "Mars"'),
    "until a step": (lambda goal: sleep(until=draft(goal).at), "a part of the workflow's input"),
    "until all": (lambda goal: sleep(until=goal), "a part of the workflow's input"),
    "two matches": (lambda _: wait_for_event("x", match={"a": 1, "b": 2}), "give one field and its value"),
    "no event": (lambda _: wait_for_event(""), "the name is missing; give it a name"),
    "a status": (lambda _: respond(status=99), "99 is out of bounds; use 200 … 599"),
    "a group": (lambda _: sub_workflow("x", group="g"), "unknown option group="),
    "a retry": (lambda _: sleep("1h", retry=3), "unknown option retry="),
    "no tasks": (lambda goal: draft(goal, compensate="undo"), "compensate= takes a task, without calling it"),
    "no array": (lambda _: fetch.map("abc"), "a reference to an array, or over a list"),
    "an item": (lambda _: fetch.map([3]), "input of fetch"),
    "a rate": (lambda _: fetch.map(["a"], tolerate="most"), 'tolerate=3 or tolerate="5%"'),
    "many items": (lambda _: fetch.map(["a"], max_items=10_001), "use 1 … 10000"),
    "a map of maps": (lambda _: edit.map(fetch.map(["a"])), "maps are not nested; do both in one task"),
    "planners": (lambda _: plan.map(["a"]), "a planner plans once"),
    "a child's type": (lambda _: child(3), "input of child"),
    "a child's name": (lambda _: child.detached(nmae="x"), "did you mean name=?"),
    "no JSON": (lambda _: respond(object()), "cannot be written as JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_at_import(name):
    """The message names the workflow, and says what to do."""
    make, words = MISTAKES[name]

    def w(goal: str) -> None:
        draft("so that there is a step")
        make(goal)

    with pytest.raises((DefinitionError, UnknownOption)) as problem:
        App("a").workflow(w)
    assert words in str(problem.value)


PLANNERS: dict[str, tuple[dict[str, Any], str]] = {
    "too many": ({"max_steps": 101}, "101 is out of bounds; use 1 … 100"),
    "none": ({"max_steps": 0}, "max_steps=0; give a whole number, at least 1"),
    "too deep": ({"max_depth": 11}, "11 is out of bounds; use 0 … 10"),
    "no task": ({"allowed_tasks": [3]}, "allowed_tasks holds 3; give tasks, or their names"),
    "a preview": ({"preview": {"timeuot": "1h"}}, "did you mean timeout"),
    "a long preview": ({"preview": {"timeout": "8d"}}, "192h is too long; write at most 168h"),
    "a typo": ({"alowed_tasks": []}, "did you mean allowed_tasks"),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_planners_that_cannot_be(name):
    """What plans may hold is checked when the function is decorated."""
    options, words = PLANNERS[name]

    with pytest.raises((DefinitionError, UnknownOption)) as problem:

        @App("a").planner(**options)
        async def planning(goal: str) -> Any:
            return goal

    assert words in str(problem.value)


WATCHES: dict[str, tuple[Any, str]] = {
    "a name": (["order.cancelled"], 'cancel_on= takes [CancelOn("order.cancelled"'),
    "six": ([CancelOn(f"e{n}") for n in range(6)], "6 events; name at most 5"),
    "no event": ([CancelOn("")], "the name is missing"),
}


@pytest.mark.parametrize("name", WATCHES)
def test_cancelling_events_that_cannot_be(name):
    """They are judged with the workflow."""
    watches, words = WATCHES[name]

    with pytest.raises(DefinitionError) as problem:

        @App("a").workflow(cancel_on=watches)
        def w(goal: str):
            draft(goal)

    assert words in str(problem.value)


def test_a_match_says_whose_value_it_is():
    """A constant among strings that are paths is refused with the three forms."""
    with pytest.raises(DefinitionError, match="says not whose value it is"):
        CancelOn("e", match={"order.id": "order.id"})
    with pytest.raises(DefinitionError, match="says not whose value it is"):
        WorkflowBuilder("w").wait_for_event("e", "x", match={"a": "b"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("control-plane", 'write capabilities=["control-plane"]'),
        (["root"], 'unknown capability "root"; capabilities: control-plane'),
    ],
)
def test_capabilities_that_there_are_not(given, words):
    """Wherever a function is decorated, or a step is built."""
    made = App("a")
    decorators = [
        made.task(capabilities=given),
        made.agent_loop(max_iterations=2, capabilities=given),
        made.planner(capabilities=given),
    ]
    for decorate in decorators:
        with pytest.raises(DefinitionError) as problem:
            decorate(lambda: None)
        assert words in str(problem.value)
    with pytest.raises(DefinitionError) as problem:
        WorkflowBuilder("w").task("a", capabilities=given).build()
    assert words in str(problem.value)


def test_capabilities_go_into_the_definition():
    """Of tasks, loops, planners and built steps; other steps have none."""
    made = App("a")
    wanted = ["control-plane"]
    tasks = [
        made.task(name="t", capabilities=wanted)(lambda: None),
        made.agent_loop(name="l", max_iterations=2, capabilities=wanted)(lambda: None),
        made.planner(name="p", capabilities=wanted)(lambda: None),
    ]
    built = WorkflowBuilder("w").task("a", capabilities=wanted).task("b", task=tasks[0]).build()
    steps = [*(task.definition().steps[0] for task in tasks), *built.steps]

    assert {step.capabilities for step in steps} == {("control-plane",)}
    assert draft.definition().steps[0].capabilities == ()
