"""The working copy of a run while one fact is folded into it. Nothing outside ``advance`` sees it."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.graph import Graph, Grown, Node, grow
from dagnats.core.inputs import lookup_in
from dagnats.core.model import ABSENT
from dagnats.core.run import Run
from dagnats.core.scope import Growth, Next, Scope
from dagnats.core.state import OPEN, StepError, StepState
from dagnats.core.templates import Lookup

Ending = tuple[str, StepError | None, int]  # status, reason, position of the step that failed or -1


class Draft:
    """Changes to a run, collected: which steps moved, what is still to be settled, how it ends."""

    __slots__ = (
        "at_ms", "began", "changed", "ending", "graph", "lined", "open", "output", "pause", "run", "told", "worklist",
    )  # fmt: skip

    def __init__(self, run: Run, graph: Graph, at_ms: int) -> None:
        self.run = self.began = run
        self.graph = graph
        self.at_ms = at_ms
        self.changed: dict[int, StepState] = {}
        self.worklist: list[int] = []
        self.lined: list[int] = []  # those that wait for room in the run from now on
        self.told: list[int] = []  # durable calls whose callers may be waiting
        self.open = run.open
        self.ending: Ending | None = None
        self.output: Raw = ABSENT
        self.pause: tuple[str, int] = ("", 0)  # a ticket whose keys are to rest, for so long

    def __getitem__(self, position: int) -> StepState:
        """A step's state as of now."""
        changed = self.changed.get(position)
        return self.run.steps[position] if changed is None else changed

    state = __getitem__

    def put(self, position: int, state: StepState) -> None:
        """Move a step; one that is no longer open is to be settled."""
        self.changed[position] = state
        if state.status not in OPEN:
            self.worklist.append(position)

    def move(self, position: int, following: Next) -> range:
        """Move a step, and let the graph grow where that says so; the positions that are new."""
        if isinstance(following, StepState):
            self.put(position, following)
            return range(0)
        new = self._grow(position, following)
        self.put(position, following.state)
        return new

    def _grow(self, owner: int, growth: Growth) -> range:
        grown = Grown(owner, growth.steps, growth.items)
        first = len(self.graph.nodes)
        self.graph = grow(self.graph, grown)
        nodes = self.graph.nodes[first:]
        inputs = growth.inputs or (ABSENT,) * len(nodes)
        fresh = [
            StepState(blockers=len(node.parents), input=given)
            for node, given in zip(nodes, inputs, strict=True)
        ]
        self.run = replace(
            self.run,
            graph=self.graph,
            steps=self.run.steps.extended(fresh),
            growth=(*self.run.growth, grown),
        )
        return range(first, first + len(nodes))

    def scope(self, node: Node) -> Scope:
        """What the step's kind sees."""
        policy = node.step.retry or self.graph.workflow.default_retry
        return Scope(self.run, node, self[node.position], policy, self.at_ms, self)

    def lookup(self) -> Lookup:
        """Outputs by step id as of now; the empty name is the run's input."""
        return lookup_in(self.graph, self, self.run.input)

    def end(self, status: str, error: StepError | None = None, failed_at: int = -1) -> None:
        """The run ends; the first ending counts."""
        if self.ending is None:
            self.ending = (status, error, failed_at)

    def owned(self, position: int) -> list[int]:
        """The positions that a step owns: items, a plan's steps, and calls of its current iteration."""
        state = self[position]
        own = state.owned
        return [*(range(own.first, own.first + own.count) if own else ()), *state.calls]

    @property
    def active(self) -> int:
        """How many steps are under way, as of now. Counted only where there is a bound."""
        before = self.began
        total = before.active
        for position, state in self.changed.items():
            if position < len(before.steps):
                total -= _counts(before.steps[position])
            total += _counts(state)
        return total

    def result(self, **changes: object) -> Run:
        """The run with everything that moved."""
        active = self.active if self.graph.workflow.max_steps else 0
        steps = self.run.steps.replace(self.changed)
        return replace(self.run, steps=steps, open=self.open, active=active, **changes)


def _counts(state: StepState) -> bool:
    """Whether a step takes room in its run. A durable call does not: it is part of what its caller does."""
    return state.under_way and not state.caller
