"""A workflow compiled for the engine: positions in place of names, edges in both directions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from dagnats.core.model import Step, Workflow
from dagnats.core.state import StepState
from dagnats.core.table import Table
from dagnats.core.templates import holes

NOWHERE: Final = -1


class Node(Struct, frozen=True):
    """A step in its graph.

    ``aux`` steps run only when another step's ``on_failure`` names them. ``fallible_input`` says that
    resolving the input can fail, ``handler`` is the position of the on_failure step.
    """

    position: int
    step: Step
    parents: tuple[int, ...]
    children: tuple[int, ...]
    aux: bool
    handler: int
    fallible_input: bool


class Graph(Struct, frozen=True):
    """A workflow's nodes in definition order, and the state in which its runs begin.

    ``inspected`` are the steps whose outputs the engine itself looks into ("" stands for the run's
    input): an offloaded value must be fetched before such a fact is folded.
    """

    workflow: Workflow
    digest: str
    nodes: tuple[Node, ...]
    index: dict[str, int]
    roots: tuple[int, ...]
    sinks: tuple[int, ...]
    fresh: Table[StepState]
    counted: int
    inspected: frozenset[str]


def compile_graph(workflow: Workflow, digest: str) -> Graph:
    """The graph of a valid workflow."""
    index = {step.id: position for position, step in enumerate(workflow.steps)}
    children: list[list[int]] = [[] for _ in workflow.steps]
    for position, step in enumerate(workflow.steps):
        for name in step.depends_on:
            children[index[name]].append(position)
    aux = {step.on_failure for step in workflow.steps if step.on_failure}
    nodes = tuple(
        Node(
            position=position,
            step=step,
            parents=tuple(index[name] for name in step.depends_on),
            children=tuple(children[position]),
            aux=step.id in aux,
            handler=index[step.on_failure] if step.on_failure else NOWHERE,
            fallible_input=any(path for _, path in holes(step.input)),
        )
        for position, step in enumerate(workflow.steps)
    )
    return Graph(
        workflow=workflow,
        digest=digest,
        nodes=nodes,
        index=index,
        roots=tuple(node.position for node in nodes if not node.parents and not node.aux),
        sinks=tuple(node.position for node in nodes if not node.children and not node.aux),
        fresh=Table[StepState].of(StepState(blockers=len(node.parents)) for node in nodes),
        counted=sum(not node.aux for node in nodes),
        inspected=_inspected(workflow) | _returned(workflow, nodes),
    )


def _inspected(workflow: Workflow) -> frozenset[str]:
    names = {step for step, path in holes(workflow.output) if path}
    if workflow.input_schema is not None:
        names.add("")
    for step in workflow.steps:
        names |= {source for source, path in holes(step.input) if path}
        names |= {condition.step for condition in (step.skip_if, step.when) if condition}
    return frozenset(names)


def _returned(workflow: Workflow, nodes: tuple[Node, ...]) -> frozenset[str]:
    """The steps whose outputs make the run's, when that is checked. A recovered step's handler stands in."""
    if workflow.output_schema is None:
        return frozenset()
    if workflow.output is not None:
        return frozenset(step for step, _ in holes(workflow.output))
    sinks = [node for node in nodes if not node.children and not node.aux]
    handlers = {nodes[node.handler].step.id for node in sinks if node.handler != NOWHERE}
    return frozenset(node.step.id for node in sinks) | handlers
