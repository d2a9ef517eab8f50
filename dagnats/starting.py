"""Starting runs: the first fact, the definition it pins, and the ids it goes by."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from dagnats import archive
from dagnats.core.events import RunStarted
from dagnats.core.model import Workflow
from dagnats.core.templates import PathMissing, path_of, select
from dagnats.errors import (
    InvalidInput,
    RunAlreadyStarted,
    RunNotFound,
    WorkflowNotFound,
    WrongSequence,
)
from dagnats.ids import checked_run_id, new_run_id, run_id_for_key
from dagnats.limits import METADATA_ENTRIES_MAX, PRIORITY_OFFSET_MAX_S
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode


def chosen_run_id(given: str | None, workflow: str, key: str) -> str:
    """The id of a run: the one that was asked for, else the one that its idempotency key makes, else a new one.

    Raises:
        InvalidInput: the one that was asked for cannot be an id.
    """
    if given:
        return checked_run_id(given)
    return run_id_for_key(workflow, key) if key else new_run_id()


async def append_start(
    outside: Outside, run_id: str, fact: RunStarted, *, idempotent: bool, named: bool
) -> None:
    """Store a run's first fact; an ``idempotent`` start that comes second is no error.

    ``named``: somebody chose the id, so it may be one of a run that left the log.

    Raises:
        RunAlreadyStarted: another start with this id was stored before.
    """
    log = outside.log
    partition = subjects.partition_of(run_id, log.partitions)
    subject = subjects.fact(partition, run_id, "client")
    payload = encode(fact)
    try:
        if named and await archive.is_archived(outside, run_id):
            raise WrongSequence("it was started before, and archived")
        await log.append([Append(subject, payload, f"{run_id}:start", expect_last=0)])
    except WrongSequence:
        if idempotent:
            return
        first = await archive.history(outside, run_id)
        if fact.start and first and first[0].payload == payload:
            return  # a retry of this very start
        raise RunAlreadyStarted(
            f"run {run_id} was started before; choose another id, or go on with "
            f'`dagnats run status {run_id}` or client.handle("{run_id}")',
            run_id=run_id,
        ) from None


async def definition_of(registry: Registry, workflow: str | Workflow) -> tuple[Workflow, str]:
    """A definition and its hash: stored if it was given, looked up if it was named.

    Raises:
        WorkflowNotFound.
    """
    if isinstance(workflow, Workflow):
        return workflow, await registry.ensure(workflow)
    current = await registry.current(workflow)
    if current is None:
        raise WorkflowNotFound(
            f'no workflow "{workflow}" is registered; start a worker that has it, '
            "or `dagnats workflow register FILE`"
        )
    graph = await registry.graph(current.definition)
    if graph is None:
        raise WorkflowNotFound(
            f'the definition of workflow "{workflow}" is gone; register it again'
        )
    return graph.workflow, current.definition


def start_key(workflow: Workflow, raw: Raw, given: str | None) -> str:
    """The idempotency key: the one given, or the value at the workflow's path into the input."""
    if given is not None:
        if not given:
            raise InvalidInput("the idempotency key is empty; leave it out, or give it a value")
        return given
    if not workflow.idempotency_key:
        return ""
    try:
        return bytes(select(raw, path_of(workflow.idempotency_key), "input")).decode()
    except PathMissing:
        return ""


def not_found(run_id: str) -> RunNotFound:
    """The error that there is no such run."""
    text = f"no run {run_id}; `dagnats run list` shows the runs there are"
    return RunNotFound(text, run_id=run_id)


def checked_priority(priority: int) -> int:
    """By how many seconds a run goes before others, as it is stored.

    Raises:
        InvalidInput: it is no whole number, or out of bounds.
    """
    most = PRIORITY_OFFSET_MAX_S
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > most:
        raise InvalidInput(f"priority={priority!r}; give whole seconds from -{most} to {most}")
    return priority


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata as they are stored.

    Raises:
        InvalidInput: they are too many, or no strings.
    """
    checked = dict(metadata or {})
    if len(checked) > METADATA_ENTRIES_MAX:
        raise InvalidInput(
            f"{len(checked)} metadata entries; at most {METADATA_ENTRIES_MAX} are kept"
        )
    for key, value in checked.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInput(f"metadata are strings: {key!r} is {value!r}")
    return checked
