"""What Hypothesis tells the laws: random valid workflows, and aimed stories about their runs.

Most facts answer a ticket that is really in force; the rest are stale, doubled, early, late, forged or
not even JSON. Choices are drawn as bytes and read here, which is fast and shrinks well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st
from msgspec import Raw, Struct

from dagnats.core.events import (
    CancelRequested,
    Event,
    Fact,
    RunStarted,
    StepContinued,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from dagnats.core.graph import Graph, compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.model import Condition, LoopConfig, RetryPolicy, Step, Workflow
from dagnats.core.run import Run
from dagnats.core.state import step_of_ticket
from tests.support.builders import T0, queued

T = TypeVar("T")
EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "100"))
OUTPUTS = (
    b'{"n":3,"ok":true,"x":[{"y":1}]}', b'{"n":9,"ok":false,"x":[{"y":[]}]}', b'{"n":3.5,"x":[{"y":1}]}',
    b'{"n":"text","ok":null,"x":[{"y":0}]}', b'"text"', b"null", b"[1,2]",
)  # fmt: skip
HOSTILE = (b"", b'{"n":', b"\xff\xfe", b"[" * 3_000, b'{"\xff":1}', b"nonsense")
FAILURES = (
    "retriable", "retriable", "non_retriable", "retry_after", "timeout", "worker_lost", "no such kind",
)  # fmt: skip
GARBAGE = ("", "/", "s0", "s0/0/0", "s0/x/y", "s0/01/0", "ghost/1/0", "s0/1/0/0", "é/1/0", "h0/1/0")
MOMENTS = (0, 0, 0, 0, 1, 1, 2, 5, 5, 40, 900)
DUES = (0, -1, 1, T0, 10**15, 10**40)


class Script(Struct, frozen=True):
    """A workflow's graph and what happened to one run of it."""

    graph: Graph
    events: list[Event]

    def fresh(self) -> Run:
        """The run before its first fact."""
        return new_run("r1", self.graph)


_POLICIES = (
    None,
    RetryPolicy(attempts=1),
    RetryPolicy(attempts=3, initial_ms=50, jitter=0.5),
    RetryPolicy(attempts=2, strategy="linear", initial_ms=10),
    RetryPolicy(attempts=60, strategy="exponential", initial_ms=7, multiplier=1e6),
)
_LOOPS = (
    LoopConfig(max_iterations=1),
    LoopConfig(max_iterations=3),
    LoopConfig(max_iterations=4, loop_delay_ms=30),
    LoopConfig(max_iterations=50, max_duration_ms=100),
    LoopConfig(max_iterations=5, max_duration_ms=60, loop_delay_ms=45),
)
_INPUTS = (
    {"$input": ""},
    {"a": {"$input": "n"}, "b": [1, {"$literal": {"$input": "x"}}]},
    {"deep": {"$input": ["x", "0", "y"]}},
)


class Choices:
    """Bytes read as choices: few draws for Hypothesis, and zeros when they run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def below(self, bound: int) -> int:
        """A number from 0."""
        byte = self._data[self._place] if self._place < len(self._data) else 0
        self._place += 1
        return byte % bound

    def pick(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], most: int) -> tuple[T, ...]:
        """A few of several, each once."""
        count = self.below(most + 1)
        found = [self.pick(options) for _ in range(count)] if options else []
        return tuple(dict.fromkeys(found))


def workflow_of(choices: Choices) -> Workflow:
    """A valid workflow of 1 to 12 steps and up to two on_failure steps."""
    count, handlers = 1 + choices.below(12), choices.below(3)
    last = f"s{count - 1}"
    outputs = (None, None, {"last": {"$step": last}}, {"$step": last, "path": "n"}, {"$input": "n"})
    return Workflow(
        name="flow",
        timeout_ms=choices.pick((0, 0, 0, 0, 0, 500)),
        default_retry=choices.pick((None, None, *_POLICIES)),
        output=choices.pick(outputs),
        steps=(
            *(_handler(choices, number) for number in range(handlers)),
            *(_step(choices, number, handlers) for number in range(count)),
        ),
    )


def _step(choices: Choices, number: int, handlers: int) -> Step:
    parents = choices.some([f"s{earlier}" for earlier in range(number)], 3)
    loop = choices.pick((*_LOOPS, *[None] * 10))
    condition = Condition(
        choices.pick(("", *parents)),
        choices.pick(("n", "ok", "")),
        choices.pick(("==", "!=", "<", ">=")),
        choices.pick((3, 3.5, True, "text", None)),
    )
    hole = {"$step": choices.pick(parents or ("",)), "path": choices.pick(("", "n"))}
    inputs = (*[None] * 8, *_INPUTS, *([hole] * 3 if parents else ()))
    return Step(
        id=f"s{number}",
        kind="agent_loop" if loop else "task",
        task="work",
        depends_on=parents,
        retry=choices.pick(_POLICIES),
        config=loop,
        input=choices.pick(inputs),
        on_failure=choices.pick(("", "", "h0", "h1")[: 2 + handlers]),
        **{choices.pick(("skip_if", "when")): choices.pick((condition, None, None, None))},
    )


def _handler(choices: Choices, number: int) -> Step:
    """An on_failure step; the first may make up for a failure of the second."""
    loop = choices.pick((None, None, None, *_LOOPS))
    return Step(
        id=f"h{number}",
        kind="agent_loop" if loop else "task",
        task="repair",
        retry=choices.pick(_POLICIES),
        config=loop,
        on_failure=choices.pick(("", "h0")) if number else "",
    )


@st.composite
def scripts(draw: st.DrawFn, *, hostile: bool = True) -> Script:
    """A workflow and an aimed story about a run of it, of up to 40 facts."""
    choices = Choices(draw(st.binary(min_size=120, max_size=200)))
    workflow = workflow_of(choices)
    graph = compile_graph(workflow, "digest")
    teller = _Teller(new_run("r1", graph), hostile=hostile)
    if hostile and choices.below(10) == 9:
        teller.tell(CancelRequested())  # before there is anything to cancel
    teller.tell(
        RunStarted(
            workflow="flow",
            definition="digest",
            input=Raw(choices.pick((*OUTPUTS[:4] * 3, *OUTPUTS))),
        )
    )
    told = draw(st.binary(min_size=120, max_size=200))
    for place in range(0, len(told) - 3, 4):
        kind, high, low, moment = told[place : place + 4]
        teller.choose(kind % 100, high * 256 + low, moment % len(MOMENTS))
    return Script(graph, teller.events)


class _Teller:
    """Reads choices as facts, aimed at the run as it is."""

    def __init__(self, run: Run, *, hostile: bool) -> None:
        self.run = run
        self.hostile = hostile
        self.now = T0
        self.events: list[Event] = []

    def tell(self, fact: Fact) -> None:
        """Append a fact to the log, and fold it."""
        self._fold(Event(len(self.events) + 1, self.now, fact))

    def _fold(self, event: Event) -> None:
        self.events.append(event)
        self.run, _ = advance(self.run, event)

    def choose(self, kind: int, pick: int, moment: int) -> None:
        """The fact that a choice stands for."""
        self.now += MOMENTS[moment]
        if kind < 62:
            self._answer(pick)
        elif kind < 80:
            self._fire(self.run.armed_ms, late=pick % 3)
        elif not self.hostile:
            self._answer(pick)
        elif kind < 84:
            self.tell(TimerFired(due_ms=DUES[pick % len(DUES)]))
        elif kind < 92:
            self.tell(self.events[pick % len(self.events)].fact)
        elif kind < 96:
            self.tell(StepSucceeded(ticket=GARBAGE[pick % len(GARBAGE)]))
        elif kind < 99:
            self._lie(pick)
        elif pick % 3 == 0:
            self.tell(CancelRequested(reason="enough"))

    def _fire(self, due_ms: int, late: int) -> None:
        if due_ms:
            self.now = max(self.now, due_ms) if late else self.now
            self.tell(TimerFired(due_ms=due_ms))

    def _answer(self, pick: int) -> None:
        tickets = queued(self.run)
        if not tickets:
            self._fire(self.run.armed_ms, late=1)
            return
        ticket, pick = tickets[pick % len(tickets)], pick // len(tickets)
        loops = self._loops(ticket)
        kind = pick % 10
        if kind < (3 if loops else 8):
            self.tell(StepSucceeded(ticket=ticket, output=self._payload(pick)))
        elif loops and kind < 8:
            self.tell(StepContinued(ticket=ticket, checkpoint=self._payload(pick)))
        else:
            failure, after = FAILURES[pick % len(FAILURES)], (-5, 0, 150, 10**30)[pick % 4]
            self.tell(
                StepFailed(ticket=ticket, error="boom", failure=failure, retry_after_ms=after)
            )

    @staticmethod
    def _payload(pick: int) -> Raw:
        """Mostly what templates ask for, sometimes not."""
        pick //= 10
        return Raw(OUTPUTS[pick % (4 if pick % 16 else len(OUTPUTS))])

    def _lie(self, pick: int) -> None:
        """An answer in force whose payload is not JSON, or which its kind of step may not give."""
        tickets = queued(self.run) or ["s0/1/0"]
        ticket, payload = tickets[pick % len(tickets)], Raw(HOSTILE[pick % len(HOSTILE)])
        if pick % 2:
            self.tell(StepContinued(ticket=ticket, checkpoint=payload))
        else:
            self.tell(StepSucceeded(ticket=ticket, output=payload))

    def _loops(self, ticket: str) -> bool:
        assert self.run.graph is not None
        return (
            self.run.graph.nodes[self.run.graph.index[step_of_ticket(ticket)]].step.loop is not None
        )
