"""What people see of a run: folds for the command line, the SDK and the console. Shapes are JSON-ready.

Times are RFC 3339 in UTC, from the log; durations are milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from msgspec import Raw, Struct

from dagnats.core.graph import Graph
from dagnats.core.model import ABSENT
from dagnats.core.run import Run
from dagnats.core.state import OPEN, QUEUED, SATISFIED, StepError, StepState, ticket_text

RUNNING_STEP: Final = "running"


class ErrorView(Struct, frozen=True, omit_defaults=True):
    """Why something failed."""

    message: str
    failure: str = ""
    type: str = ""
    traceback: str = ""


class StepView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step: ``attempt`` of ``attempts``, ``iteration`` (executions so far) of ``max_iterations``."""

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
    output: Raw = ABSENT
    error: ErrorView | None = None


class RunView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run as it is now."""

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


def view_run(run: Run, running: dict[str, str] | None = None, now_ms: int = 0) -> RunView:
    """A run for people. ``running`` says which worker is at which ticket; ``now_ms`` ends what has not ended."""
    graph = run.graph
    ended = run.closed_ms or now_ms
    steps = (
        [
            _view_step(graph, position, run.steps[position], running or {}, now_ms)
            for position in range(len(run.steps))
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
        steps=steps,
    )


def _view_step(
    graph: Graph, position: int, state: StepState, running: dict[str, str], now_ms: int
) -> StepView:
    step = graph.nodes[position].step
    policy = step.retry or graph.workflow.default_retry
    worker = running.get(ticket_text(step.id, state), "") if state.status == QUEUED else ""
    ended = state.ended_ms or (now_ms if state.status in OPEN else 0)
    loops = step.loop is not None
    return StepView(
        id=step.id,
        kind=step.kind,
        task=step.task,
        status=RUNNING_STEP if worker else state.status,
        depends_on=step.depends_on,
        attempt=state.attempt,
        attempts=policy.attempts if policy else 1,
        iteration=state.iteration + 1 if loops and state.began_ms else 0,
        max_iterations=step.loop.max_iterations if step.loop else 0,
        due_at=text_of_time(state.due_ms) if state.status in OPEN else "",
        started_at=text_of_time(state.began_ms),
        ended_at=text_of_time(state.ended_ms),
        duration_ms=max(0, ended - state.began_ms) if ended and state.began_ms else None,
        worker=worker,
        output=state.output,
        error=view_error(state.error),
    )
