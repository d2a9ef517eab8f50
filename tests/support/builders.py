"""Workflows in one line, and runs told fact by fact."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from dagnats.core.commands import ArmTimer, Command, Dispatch
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
from dagnats.core.model import LoopConfig, RetryPolicy, Step, Workflow
from dagnats.core.run import Run
from dagnats.core.state import QUEUED, StepState, ticket_text
from dagnats.core.validate import problems_of

T0 = 1_700_000_000_000  # when stories begin, Unix time in milliseconds


def raw(value: Any) -> Raw:
    """A value as the bytes of its JSON."""
    return Raw(msgspec.json.encode(value))


def a_step(name: str, *after: str, **options: Any) -> Step:
    """A task step that depends on others."""
    return Step(id=name, task=options.pop("task", "work"), depends_on=after, **options)


def a_loop(name: str, *after: str, most: int = 3, **options: Any) -> Step:
    """An agent loop; settings of the loop itself are told apart by their names."""
    names = LoopConfig.__struct_fields__
    settings = {key: options.pop(key) for key in list(options) if key in names}
    loop = LoopConfig(max_iterations=most, **settings)
    return a_step(name, *after, kind="agent_loop", config=loop, **options)


def retries(count: int, **options: Any) -> RetryPolicy:
    """A policy with so many retries, 1 s apart unless options say otherwise."""
    return RetryPolicy(attempts=count + 1, **options)


def a_workflow(*steps: Step | str, **options: Any) -> Workflow:
    """A workflow; a bare name is a task step that depends on the one before it."""
    made: list[Step] = []
    for each in steps:
        above = [made[-1].id] if made else []
        made.append(a_step(each, *above) if isinstance(each, str) else each)
    return Workflow(name=options.pop("name", "flow"), steps=tuple(made), **options)


def a_graph(*steps: Step | str, **options: Any) -> Graph:
    """The graph of a workflow that is valid."""
    workflow = a_workflow(*steps, **options)
    problems = problems_of(workflow)
    assert not problems, problems
    return compile_graph(workflow, "digest")


class Story:
    """A run told fact by fact: ``commands`` are those of the last fact, ``all`` those of every one."""

    def __init__(self, *steps: Step | str, value: Any = None, begin: bool = True, **options: Any):
        self.graph = a_graph(*steps, **options)
        self.run: Run = new_run("r1", self.graph)
        self.now = T0
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.all: list[Command] = []
        if begin:
            self.tell(RunStarted(workflow="flow", definition="digest", input=raw(value)))

    def tell(self, fact: Fact, at_ms: int | None = None) -> Story:
        """One more fact, now."""
        at_ms = self.now if at_ms is None else at_ms
        event = Event(len(self.events) + 1, at_ms, fact)
        self.events.append(event)
        self.run, self.commands = advance(self.run, event)
        self.all += self.commands
        return self

    def ticket(self, step: str) -> str:
        """The ticket of a step as it is now."""
        return ticket_text(step, self.state(step))

    def succeed(self, step: str, output: Any = None) -> Story:
        """The worker at a step returns a value."""
        return self.tell(StepSucceeded(ticket=self.ticket(step), output=raw(output)))

    def fail(self, step: str, error: str = "boom", **fields: Any) -> Story:
        """The worker at a step reports a failure."""
        return self.tell(StepFailed(ticket=self.ticket(step), error=error, **fields))

    def carry_on(self, step: str, checkpoint: Any = None) -> Story:
        """The worker at a loop asks for another iteration."""
        return self.tell(StepContinued(ticket=self.ticket(step), checkpoint=raw(checkpoint)))

    def cancel(self, reason: str = "") -> Story:
        """A client cancels the run."""
        return self.tell(CancelRequested(reason=reason))

    def wait(self, ms: int) -> Story:
        """Time passes."""
        self.now += ms
        return self

    def fire(self) -> Story:
        """The armed timer fires, on time."""
        self.now = max(self.now, self.run.armed_ms)
        return self.tell(TimerFired(due_ms=self.run.armed_ms))

    def state(self, step: str) -> StepState:
        """A step as it is now."""
        graph = self.run.graph or self.graph  # it grows
        return self.run.steps[graph.index[step]]

    @property
    def statuses(self) -> dict[str, str]:
        """Every step's status, by id."""
        nodes = (self.run.graph or self.graph).nodes
        return {node.step.id: self.run.steps[node.position].status for node in nodes}

    @property
    def dispatched(self) -> list[str]:
        """The tickets that the last fact put into force."""
        return [each.ticket for each in self.commands if isinstance(each, Dispatch)]

    @property
    def armed(self) -> list[int]:
        """What the last fact armed the timer for, from the beginning of the story."""
        return [each.due_ms - T0 for each in self.commands if isinstance(each, ArmTimer)]


def queued(run: Run) -> list[str]:
    """The tickets in force."""
    if run.graph is None:
        return []
    pairs = zip(run.graph.nodes, run.steps, strict=False)
    return [ticket_text(node.step.id, state) for node, state in pairs if state.status == QUEUED]
