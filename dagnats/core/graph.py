"""A workflow compiled for the engine: positions in place of names, edges in both directions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.limiting import gate_id
from dagnats.core.model import (
    EventConfig,
    EventMatch,
    MapConfig,
    RespondConfig,
    SleepConfig,
    Step,
    Workflow,
)
from dagnats.core.state import StepState
from dagnats.core.table import Table
from dagnats.core.templates import holes

NOWHERE: Final = -1


class Node(Struct, frozen=True):
    """A step in its graph.

    ``aux`` steps run only when another step's ``on_failure`` or ``compensate`` names them.
    ``gate`` is where its tickets must ask. ``fallible_input`` says that resolving the input can fail,
    ``handler`` is the position of the on_failure step, ``compensator`` of the one that undoes it, ``owner`` of
    the step that brought it into a running graph.
    """

    position: int
    step: Step
    parents: tuple[int, ...]
    children: tuple[int, ...]
    aux: bool
    handler: int
    fallible_input: bool
    compensator: int = NOWHERE
    owner: int = NOWHERE
    gate: str = ""


class Grown(Struct, frozen=True, omit_defaults=True):
    """What was added to a running graph: the steps of a plan or a call, or so many items of a map."""

    owner: int
    steps: tuple[Step, ...] = ()
    items: int = 0


class Graph(Struct, frozen=True):
    """A workflow's nodes in definition order, and the state in which its runs begin.

    ``inspected`` are the steps whose outputs the engine itself looks into ("" stands for the run's
    input): an offloaded value must be fetched before such a fact is folded. ``gated``: some step has limits.
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
    gated: bool = False


def compile_graph(workflow: Workflow, digest: str) -> Graph:
    """The graph of a valid workflow."""
    index = {step.id: position for position, step in enumerate(workflow.steps)}
    children = _children(workflow.steps, index)
    aux = {name for step in workflow.steps for name in (step.on_failure, step.compensate) if name}
    nodes = tuple(
        Node(
            position=position,
            step=step,
            parents=tuple(index[name] for name in step.depends_on),
            children=tuple(children[position]),
            aux=step.id in aux,
            handler=index[step.on_failure] if step.on_failure else NOWHERE,
            compensator=index[step.compensate] if step.compensate else NOWHERE,
            fallible_input=_fallible(step),
            gate=_gate(step),
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
        gated=any(node.gate for node in nodes),
    )


def _children(steps: tuple[Step, ...], index: dict[str, int]) -> list[list[int]]:
    """The positions that depend on each of the steps."""
    first = index[steps[0].id] if steps else 0
    children: list[list[int]] = [[] for _ in steps]
    for step in steps:
        for name in step.depends_on:
            children[index[name] - first].append(index[step.id])
    return children


def _fallible(step: Step) -> bool:
    return any(path for _, path in holes(step.input))


def grow(graph: Graph, grown: Grown) -> Graph:
    """The graph with more nodes at its end, owned by one that is there."""
    steps = grown.steps or tuple(
        _item(graph.nodes[grown.owner].step, number) for number in range(grown.items)
    )
    first = len(graph.nodes)
    index = graph.index | {step.id: first + offset for offset, step in enumerate(steps)}
    children = _children(steps, index)
    nodes = tuple(
        Node(
            position=first + offset,
            step=step,
            parents=tuple(index[name] for name in step.depends_on),
            children=tuple(children[offset]),
            aux=False,
            handler=NOWHERE,
            fallible_input=_fallible(step),
            owner=grown.owner,
            gate=_gate(step),
        )
        for offset, step in enumerate(steps)
    )
    looked_at = graph.inspected | _looked_into(grown.steps)
    gated = graph.gated or any(node.gate for node in nodes)
    return replace(graph, nodes=graph.nodes + nodes, index=index, inspected=looked_at, gated=gated)


def _gate(step: Step) -> str:
    return gate_id("task", step.task) if step.limits and step.kind != "map" else ""


def _item(step: Step, number: int) -> Step:
    """One element's step: everything of the map's but what makes it a map."""
    loop = step.config.loop if isinstance(step.config, MapConfig) else None
    return Step(
        id=f"{step.id}#{number}",
        kind="agent_loop" if loop else "task",
        task=step.task,
        group=step.group,
        timeout_ms=step.timeout_ms,
        retry=step.retry,
        config=loop,
        metadata=step.metadata,
        limits=step.limits,
    )


def _looked_into(steps: tuple[Step, ...]) -> frozenset[str]:
    """The steps whose outputs the engine itself looks into, for these to run."""
    names: set[str] = set()
    for step in steps:
        names |= {source for source, path in holes(step.input) if path}
        names |= {condition.step for condition in (step.skip_if, step.when) if condition}
        names |= _sources(step)
    return frozenset(names)


def _sources(step: Step) -> set[str]:
    """Whose output a kind of the engine's own looks into: "" for the run's input."""
    config = step.config
    if isinstance(config, SleepConfig):
        return {""} if config.until_input_path else set()
    if isinstance(config, EventConfig):
        return sources_of(config.match)
    whole = (
        isinstance(config, MapConfig)
        or (isinstance(config, RespondConfig) and config.body_from)
        or any(limit.key or limit.cost_from for limit in step.limits)
    )
    if not whole:
        return set()
    named = {source for source, _ in holes(step.input)}
    return named or set(step.depends_on) or {""}


def sources_of(match: EventMatch | None) -> set[str]:
    """Whose output (or "" for the run's input) says what an event must match."""
    return {source for source, _ in holes(match.right)} if match else set()


def _inspected(workflow: Workflow) -> frozenset[str]:
    names = {step for step, path in holes(workflow.output) if path}
    looked_at = any(limit.key or limit.cost_from for limit in workflow.limits)
    if workflow.input_schema is not None or workflow.priority or looked_at:
        names.add("")
    for cancel in workflow.cancel_on:
        names |= sources_of(cancel.match)
    return frozenset(names) | _looked_into(workflow.steps)


def _returned(workflow: Workflow, nodes: tuple[Node, ...]) -> frozenset[str]:
    """The steps whose outputs make the run's, when that is checked. A recovered step's handler stands in."""
    if workflow.output_schema is None:
        return frozenset()
    if workflow.output is not None:
        return frozenset(step for step, _ in holes(workflow.output))
    sinks = [node for node in nodes if not node.children and not node.aux]
    handlers = {nodes[node.handler].step.id for node in sinks if node.handler != NOWHERE}
    return frozenset(node.step.id for node in sinks) | handlers
