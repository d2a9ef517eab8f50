"""The settings of every kind of step, from Python's keywords: one place for decorators, calls and the builder.

What is said here is only turned into the model; its bounds are checked with the whole definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagnats.budgets import Budget, bounds_of
from dagnats.core.definition import write_step
from dagnats.core.durations import Duration
from dagnats.core.kinds.map import tolerance
from dagnats.core.matching import read_match
from dagnats.core.model import (
    ApprovalConfig,
    ChildConfig,
    EventConfig,
    EventMatch,
    LoopConfig,
    MapConfig,
    PlannerConfig,
    RespondConfig,
    SignalConfig,
    SleepConfig,
)
from dagnats.core.model import CancelOn as Watch
from dagnats.core.reader import Reader
from dagnats.errors import DefinitionError
from dagnats.limits import (
    APPROVAL_MAX_MS,
    DURATION_MAX_MS,
    MAP_ITEMS_DEFAULT,
    PLAN_STEPS_MAX,
    SIGNAL_WAIT_DEFAULT_MS,
)
from dagnats.options import milliseconds, refuse_unknown, texts, whole_number
from dagnats.schemas import input_schema_of, schema_of
from dagnats.task import Task

QUESTION_OPTIONS = ("description", "timeout", "subject", "quorum", "form", "metadata")


def loop_config(
    where: str,
    max_iterations: int,
    max_duration: Duration | None,
    loop_delay: Duration | None,
    budget: Budget | None = None,
) -> LoopConfig:
    """The bounds of an agent loop."""
    return LoopConfig(
        max_iterations=whole_number(f"{where}: max_iterations", max_iterations, least=1),
        max_duration_ms=milliseconds(f"{where}: max_duration", max_duration),
        loop_delay_ms=milliseconds(f"{where}: loop_delay", loop_delay),
        budget=bounds_of(where, budget),
    )


def map_config(
    where: str, *, max_items: int = MAP_ITEMS_DEFAULT, concurrency: int = 0, tolerate: int | str = 0,
    loop: LoopConfig | None = None,
) -> MapConfig:  # fmt: skip
    """How many items a map has, runs at once, and may lose."""
    try:
        count, percent = tolerance(tolerate)
    except ValueError as error:
        raise DefinitionError(
            f'{where}: tolerate: {error}; write for example tolerate=3 or tolerate="5%"'
        ) from error
    return MapConfig(
        max_items=whole_number(f"{where}: max_items", max_items, least=1),
        concurrency=whole_number(f"{where}: concurrency", concurrency),
        tolerate=count,
        tolerate_percent=percent,
        loop=loop,
    )


def question_config(
    where: str, *, description: str = "", timeout: Duration | None = None, subject: str = "", quorum: int = 1,
    form: Any = None, metadata: Mapping[str, str] | None = None,
) -> ApprovalConfig:  # fmt: skip
    """A question to people; ``form`` is the type of the answer, or its JSON Schema."""
    return ApprovalConfig(
        subject=subject,
        timeout_ms=milliseconds(f"{where}: timeout", timeout) or APPROVAL_MAX_MS,
        description=description,
        metadata=texts(metadata or {}),
        quorum=whole_number(f"{where}: quorum", quorum, least=1),
        form=_form(where, form),
    )


def _form(where: str, form: Any) -> Any:
    if form is None or isinstance(form, dict):
        return form
    schema = schema_of(form)
    if schema is None:
        raise DefinitionError(
            f"{where}: form={form!r} has no JSON Schema; give a dataclass, a TypedDict, a msgspec struct, "
            "a Pydantic model, or a schema"
        )
    return schema


def planner_config(
    where: str, *, allowed_tasks: Sequence[Task[Any, Any] | str] = (), max_steps: int = PLAN_STEPS_MAX,
    max_depth: int = 0, preview: bool | Mapping[str, Any] = False,
) -> PlannerConfig:  # fmt: skip
    """What plans may hold. Tasks bring what their decorators say, and the schemas of their inputs."""
    given = [allowed_tasks] if isinstance(allowed_tasks, str | Task) else list(allowed_tasks)
    for item in given:
        if not isinstance(item, str | Task):
            raise DefinitionError(
                f"{where}: allowed_tasks holds {item!r}; give tasks, or their names"
            )
    known = {item.name: item for item in given if isinstance(item, Task)}
    return PlannerConfig(
        max_steps=whole_number(f"{where}: max_steps", max_steps, least=1),
        max_depth=whole_number(f"{where}: max_depth", max_depth),
        allowed_tasks=tuple(item.name if isinstance(item, Task) else item for item in given),
        tasks={name: _usual(task) for name, task in known.items()},
        schemas={
            name: schema
            for name, task in known.items()
            if (schema := input_schema_of(task.signature)) is not None
        },
        preview=_preview(f"{where}: preview", preview),
    )


def _usual(task: Task[Any, Any]) -> dict[str, Any]:
    """What a task's decorator says, in the form of a file's step."""
    written = write_step(task.step(""))
    return {key: value for key, value in written.items() if key != "id"}


def _preview(where: str, preview: Any) -> ApprovalConfig | None:
    if isinstance(preview, Mapping):
        unknown = {k: v for k, v in preview.items() if k not in QUESTION_OPTIONS}
        refuse_unknown(where, unknown, QUESTION_OPTIONS)
        return question_config(where, **preview)
    return question_config(where) if preview else None


def sleep_config(
    where: str, duration: Duration | None, *, cron: str = "", tz: str = "", until: str = ""
) -> SleepConfig:
    """When a sleep ends; ``until`` is a path into the run's input."""
    given = {"a duration": duration is not None, "cron=": bool(cron), "until=": bool(until)}
    named = [name for name, there in given.items() if there]
    if len(named) != 1:
        what = f"both {' and '.join(named)}" if named else "nothing of when it ends"
        raise DefinitionError(
            f'{where} is told {what}; give exactly one of a duration such as "1h", cron= and until='
        )
    return SleepConfig(
        duration_ms=milliseconds(f"{where}: duration", duration),
        cron=cron,
        timezone=tz,
        until_input_path=until,
    )


def event_config(
    where: str, event: str, match: EventMatch | None, timeout: Duration | None
) -> EventConfig:
    """Which event to wait for, and for how long."""
    return EventConfig(
        event=event,
        match=match,
        timeout_ms=milliseconds(f"{where}: timeout", timeout) or DURATION_MAX_MS,
    )


def the_match(where: str, match: Mapping[str, Any] | None) -> tuple[str, Any] | None:
    """The one pair that ``match=`` holds: a path into the event, and what must stand there."""
    if match is None:
        return None
    if not isinstance(match, Mapping) or len(match) != 1:
        raise DefinitionError(
            f'{where}: match={match!r}; give one field and its value: match={{"order.id": …}}'
        )
    ((left, right),) = match.items()
    return str(left), right


def written_match(where: str, match: Mapping[str, Any] | None) -> EventMatch | None:
    """A match whose value is written as in a file: ``{"order.id": "input.order_id"}``."""
    pair = the_match(where, match)
    if pair is None:
        return None
    reader = Reader()
    found = read_match(reader, where, {"match": {"left": pair[0], "right": pair[1]}})
    if reader.problems:
        raise DefinitionError("; ".join(map(str, reader.problems)), problems=reader.problems)
    return found


class CancelOn:
    """An external event that cancels the runs of a workflow: ``@app.workflow(cancel_on=[CancelOn(…)])``.

    Args:
        event: Its name.
        match: One field of the event, and where its value stands: ``{"order.id": "input.order_id"}``;
            default: any event of that name.
        timeout: Only so long after the start; default: always.

    Raises:
        DefinitionError: it makes no sense.
    """

    def __init__(
        self, event: str, *, match: Mapping[str, Any] | None = None, timeout: Duration | None = None
    ) -> None:
        where = f'CancelOn("{event}")'
        self.watch = Watch(
            event=event,
            match=written_match(where, match),
            timeout_ms=milliseconds(f"{where}: timeout", timeout),
        )

    def __repr__(self) -> str:
        return f"CancelOn({self.watch.event!r})"


def watches(where: str, given: Any) -> tuple[Watch, ...]:
    """What ``cancel_on=`` was given: one or several."""
    each = list(given) if isinstance(given, list | tuple) else [given]
    for item in each:
        if not isinstance(item, CancelOn):
            raise DefinitionError(
                f'{where}: cancel_on= takes [CancelOn("order.cancelled", match={{…}})], not {item!r}'
            )
    return tuple(item.watch for item in each)


def signal_config(where: str, name: str, timeout: Duration | None) -> SignalConfig:
    """Which signal to wait for, and for how long."""
    waits = milliseconds(f"{where}: timeout", timeout) or SIGNAL_WAIT_DEFAULT_MS
    return SignalConfig(name=name, timeout_ms=waits)


def respond_config(
    where: str, *, status: int = 200, headers: Mapping[str, str] | None = None,
    content_type: str = "application/json", body_from: str = "",
) -> RespondConfig:  # fmt: skip
    """What the caller of a run is answered."""
    return RespondConfig(
        status=whole_number(f"{where}: status", status),
        headers=texts(headers or {}),
        body_from=body_from,
        content_type=content_type,
    )


def child_config(workflow: str, *, detach: bool = False) -> ChildConfig:
    """Which workflow to run."""
    return ChildConfig(workflow=workflow, detach=detach)
