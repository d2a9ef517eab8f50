"""What a handler returned is held against its annotation before it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel, Field

from dagnats import AgentContext, App, Continue, ContinueAsNew, Plan, Step
from dagnats.core.events import (
    RunContinued,
    StepContinued,
    StepFailed,
    StepParked,
    StepPlanned,
    StepSucceeded,
)
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.outcome import Parked
from dagnats.wire.messages import TaskMessage
from dagnats.worker.answers import Answering
from dagnats.worker.call import Raised


@dataclass
class Page:
    """A page."""

    size: int
    lines: list[str] = field(default_factory=list)


class Order(BaseModel):
    """A model with another name in JSON."""

    cents: int = Field(alias="Cents")


class Strange:
    """What JSON cannot carry."""


app = App("answers")


@app.task
def fetch() -> Page:
    """Give a page."""


@app.task
def order() -> Order | None:
    """Give a model or nothing."""


@app.task
def anything():
    """Promise nothing."""


@app.task
def strange() -> Strange:
    """Promise what cannot be checked."""


@app.task
def quiet() -> None:
    """Give nothing."""


@app.agent_loop(max_iterations=5)
def loop(ctx: AgentContext[Page]) -> int | Continue[Page]:
    """Go on with a page, give a number."""


async def answer(task: Any, value: Any, kind: str = "task") -> Any:
    """What is reported when the task returned this."""
    made = Answering("w1", Memory(World(VirtualClock())).blobs)
    message = TaskMessage(
        ticket="s/1/0", run="r", step="s", task=task.name, workflow="w", answer_to="x", kind=kind
    )
    return await made.of(message, task, value, None, 3)


@pytest.mark.parametrize(
    ("task", "value", "stored"),
    [
        (fetch, Page(3), b'{"size":3,"lines":[]}'),
        (fetch, {"size": 3}, b'{"size":3}'),
        (order, Order(Cents=3), b'{"Cents":3}'),
        (order, None, b"null"),
        (anything, [1, "a"], b'[1,"a"]'),
        (strange, {"x": 1}, b'{"x":1}'),
        (quiet, None, b"null"),
        (loop, 5, b"5"),
    ],
)
async def test_results_of_their_type_are_stored(task, value, stored):
    """As they are; a type that says nothing lets everything pass."""
    fact = await answer(task, value)

    assert isinstance(fact, StepSucceeded)
    assert bytes(fact.output) == stored


@pytest.mark.parametrize(
    ("task", "value", "told"),
    [
        (
            fetch, {"size": "x"},
            'fetch returned {"size":"x"}, which is no Page: Expected `int`, got `str` - at `$.size`',
        ),
        (
            fetch, Page(3, [None]),
            'fetch returned {"size":3,"lines":[null]}, which is no Page: Expected `str`, got `null` - at `$.lines[0]`',
        ),
        (quiet, 5, "quiet returned 5, which is no None: Expected `null`, got `int`"),
        (loop, "x" * 900, f'loop returned "{"x" * 199}…, which is no int: Expected `int`, got `str`'),
        (
            loop, Continue({"size": None}),
            'loop continued with {"size":null}, which is no Page: Expected `int`, got `null` - at `$.size`',
        ),
    ],
)  # fmt: skip
async def test_results_of_another_type_fail_the_step(task, value, told):
    """For good: the same code would give the same again. The reason names the type and the place."""
    fact = await answer(task, value)

    assert isinstance(fact, StepFailed)
    assert fact.failure == "non_retriable"
    assert fact.error == told


@pytest.mark.parametrize("value", [Strange(), {"x": Strange()}, {1j: 1}])
async def test_results_that_are_no_json_fail_the_step(value):
    """Whatever the annotation says."""
    fact = await answer(anything, value)

    assert isinstance(fact, StepFailed)
    assert fact.failure == "non_retriable"
    assert "cannot be kept" in fact.error


async def test_a_loop_goes_on_with_its_state():
    """The checkpoint has its own type; the result's is asked of the last answer only."""
    fact = await answer(loop, Continue(Page(2)))

    assert isinstance(fact, StepContinued)
    assert bytes(fact.checkpoint) == b'{"size":2,"lines":[]}'
    assert isinstance(await answer(loop, Continue()), StepContinued)


async def test_a_planner_answers_with_its_plan():
    """In Python's words or in JSON's; whether it can be carried out, the engine says."""
    typed = await answer(anything, Plan([Step("a", "fetch", 1)]), "planner")
    plain = await answer(anything, {"steps": []}, "planner")

    assert isinstance(typed, StepPlanned)
    assert bytes(typed.plan) == b'{"steps":[{"id":"a","task":"fetch","input":1}]}'
    assert isinstance(plain, StepPlanned)
    assert bytes(plain.plan) == b'{"steps":[]}'


async def test_a_plan_of_nobody_who_may_plan():
    """Is a failure that says who may."""
    fact = await answer(anything, Plan([]))

    assert isinstance(fact, StepFailed)
    assert (fact.failure, fact.error) == (
        "non_retriable", "anything returned a Plan; only a planner may (@app.planner)",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["task", "agent_loop", "planner"])
async def test_any_handler_may_continue_as_new(kind):
    """With an input of whatever size."""
    small = await answer(quiet, ContinueAsNew({"n": 1}), kind)
    large = await answer(quiet, ContinueAsNew("x" * 300_000), kind)

    assert isinstance(small, RunContinued)
    assert bytes(small.input) == b'{"n":1}'
    assert isinstance(large, RunContinued)
    assert b"$dagnats.blob" in bytes(large.input)


@pytest.mark.parametrize(
    ("error", "parked"),
    [
        (Parked(3), 3),
        (BaseExceptionGroup("tasks", [Parked(4), Parked(5)]), 4),
        (BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [Parked(6)])]), 6),
        (BaseExceptionGroup("tasks", [ValueError("no"), Parked(7)]), None),
    ],
)
async def test_a_handler_that_parks(error, parked):
    """By itself or in a group of tasks; a failure beside it is a failure."""
    fact = await answer(anything, Raised(error))

    assert fact.n == parked if isinstance(fact, StepParked) else parked is None
    assert isinstance(fact, StepFailed | StepParked)
