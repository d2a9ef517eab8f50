"""Random workflows, and scripts that say what their handlers answer. All of it follows from a seed."""

from __future__ import annotations

import functools
import random
import zlib
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from dagnats.core.definition import encode_workflow
from dagnats.core.events import Outcome, StepContinued, StepFailed, StepSucceeded
from dagnats.core.graph import Graph, compile_graph
from dagnats.core.model import Condition, LoopConfig, RetryPolicy, Step, Workflow
from dagnats.core.validate import problems_of
from dagnats.wire.messages import TaskMessage

FLOWS = 400  # different workflows; more would only cost time
TASKS = ("plain", "loop")
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
    rng = random.Random(f"flow {number}")
    steps = [_step(rng, name, parents) for name, parents in _shape(rng)]
    steps = _with_handlers(rng, steps)
    limit = rng.choice((0, 0, 0, 0, 3_000, 60_000, 3_600_000))
    workflow = Workflow(
        name=f"flow{number}",
        steps=tuple(steps),
        timeout_ms=limit,
        default_retry=_retry(rng) if rng.random() < 0.5 else None,
        output={"last": {"$step": steps[0].id}} if rng.random() < 0.1 else None,
    )
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
    loops = rng.random() < 0.25
    source = rng.choice((*parents, ""))
    condition = Condition(source, "n", rng.choice(OPERATORS), rng.randint(2, 7))
    conditional = rng.random()
    return Step(
        id=name,
        kind="agent_loop" if loops else "task",
        task="loop" if loops else "plain",
        depends_on=parents,
        input=_template(rng, parents) if rng.random() < 0.3 else None,
        retry=_retry(rng) if rng.random() < 0.5 else None,
        skip_if=condition if conditional < 0.12 else None,
        when=condition if conditional > 0.9 else None,
        config=_loop(rng) if loops else None,
    )


def _template(rng: random.Random, parents: tuple[str, ...]) -> Any:
    template: dict[str, Any] = {"of": {"$input": "n"}, "fixed": [1, "two"]}
    if parents:
        path = rng.choice(("", "", "n"))
        template["up"] = {"$step": rng.choice(parents), **({"path": path} if path else {})}
    return template


def _retry(rng: random.Random) -> RetryPolicy:
    return RetryPolicy(
        attempts=rng.randint(1, 4),
        strategy=rng.choice(STRATEGIES),
        initial_ms=rng.choice((1, 200, 1_000, 5_000)),
        jitter=rng.choice((0.0, 0.5)),
    )


def _loop(rng: random.Random) -> LoopConfig:
    return LoopConfig(
        max_iterations=rng.randint(1, 5),
        loop_delay_ms=rng.choice((0, 0, 300, 2_000)),
        max_duration_ms=rng.choice((0, 0, 0, 20_000)),
    )


def _with_handlers(rng: random.Random, steps: list[Step]) -> list[Step]:
    """Give some steps an on_failure step, now and then the same one to several."""
    handlers: dict[str, Step] = {}
    for at, step in enumerate(steps):
        if rng.random() < 0.25:
            name = "mend" if rng.random() < 0.3 else f"mend_{step.id}"
            handlers[name] = Step(id=name, task="plain", retry=_retry(rng))
            steps[at] = replace(step, on_failure=name)
    return [*steps, *handlers.values()]


# -- scripts ---------------------------------------------------------------------------------------


class Script(Struct, frozen=True):
    """What the handlers of one run do. Moody steps answer anew each time they are executed."""

    seed: int

    def chance(self, *what: object) -> int:
        """A number below 1,000 that belongs to something."""
        return zlib.crc32(repr((self.seed, *what)).encode()) % 1_000

    def moody(self, step: str) -> bool:
        """Whether two executions of one ticket of this step may end differently."""
        return self.chance("mood", step) < 100

    def answer(self, message: TaskMessage, execution: int) -> Outcome:
        """How an execution of a ticket ends."""
        mood = execution if self.moody(message.step) else 0
        fate = self.chance(message.ticket, mood)
        if fate < 250:
            return _failure(message, fate)
        if message.loop and fate < 700:
            checkpoint = Raw(msgspec.json.encode({"turn": message.iteration + 1}))
            return StepContinued(ticket=message.ticket, nonce=message.nonce, checkpoint=checkpoint)
        output = {
            "n": self.chance("n", message.ticket, mood) % 10,
            "from": message.step,
            "saw": print_of(msgspec.json.decode(message.input)),
        }
        raw = Raw(msgspec.json.encode(output))
        return StepSucceeded(ticket=message.ticket, nonce=message.nonce, output=raw)


def _failure(message: TaskMessage, fate: int) -> StepFailed:
    failure = "retriable"
    if fate < 30:
        failure = "non_retriable"
    elif fate < 60:
        failure = "retry_after"
    elif fate < 90:
        failure = "timeout"
    return StepFailed(
        ticket=message.ticket,
        nonce=message.nonce,
        error=f"{message.ticket} failed",
        failure=failure,
        retry_after_ms=fate * 20,
    )


def print_of(value: Any) -> int:
    """A fingerprint of a JSON value; of a failure report, only whose it is."""
    if isinstance(value, dict) and "failed_step" in value:
        value = value["failed_step"]
    return zlib.crc32(msgspec.json.encode(value, order="deterministic"))
