"""Random workflows. All of it follows from a seed."""

from __future__ import annotations

import functools
import random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.definition import encode_workflow
from dagnats.core.graph import Graph, compile_graph
from dagnats.core.model import ChildConfig, Condition, RetryPolicy, Step, Workflow
from dagnats.core.validate import problems_of
from tests.simulation import kinds

FLOWS = 400  # different workflows; more would only cost time
STRATEGIES = ("fixed", "linear", "exponential")
OPERATORS = ("==", "!=", "<", ">", "<=", ">=")


class Flow(Struct, frozen=True):
    """A workflow, the hash that its runs pin, and its graph."""

    workflow: Workflow
    digest: str
    graph: Graph


@functools.cache
def flow(number: int) -> Flow:
    """The workflow of that number."""
    return compiled(drawn(random.Random(f"flow {number}"), f"flow{number}", first_child=0))


@functools.cache
def child(number: int) -> Flow:
    """The workflow that is started as a child; it starts only those with higher numbers."""
    rng = random.Random(f"child {number}")
    return compiled(drawn(rng, f"child{number}", first_child=number + 1))


def drawn(rng: random.Random, name: str, first_child: int) -> Workflow:
    """A random workflow."""
    steps = [_step(rng, step, parents) for step, parents in _shape(rng)]
    steps = [_older(step, first_child) for step in steps]
    steps = _with_helpers(rng, steps)
    return Workflow(
        name=name,
        steps=tuple(steps),
        timeout_ms=rng.choice((0, 0, 0, 0, 3_000, 60_000, 3_600_000)),
        default_retry=_retry(rng) if rng.random() < 0.5 else None,
        output={"last": {"$step": steps[0].id}} if rng.random() < 0.1 else None,
    )


def compiled(workflow: Workflow) -> Flow:
    """A workflow with its graph."""
    assert not problems_of(workflow), problems_of(workflow)
    digest, _ = encode_workflow(workflow)
    return Flow(workflow, digest, compile_graph(workflow, digest))


def _shape(rng: random.Random) -> list[tuple[str, tuple[str, ...]]]:
    """Names with their parents, parents first."""
    size = rng.randint(1, 5)
    names = [f"s{number}" for number in range(size)]
    kind = rng.choice(("chain", "fan", "join", "any"))
    if kind == "chain":
        return [(name, tuple(names[at - 1 : at])) for at, name in enumerate(names)]
    if kind == "fan":
        return [(name, ("s0",) if at else ()) for at, name in enumerate(names)]
    if kind == "join":
        return [
            (name, tuple(names[:at]) if at == size - 1 else ()) for at, name in enumerate(names)
        ]
    return [
        (name, tuple(sorted(rng.sample(names[:at], rng.randint(0, min(2, at))))))
        for at, name in enumerate(names)
    ]


def _step(rng: random.Random, name: str, parents: tuple[str, ...]) -> Step:
    kind = kinds.draw(rng)
    source = rng.choice((*parents, ""))
    condition = Condition(source, "n", rng.choice(OPERATORS), rng.randint(2, 7))
    conditional = rng.random()
    given = _template(rng, parents) if rng.random() < 0.25 else None
    fields: dict[str, Any] = {"input": given, **kinds.KINDS[kind].draw(rng, parents)}
    return Step(
        id=name,
        kind=kind,
        depends_on=parents,
        retry=_retry(rng) if rng.random() < 0.5 else None,
        skip_if=condition if conditional < 0.12 else None,
        when=condition if conditional > 0.9 else None,
        **fields,
    )


def _older(step: Step, first: int) -> Step:
    """Children have no children of their own age: there would be no end."""
    if not isinstance(step.config, ChildConfig):
        return step
    number = max(first, int(step.config.workflow.removeprefix("child")))
    return replace(step, config=replace(step.config, workflow=f"child{number}"))


def _template(rng: random.Random, parents: tuple[str, ...]) -> Any:
    template: dict[str, Any] = {"of": {"$input": "n"}, "fixed": [1, "two"]}
    if parents:
        path = rng.choice(("", "", "", "n"))
        template["up"] = {"$step": rng.choice(parents), **({"path": path} if path else {})}
    return template


def _retry(rng: random.Random) -> RetryPolicy:
    return RetryPolicy(
        attempts=rng.randint(1, 4),
        strategy=rng.choice(STRATEGIES),
        initial_ms=rng.choice((1, 200, 1_000, 5_000)),
        jitter=rng.choice((0.0, 0.5)),
    )


def _with_helpers(rng: random.Random, steps: list[Step]) -> list[Step]:
    """Give steps an on_failure step, now and then the same one to several, and some a step that undoes them."""
    helpers: dict[str, Step] = {}
    undone = rng.random() < 0.3
    for at, step in enumerate(steps):
        given: dict[str, str] = {}
        if rng.random() < 0.25:
            given["on_failure"] = "mend" if rng.random() < 0.3 else f"mend_{step.id}"
        if undone and step.kind in kinds.HANDLED and rng.random() < 0.7:
            given["compensate"] = f"undo_{step.id}"
        for name in given.values():
            helpers[name] = Step(id=name, task=kinds.TASK, retry=_retry(rng))
        steps[at] = replace(step, **given)
    return [*steps, *helpers.values()]
