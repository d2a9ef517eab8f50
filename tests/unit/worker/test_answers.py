"""What a handler returned is held against its annotation before it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel, Field

from dagnats import AgentContext, App, Continue
from dagnats.core.events import StepContinued, StepFailed, StepSucceeded
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.wire.messages import TaskMessage
from dagnats.worker.answers import Answering


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


async def answer(task: Any, value: Any) -> Any:
    """What is reported when the task returned this."""
    made = Answering("w1", Memory(World(VirtualClock())).blobs)
    message = TaskMessage(
        ticket="s/1/0", run="r", step="s", task=task.name, workflow="w", answer_to="x"
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
