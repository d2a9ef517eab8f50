"""Payloads against schemas: the place of what is wrong, and outputs checked when a run completes."""

from __future__ import annotations

import pytest
from msgspec import Raw

from dagnats.core.events import Event, RunStarted, StepFailed, StepSucceeded
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.model import Workflow
from dagnats.core.schemas import schema_violation
from tests.support.builders import a_step

ORDER = {
    "type": "object",
    "properties": {"cents": {"type": "integer"}, "lines": {"items": {"type": "string"}}},
}
NULLABLE = {"anyOf": [{"$ref": "#/$defs/Order"}, {"type": "null"}], "$defs": {"Order": ORDER}}


@pytest.mark.parametrize("schema", [ORDER, NULLABLE])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b'{"cents":"x"}', 'at cents: "x" is not of type "integer"'),
        (b'{"lines":["a",5]}', 'at lines.1: 5 is not of type "string"'),
    ],
)
def test_the_place_is_told(schema, value, told):
    """Also inside one of several schemas: that of the one that fits best."""
    assert schema_violation(schema, Raw(value)) == told


def test_large_values_are_not_quoted_in_full():
    """A message is for reading."""
    told = schema_violation({"type": "integer"}, Raw(b'"' + b"x" * 10_000 + b'"'))

    assert len(told) < 600


def test_a_schema_is_compiled_once():
    """The same object costs a look; another with the same content is another."""
    first, second = {"type": "integer"}, {"type": "string"}
    for _ in range(2):
        assert not schema_violation(first, Raw(b"1"))
        assert schema_violation(second, Raw(b"1"))


def flow(**more):
    """Two steps in a row, the second with a handler; the output is a string."""
    return Workflow(
        name="w",
        steps=(a_step("a"), a_step("b", "a", on_failure="c"), a_step("c")),
        output_schema={"type": "string"},
        **more,
    )


def ended(workflow, *answers):
    """A run that was answered so; None is a failure."""
    graph = compile_graph(workflow, "d")
    run, commands = advance(
        new_run("r", graph), Event(1, 1, RunStarted(workflow="w", definition="d"))
    )
    for number, answer in enumerate(answers, start=2):
        ticket = commands[0].ticket
        fact = (
            StepFailed(ticket=ticket, error="broken", failure="non_retriable")
            if answer is None
            else StepSucceeded(ticket=ticket, output=Raw(answer))
        )
        run, commands = advance(run, Event(number, 1, fact))
    return run


def test_an_output_that_fits_completes():
    """Its own, or that of the handler that stood in."""
    assert ended(flow(), b"1", b'"done"').status == "completed"
    assert ended(flow(), b"1", None, b'"instead"').status == "completed"


@pytest.mark.parametrize("answers", [(b"1", b"2"), (b"1", None, b"3")])
def test_an_output_that_does_not_fit_fails_the_run(answers):
    """With the reason; there is no output, and every step keeps what it did."""
    run = ended(flow(), *answers)

    assert run.status == "failed"
    assert run.error.failure == "invalid_output"
    assert run.error.message == f'output of the run: {answers[-1].decode()} is not of type "string"'
    assert not run.output
    assert run.steps[0].status == "completed"


@pytest.mark.parametrize(
    ("output", "inspected"),
    [
        (None, {"b", "c"}),
        ({"x": {"$step": "a"}, "y": {"$input": ""}}, {"a", ""}),
    ],
)
def test_what_makes_the_output_is_looked_into(output, inspected):
    """Large payloads are fetched where they are checked, and nowhere else."""
    assert compile_graph(flow(output=output), "d").inspected == inspected
