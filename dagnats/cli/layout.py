"""A workflow's graph as lines of text: chains go down, branches are indented, joins come back."""

from __future__ import annotations

import graphlib
from collections import defaultdict
from typing import Final

from msgspec import Struct

from dagnats.cli.kinds import PLAIN, SHAPES, words_of
from dagnats.core.model import Step, Workflow

_ROOT: Final = ""


class Line(Struct, frozen=True):
    """Where a step stands: the lines drawn before it, and a word about why it is there."""

    prefix: str
    step: Step
    note: str = ""


def lines_of(workflow: Workflow) -> list[Line]:
    """One line for each step of a valid workflow, in an order in which they may run."""
    placed = _Places(workflow)
    lines: list[Line] = []
    stack = [(name, "", "") for name in reversed(placed.below(_ROOT))]
    while stack:
        name, first, rest = stack.pop()
        lines.append(Line(first, placed.steps[name], placed.notes.get(name, "")))
        following = [(handler, rest + "└╌", rest + "  ") for handler in placed.handlers[name]]
        branches = placed.branches[name]
        if len(branches) == 1:
            following.append((branches[0], rest, rest))
        else:
            for branch in branches:
                last = branch == branches[-1]
                following.append(
                    (branch, rest + ("└─" if last else "├─"), rest + ("  " if last else "│ "))
                )
        following += [(join, rest, rest) for join in placed.joins[name]]
        stack += reversed(following)
    return lines


class _Places:
    """Under which step each step is drawn."""

    def __init__(self, workflow: Workflow) -> None:
        self.steps: dict[str, Step] = {step.id: step for step in workflow.steps}
        self.branches: defaultdict[str, list[str]] = defaultdict(list)
        self.joins: defaultdict[str, list[str]] = defaultdict(list)
        self.handlers: defaultdict[str, list[str]] = defaultdict(list)
        self.notes: dict[str, str] = {}
        self._above: dict[str, str] = {}
        self._depth: dict[str, int] = {_ROOT: 0}
        owners = _owners(workflow)
        order = graphlib.TopologicalSorter({step.id: step.depends_on for step in workflow.steps})
        ranks = {name: rank for rank, name in enumerate(self.steps)}
        for name in _stable(order, ranks):
            if name not in owners:
                self._place(self.steps[name])
        for name, (owner, note) in owners.items():
            self.handlers[owner].append(name)
            self.notes[name] = note

    def below(self, name: str) -> list[str]:
        """What stands directly below a step, or at the top."""
        return [*self.branches[name], *self.joins[name]]

    def _place(self, step: Step) -> None:
        parents = step.depends_on
        under = parents[0] if parents else _ROOT
        for other in parents[1:]:
            under = self._common(under, other)
        self._above[step.id] = under
        self._depth[step.id] = self._depth[under] + 1
        if len(parents) > 1:
            self.joins[under].append(step.id)
            self.notes[step.id] = f"after {', '.join(parents)}"
        else:
            self.branches[under].append(step.id)

    def _common(self, one: str, two: str) -> str:
        """The deepest step that both stand below."""
        while one != two:
            if self._depth[one] >= self._depth[two]:
                one = self._above[one]
            else:
                two = self._above[two]
        return one


def _owners(workflow: Workflow) -> dict[str, tuple[str, str]]:
    """The steps that run only beside others: beside which, and when."""
    owners: dict[str, tuple[str, str]] = {}
    for step in reversed(workflow.steps):
        if step.compensate:
            owners[step.compensate] = (step.id, f"undoes {step.id}")
        if step.on_failure:
            owners[step.on_failure] = (step.id, f"when {step.id} fails")
    return owners


def _stable(order: graphlib.TopologicalSorter[str], ranks: dict[str, int]) -> list[str]:
    """A topological order that keeps the file's order where it may."""
    found: list[str] = []
    order.prepare()
    while order.is_active():
        ready = sorted(order.get_ready(), key=ranks.__getitem__)
        found += ready
        order.done(*ready)
    return found


def mermaid(workflow: Workflow) -> str:
    """The graph in Mermaid's language, for pages that draw it."""
    numbers = {step.id: f"s{number}" for number, step in enumerate(workflow.steps)}
    rows = ["flowchart TD"]
    for step in workflow.steps:
        told = step.task or next(words_of(step), "")
        words = step.id if told in ("", step.id) else f"{step.id}<br/>{told}"
        left, right = SHAPES.get(step.kind, PLAIN)
        rows.append(f"    {numbers[step.id]}{left}{_escaped(words)}{right}")
    for step in workflow.steps:
        rows += [f"    {numbers[name]} --> {numbers[step.id]}" for name in step.depends_on]
        if step.on_failure:
            rows.append(f"    {numbers[step.id]} -. fails .-> {numbers[step.on_failure]}")
        if step.compensate:
            rows.append(f"    {numbers[step.id]} -. undone by .-> {numbers[step.compensate]}")
    return "\n".join(rows)


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
