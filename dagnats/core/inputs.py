"""What a step receives, and what a run gives back.

The rule where a definition says nothing: no parents → the run's input; one parent → its output as it is;
several → an object of their outputs by step id. A skipped parent's output is ``null``.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Raw

from dagnats.core.graph import NOWHERE, Graph, Node
from dagnats.core.state import FAILED, RECOVERED, SKIPPED, StepError, StepState
from dagnats.core.templates import Lookup, render

NULL = Raw(b"null")


class States(Protocol):
    """Step states by position: a run's table, or a draft's as of now."""

    def __getitem__(self, position: int, /) -> StepState:
        """The state of the step at a position."""
        ...


def lookup_in(graph: Graph, steps: States, run_input: Raw) -> Lookup:
    """Outputs by step id; the empty name is the run's input."""

    def lookup(step: str) -> Raw:
        if not step:
            return run_input
        output = steps[graph.index[step]].output
        return output or NULL

    return lookup


def step_input(graph: Graph, node: Node, steps: States, run_input: Raw) -> Raw:
    """The input of a step whose parents are satisfied.

    Raises:
        PathMissing: its template asks for a field that is not there.
    """
    given = steps[node.position].input
    if given:
        return given
    if node.aux:
        return _failure_input(graph, node, steps)
    if node.owner != NOWHERE and not node.parents and node.step.input is None:
        return steps[node.owner].output or NULL  # a plan's first steps are given the plan
    if node.step.input is not None:
        return render(node.step.input, lookup_in(graph, steps, run_input))
    if not node.parents:
        return run_input
    if len(node.parents) == 1:
        output = steps[node.parents[0]].output
        return output or NULL
    return _object(graph, node.parents, steps)


def _object(graph: Graph, positions: tuple[int, ...], steps: States) -> Raw:
    values = {graph.nodes[p].step.id: steps[p].output or NULL for p in positions}
    return Raw(msgspec.json.encode(values))


def _failure_input(graph: Graph, node: Node, steps: States) -> Raw:
    """What an on_failure step is told: which step failed, and why."""
    for failed in graph.nodes:
        state = steps[failed.position]
        if failed.handler == node.position and state.error and state.status in (FAILED, RECOVERED):
            report = {"failed_step": failed.step.id, "error": state.error.message}
            return Raw(msgspec.json.encode(report))
    return NULL


def undo_input(graph: Graph, original: int, trigger: int, error: StepError, steps: States) -> Raw:
    """What a compensating step is told: what to undo, and which failure asks for it."""
    report = {
        "original_step": graph.nodes[original].step.id,
        "original_output": steps[original].output or NULL,
        "trigger_step": graph.nodes[trigger].step.id if trigger != NOWHERE else "",
        "trigger_error": error.message,
    }
    return Raw(msgspec.json.encode(report))


def run_output(graph: Graph, steps: States, run_input: Raw) -> Raw:
    """The output of a completed run: its template, the last step's output, or an object of several.

    The handler of a recovered last step stands in for it; skipped last steps are left out of an object.

    Raises:
        PathMissing: the output template asks for a field that is not there.
    """
    template = graph.workflow.output
    if template is not None:
        return render(template, lookup_in(graph, steps, run_input))
    sinks = graph.sinks
    if len(sinks) == 1:
        return _settled_output(graph, sinks[0], steps)
    values = {
        graph.nodes[p].step.id: _settled_output(graph, p, steps)
        for p in sinks
        if steps[p].status != SKIPPED
    }
    return Raw(msgspec.json.encode(values))


def _settled_output(graph: Graph, position: int, steps: States) -> Raw:
    state = steps[position]
    if state.status == RECOVERED:
        return _settled_output(graph, graph.nodes[position].handler, steps)
    return state.output or NULL
