"""The working copy of a run while one fact is folded into it. Nothing outside ``advance`` sees it."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.graph import Graph, Node
from dagnats.core.inputs import Lookup, lookup_in
from dagnats.core.run import Run
from dagnats.core.scope import Scope
from dagnats.core.state import OPEN, StepError, StepState

Ending = tuple[str, StepError | None, int]  # status, reason, position of the step that failed or -1


class Draft:
    """Changes to a run, collected: which steps moved, what is still to be settled, how it ends."""

    __slots__ = ("at_ms", "changed", "ending", "graph", "open", "run", "worklist")

    def __init__(self, run: Run, graph: Graph, at_ms: int) -> None:
        self.run = run
        self.graph = graph
        self.at_ms = at_ms
        self.changed: dict[int, StepState] = {}
        self.worklist: list[int] = []
        self.open = run.open
        self.ending: Ending | None = None

    def state(self, position: int) -> StepState:
        """A step's state as of now."""
        changed = self.changed.get(position)
        return self.run.steps[position] if changed is None else changed

    def put(self, position: int, state: StepState) -> None:
        """Move a step; one that is no longer open is to be settled."""
        self.changed[position] = state
        if state.status not in OPEN:
            self.worklist.append(position)

    def scope(self, node: Node) -> Scope:
        """What the step's kind sees."""
        policy = node.step.retry or self.graph.workflow.default_retry
        return Scope(self.run.id, node, self.state(node.position), policy, self.at_ms)

    def lookup(self) -> Lookup:
        """Outputs by step id as of now; the empty name is the run's input."""
        before = lookup_in(self.graph, self.run.steps, self.run.input)

        def lookup(step: str) -> Raw:
            changed = self.changed.get(self.graph.index[step]) if step else None
            return before(step) if changed is None or not changed.output else changed.output

        return lookup

    def end(self, status: str, error: StepError | None = None, failed_at: int = -1) -> None:
        """The run ends; the first ending counts."""
        if self.ending is None:
            self.ending = (status, error, failed_at)

    def result(self, **changes: object) -> Run:
        """The run with everything that moved."""
        return replace(
            self.run, steps=self.run.steps.replace(self.changed), open=self.open, **changes
        )
