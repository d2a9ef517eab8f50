"""What people see of a run: folds for the command line, the SDK and the console. Shapes are JSON-ready.

Times are RFC 3339 in UTC, from the log; durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw, Struct

from dagnats.core.amounts import usd_of
from dagnats.core.budgets import raised_by, write_budget
from dagnats.core.commands import child_run_id, successor_run_id
from dagnats.core.graph import NOWHERE, Graph
from dagnats.core.model import (
    ABSENT,
    NOTHING_USED,
    ChildConfig,
    ControlConfig,
    EventConfig,
    SignalConfig,
    Step,
    Usage,
)
from dagnats.core.run import Run
from dagnats.core.state import (
    COMPLETED,
    CONTINUED,
    FAILED,
    NOBODY,
    OPEN,
    QUEUED,
    SATISFIED,
    WAITING,
    Owned,
    StepError,
    StepState,
    ticket_text,
)

RUNNING_STEP: Final = "running"
_FAILED_SHOWN_MAX: Final = 20


class ErrorView(Struct, frozen=True, omit_defaults=True):
    """Why something failed."""

    message: str
    failure: str = ""
    type: str = ""
    traceback: str = ""


class ItemsView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a map, or a plan, stands: ``failed`` are the errors of tolerated items by index, the first of them."""

    total: int
    started: int = 0
    done: int = 0
    lost: int = 0
    failed: dict[str, str] = {}


class AtWork(Struct, frozen=True, omit_defaults=True):
    """Which worker is at a ticket, and what its handler said of it last (``heartbeat``)."""

    worker: str
    detail: Raw = ABSENT


class UsageView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used: ``reports`` of handlers, tokens, US dollars, iterations of agent loops; by model if known."""

    reports: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0
    iterations: int = 0
    models: dict[str, UsageView] = {}


class StepView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step: ``attempt`` of ``attempts``, ``iteration`` (executions so far) of ``max_iterations``.

    ``owner`` is the step that brought it into the run: a planner, or a handler with a durable call. The
    items of a map are counted (``items``), not listed. ``waits_for`` says what a waiting step waits for.
    ``worker`` is at it, and its handler said ``detail`` last.
    """

    id: str
    kind: str
    task: str
    status: str
    depends_on: tuple[str, ...] = ()
    attempt: int = 0
    attempts: int = 1
    iteration: int = 0
    max_iterations: int = 0
    due_at: str = ""
    started_at: str = ""
    ended_at: str = ""
    duration_ms: int | None = None
    worker: str = ""
    detail: Raw = ABSENT
    output: Raw = ABSENT
    error: ErrorView | None = None
    owner: str = ""
    items: ItemsView | None = None
    waits_for: str = ""
    child_run_id: str = ""
    usage: UsageView | None = None


class RunView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run as it is now. ``usage`` is what its budget counts: of its own handlers, by model, and of its children."""

    run_id: str
    workflow: str
    status: str
    definition: str = ""
    version: str = ""
    input: Raw = Raw(b"null")
    output: Raw = ABSENT
    error: ErrorView | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    created_at: str = ""
    completed_at: str = ""
    deadline_at: str = ""
    duration_ms: int | None = None
    parent: str = ""
    root: str = ""
    previous: str = ""
    successor: str = ""
    forked: str = ""
    epoch: int = 0
    usage: UsageView | None = None
    budget: dict[str, Any] = {}
    steps: list[StepView] = []

    @property
    def done(self) -> int:
        """How many steps need nothing more."""
        return sum(step.status in SATISFIED for step in self.steps)


class EventView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a run's history; ``data`` is the fact as it was written."""

    seq: int
    at: str
    author: str
    type: str
    step: str = ""
    attempt: int = 0
    iteration: int = 0
    worker: str = ""
    data: Raw = Raw(b"null")


def text_of_time(ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC; empty for 0."""
    if not ms:
        return ""
    return (
        datetime.fromtimestamp(ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def view_error(error: StepError | None) -> ErrorView | None:
    """An error for people."""
    return ErrorView(error.message, error.failure, error.type, error.traceback) if error else None


def view_run(run: Run, running: Mapping[str, AtWork] | None = None, now_ms: int = 0) -> RunView:
    """A run for people. ``running`` says which worker is at which ticket; ``now_ms`` ends what has not ended."""
    graph = run.graph
    ended = run.closed_ms or now_ms
    steps = (
        [
            _view_step(run, graph, position, running or {}, now_ms)
            for position in range(len(run.steps))
            if not _is_item(graph, position)
        ]
        if graph
        else []
    )
    return RunView(
        run_id=run.id,
        workflow=run.workflow,
        status=run.status,
        definition=run.definition,
        version=graph.workflow.version if graph else "",
        input=run.input,
        output=run.output,
        error=view_error(run.error),
        metadata=run.metadata,
        tags=run.tags,
        created_at=text_of_time(run.started_ms),
        completed_at=text_of_time(run.closed_ms),
        deadline_at=text_of_time(run.deadline_ms),
        duration_ms=max(0, ended - run.started_ms) if ended and run.started_ms else None,
        parent=run.parent,
        root=run.root if run.root != run.id else "",
        previous=run.previous,
        successor=successor_run_id(run.id) if run.status == CONTINUED else "",
        forked=run.forked,
        epoch=run.epoch,
        usage=view_usage(run.spent, run.models),
        budget=write_budget(raised_by(run.budget, run.raised.get(""))) if run.budget else {},
        steps=steps,
    )


def _is_item(graph: Graph, position: int) -> bool:
    """Whether a step is an element of a map."""
    owner = graph.nodes[position].owner
    return owner != NOWHERE and graph.nodes[owner].step.kind == "map"


def _view_step(
    run: Run, graph: Graph, position: int, running: Mapping[str, AtWork], now_ms: int
) -> StepView:
    node, state = graph.nodes[position], run.steps[position]
    step = node.step
    policy = step.retry or graph.workflow.default_retry
    there = running.get(ticket_text(step.id, state)) if state.status == QUEUED else None
    ended = state.ended_ms or (now_ms if state.status in OPEN else 0)
    loops = step.loop is not None
    return StepView(
        id=step.id,
        kind=step.kind,
        task=step.task,
        status=RUNNING_STEP if there or _at_work(step, state) else state.status,
        depends_on=step.depends_on,
        attempt=state.attempt,
        attempts=(policy.attempts if policy else 1) + state.spent,
        iteration=state.iteration + 1 if loops and state.began_ms else 0,
        max_iterations=step.loop.max_iterations if step.loop else 0,
        due_at=text_of_time(state.due_ms) if state.status in OPEN else "",
        started_at=text_of_time(state.began_ms),
        ended_at=text_of_time(state.ended_ms),
        duration_ms=max(0, ended - state.began_ms) if ended and state.began_ms else None,
        worker=there.worker if there else "",
        detail=there.detail if there else ABSENT,
        output=state.output if state.status == COMPLETED else ABSENT,
        error=view_error(state.error),
        owner=graph.nodes[node.owner].step.id if node.owner != NOWHERE else "",
        items=_view_items(run, state.owned) if state.owned else None,
        waits_for=waits_for(graph, step, state) if state.status == WAITING else "",
        child_run_id=_child_of(run.id, step, state, ticket_text(step.id, state)),
        usage=view_usage(state.usage),
    )


def view_usage(used: Usage, models: Mapping[str, Usage] = MappingProxyType({})) -> UsageView | None:
    """What was used, for people; None for nothing."""
    if used == NOTHING_USED:
        return None
    named = {name: view for name, each in models.items() if name and (view := view_usage(each))}
    return UsageView(
        reports=used.reports,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        usd=usd_of(used.usd_nano),
        iterations=used.iterations,
        models=named,
    )


def _at_work(step: Step, state: StepState) -> bool:
    """Whether a step that waits for nobody outside is at work: its items, its plan, its child."""
    if state.status != WAITING or state.due_ms:
        return False
    return state.owned is not None or step.kind == "sub_workflow"


def _view_items(run: Run, own: Owned) -> ItemsView:
    places = range(own.first, own.first + own.count)
    lost = [place for place in places if run.steps[place].status == FAILED] if own.lost else []
    failed: dict[str, str] = {}
    for place in lost[:_FAILED_SHOWN_MAX]:
        error = run.steps[place].error
        failed[str(place - own.first)] = error.message if error else "failed"
    return ItemsView(
        total=own.count, started=own.started, done=own.done, lost=own.lost, failed=failed
    )


def waits_for(graph: Graph, step: Step, state: StepState) -> str:
    """What a step waits for, in a few words."""
    config = step.config
    if state.parked != NOBODY:
        return f"call {graph.nodes[state.parked].step.id}"
    if state.error is not None:
        return "its next attempt"
    if isinstance(config, SignalConfig):
        return f"signal {config.name}"
    if isinstance(config, EventConfig):
        return f"event {config.event}" + (f" with {state.match}" if config.match else "")
    if state.bound_ms and step.kind in ("approval", "planner"):
        return f"approval until {text_of_time(state.bound_ms)}"
    return ""


def _child_of(run: str, step: Step, state: StepState, ticket: str) -> str:
    """The run id of a step's child; empty before there is one."""
    config = step.config
    if isinstance(config, ControlConfig):
        started = config.action == "start" and state.status == COMPLETED
        return child_run_id(run, ticket) if started else ""
    begun = isinstance(config, ChildConfig) and state.attempt > 0
    depth = state.error is not None and state.error.failure == "depth"
    return child_run_id(run, ticket) if begun and not depth else ""
