"""The workflow file: JSON into the model, every problem at once, and back in one canonical form.

The format is that of the Go system (step-level ``loop`` or ``config``, integer nanoseconds or duration
strings, retries counted as executions less one), with additions of ours: ``input``, ``when`` and
``output``. Unknown keys are problems that name the likely spelling, at every level.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from dagnats.core import durations
from dagnats.core.budgets import read_budget, write_budget
from dagnats.core.kinds import FILE_NAMES, KINDS
from dagnats.core.limiting import (
    read_priority,
    read_run_limits,
    read_step_limits,
    write_limits,
    write_priority,
)
from dagnats.core.matching import read_match, write_match
from dagnats.core.model import (
    AGENT_GROUP,
    OPERATORS,
    STRATEGIES,
    CancelOn,
    Condition,
    Config,
    PlannerConfig,
    Problem,
    RetryPolicy,
    Step,
    Workflow,
)
from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_triggers
from dagnats.core.triggers.model import Trigger
from dagnats.core.triggers.validate import singleton_problems, trigger_problems
from dagnats.limits import RETRIES_MAX, RETRY_DELAY_MIN_MS

_INITIAL_DELAY_MS: Final = 1_000
_DEFAULT_RETRY_DELAY_MS: Final = 5_000


WORKFLOW_KEYS: Final = (
    "name", "version", "steps", "timeout", "default_retry", "idempotency_key", "input_schema",
    "output_schema", "output", "aux_steps", "$schema", "cancel_on", "sticky", "triggers", "concurrency",
    "singleton", "limits", "gate", "priority", "budget",
)  # fmt: skip
STEP_KEYS: Final = (
    "id", "task", "type", "depends_on", "config", "loop", "timeout", "retry", "retries", "skip_if",
    "when", "on_failure", "compensate", "worker_group", "required_capabilities", "singleton", "metadata",
    "input", "limits", "max_task_concurrency", "rate_limit", "keyed_rate_limit",
)  # fmt: skip
RETRY_KEYS: Final = (
    "max_attempts", "strategy", "initial_delay", "max_delay", "multiplier", "jitter",
)  # fmt: skip
CANCEL_KEYS: Final = ("event", "match", "timeout")


def read_workflow(written: object) -> tuple[Workflow | None, list[Problem]]:
    """A parsed workflow file as a model, and every problem of its form.

    The model is returned even when there are problems, as far as it could be read, so that
    ``validate`` can add those of its meaning. It is None only when there is nothing to look at.
    """
    reader = Reader()
    cure = 'start with {"name": …, "steps": […]}'
    data = reader.members("file", written, "a workflow is a JSON object", cure)
    if data is None:
        return None, reader.problems
    reader.keys("workflow", data, WORKFLOW_KEYS)
    raw_steps = reader.get("workflow", data, "steps", list, [])
    limits, max_steps = read_run_limits(reader, data)
    legacy = data.get("default_retry") is None  # the shorthand `retries` comes after the default
    workflow = Workflow(
        name=reader.get("workflow", data, "name", str, ""),
        version=reader.get("workflow", data, "version", str, "1"),
        steps=tuple(
            read_step(reader, number, raw, legacy=legacy) for number, raw in enumerate(raw_steps)
        ),
        timeout_ms=reader.duration("workflow", data, "timeout"),
        default_retry=_read_retry(reader, "workflow.default_retry", data.get("default_retry")),
        idempotency_key=reader.get("workflow", data, "idempotency_key", str, ""),
        cancel_on=_read_cancel_on(reader, data),
        sticky=reader.get("workflow", data, "sticky", str, ""),
        limits=limits,
        gate=reader.get("workflow", data, "gate", str, ""),
        max_steps=max_steps,
        priority=read_priority(reader, data),
        budget=read_budget(reader, "workflow", data),
        output=data.get("output"),
        input_schema=reader.get("workflow", data, "input_schema", dict, None),
        output_schema=reader.get("workflow", data, "output_schema", dict, None),
    )
    # They are no part of the definition: only checked.
    for trigger in workflow_triggers(reader, workflow.name, data):
        reader.problems.extend(singleton_problems(trigger, limits))
    return workflow, reader.problems


def workflow_triggers(reader: Reader, name: str, data: Mapping[str, Any]) -> tuple[Trigger, ...]:
    """The triggers in a workflow file: defined together with it, and kept by themselves."""
    triggers = read_triggers(reader, name, reader.get("workflow", data, "triggers", list, []))
    for trigger in triggers:
        reader.problems.extend(trigger_problems(trigger))
    return triggers


def _read_cancel_on(reader: Reader, data: Mapping[str, Any]) -> tuple[CancelOn, ...]:
    watches: list[CancelOn] = []
    for number, raw in enumerate(reader.get("workflow", data, "cancel_on", list, [])):
        where = f"workflow.cancel_on[{number}]"
        watch = reader.members(where, raw, "it is no object", 'write {"event": …, "match": {…}}')
        if watch is None:
            watches.append(CancelOn(event=f"?{number}"))  # it keeps the places of the others
            continue
        reader.keys(where, watch, CANCEL_KEYS)
        watches.append(
            CancelOn(
                event=reader.get(where, watch, "event", str, ""),
                match=read_match(reader, where, watch),
                timeout_ms=reader.duration(where, watch, "timeout"),
            )
        )
    return tuple(watches)


def read_step(
    reader: Reader,
    number: int,
    written: object,
    *,
    legacy: bool,
    types: Mapping[str, str] = FILE_NAMES,
) -> Step:
    """One step of a file; ``legacy`` says that the shorthand ``retries`` counts, ``types`` what it may be."""
    where = f"steps[{number}]"
    data = reader.members(where, written, "a step is a JSON object", 'write {"id": …, "task": …}')
    if data is None:
        return Step(id=f"?{number}")
    step_id = reader.get(where, data, "id", str, "")
    where = f'step "{step_id}"' if step_id else where
    reader.keys(where, data, STEP_KEYS)
    kind = _read_kind(reader, where, data, types)
    depends = reader.get(where, data, "depends_on", list, [])
    for name in depends:
        if not isinstance(name, str):
            reader.problem(f"{where}.depends_on", f"{name!r} is not a step id", "put it in quotes")
    return Step(
        id=step_id,
        kind=kind,
        task=reader.get(where, data, "task", str, ""),
        depends_on=tuple(name for name in depends if isinstance(name, str)),
        group=reader.get(where, data, "worker_group", str, "")
        or (AGENT_GROUP if kind == "agent" else ""),
        input=data.get("input"),
        timeout_ms=reader.duration(where, data, "timeout"),
        retry=_read_retry(reader, f"{where}.retry", data.get("retry"))
        or (_read_retries(reader, where, data) if legacy else None),
        skip_if=_read_condition(reader, f"{where}.skip_if", data.get("skip_if")),
        when=_read_condition(reader, f"{where}.when", data.get("when")),
        on_failure=reader.get(where, data, "on_failure", str, ""),
        compensate=reader.get(where, data, "compensate", str, ""),
        config=_read_config(reader, where, data, kind),
        capabilities=reader.strings(where, data, "required_capabilities"),
        singleton=reader.get(where, data, "singleton", bool, default=False),
        metadata=reader.texts(where, data, "metadata"),
        limits=read_step_limits(reader, where, data),
    )


def _read_kind(
    reader: Reader, where: str, data: Mapping[str, Any], types: Mapping[str, str]
) -> str:
    name = reader.get(where, data, "type", str, "normal")
    kind = types.get(name)
    if kind is not None:
        return kind
    close = difflib.get_close_matches(name, [*types], n=1)
    cure = f'did you mean "{close[0]}"?' if close else f"types: {', '.join(types)}"
    reader.problem(where, f'unknown type "{name}"', cure)
    return "task"


def _read_retry(reader: Reader, where: str, written: object) -> RetryPolicy | None:
    if written is None:
        return None
    data = reader.members(
        where, written, "a retry policy is an object", 'write {"max_attempts": 3}'
    )
    if data is None:
        return None
    reader.keys(where, data, RETRY_KEYS)
    strategy = reader.get(where, data, "strategy", str, "fixed")
    if strategy not in STRATEGIES:
        reader.problem(
            where, f'unknown strategy "{strategy}"', f"use one of {', '.join(STRATEGIES)}"
        )
        strategy = "fixed"
    return RetryPolicy(
        attempts=reader.get(where, data, "max_attempts", int, 0) + 1,
        strategy=strategy,
        initial_ms=_initial_delay(reader, where, data),
        max_ms=reader.duration(where, data, "max_delay"),
        multiplier=reader.number(where, data, "multiplier", 2.0),
        jitter=reader.number(where, data, "jitter", 0.0),
    )


def _initial_delay(reader: Reader, where: str, data: Mapping[str, Any]) -> int:
    """A second when nothing is said; a zero is the shortest there is."""
    if data.get("initial_delay") is None:
        return _INITIAL_DELAY_MS
    return max(RETRY_DELAY_MIN_MS, reader.duration(where, data, "initial_delay"))


def _read_retries(reader: Reader, where: str, data: Mapping[str, Any]) -> RetryPolicy | None:
    """The legacy shorthand: N retries, five seconds apart."""
    retries = reader.get(where, data, "retries", int, 0)
    if not 0 <= retries <= RETRIES_MAX:
        reader.problem(f"{where}.retries", f"{retries} retries", f"use 0 … {RETRIES_MAX}")
        return None
    if not retries:
        return None
    return RetryPolicy(attempts=retries + 1, initial_ms=_DEFAULT_RETRY_DELAY_MS)


def _read_condition(reader: Reader, where: str, written: object) -> Condition | None:
    if written is None:
        return None
    cure = 'write {"step_id", "field", "op", "value"}'
    data = reader.members(where, written, "a condition is an object", cure)
    if data is None:
        return None
    reader.keys(where, data, ("step_id", "field", "op", "value"))
    op = reader.get(where, data, "op", str, "==")
    if op not in OPERATORS:
        reader.problem(where, f'unknown operator "{op}"', f"use one of {' '.join(OPERATORS)}")
        op = "=="
    step = reader.get(where, data, "step_id", str, "")
    return Condition(step, reader.get(where, data, "field", str, ""), op, data.get("value"))


def _read_config(reader: Reader, where: str, data: Mapping[str, Any], kind: str) -> Config | None:
    """The settings of a step's kind, under "config"; an agent loop's may stand under "loop"."""
    if data.get("loop") is not None and data.get("config") is not None:
        reader.problem(where, 'both "loop" and "config" are given', "keep one; they mean the same")
    key = "loop" if data.get("loop") is not None else "config"
    module = KINDS[kind]
    if not module.CONFIG_KEYS:
        if data.get(key):
            cure = 'name the type that they are of, for example "type": "agent_loop", or remove it'
            reader.problem(where, f'"{key}" holds settings, which a {kind} has none of', cure)
        return None
    if key == "loop" and kind != "agent_loop":
        what = f'"loop" is for agent loops, and this is of type "{kind}"'
        reader.problem(where, what, 'write its settings under "config"')
        return None
    settings = reader.get(where, data, key, dict, {})
    where = f"{where}.{key}"
    reader.keys(where, settings, module.CONFIG_KEYS)
    config: Config = module.read(reader, where, settings)
    if isinstance(config, PlannerConfig):
        _check_usual(reader, f"{where}.tasks", config)
    return config


def _check_usual(reader: Reader, where: str, config: PlannerConfig) -> None:
    """What a planner says of its tasks is a part of a step; wrong, it would spoil every plan."""
    for name, usual in config.tasks.items():
        inner = Reader()
        read_step(inner, 0, {**usual, "id": name}, legacy=True)
        for problem in inner.problems:
            place = problem.where.removeprefix(f'step "{name}"')
            reader.problem(f"{where}.{name}{place}", problem.what, problem.cure)


# -- writing ---------------------------------------------------------------------------------------


def write_workflow(workflow: Workflow) -> dict[str, Any]:
    """The canonical file of a workflow: it registers again, and equal workflows write equal files."""
    data: dict[str, Any] = {"name": workflow.name, "version": workflow.version}
    if workflow.timeout_ms:
        data["timeout"] = durations.text_of_ms(workflow.timeout_ms)
    if workflow.default_retry:
        data["default_retry"] = _write_retry(workflow.default_retry)
    for key in ("idempotency_key", "sticky", "gate", "output", "input_schema", "output_schema"):
        value = getattr(workflow, key)
        if value not in (None, ""):
            data[key] = value
    if workflow.limits:
        data["limits"] = write_limits(workflow.limits)
    if workflow.max_steps:
        data["concurrency"] = {"max_steps": workflow.max_steps}
    if workflow.priority:
        data["priority"] = write_priority(workflow.priority)
    if workflow.budget:
        data["budget"] = write_budget(workflow.budget)
    if workflow.cancel_on:
        data["cancel_on"] = [_write_cancel_on(watch) for watch in workflow.cancel_on]
    data["steps"] = [write_step(step) for step in workflow.steps]
    return data


def _write_cancel_on(watch: CancelOn) -> dict[str, Any]:
    data: dict[str, Any] = {"event": watch.event}
    if watch.match:
        data["match"] = write_match(watch.match)
    if watch.timeout_ms:
        data["timeout"] = durations.text_of_ms(watch.timeout_ms)
    return data


def write_step(step: Step) -> dict[str, Any]:
    """One step in the canonical form."""
    data: dict[str, Any] = {"id": step.id}
    if step.task:
        data["task"] = step.task
    if step.kind != "task":
        data["type"] = step.kind
    if step.depends_on:
        data["depends_on"] = list(step.depends_on)
    writers: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("worker_group", "" if _usual_group(step) else step.group, str),
        ("timeout", step.timeout_ms, durations.text_of_ms),
        ("retry", step.retry, _write_retry),
        ("skip_if", step.skip_if, _write_condition),
        ("when", step.when, _write_condition),
        ("on_failure", step.on_failure, str),
        ("compensate", step.compensate, str),
        ("required_capabilities", step.capabilities, list),
        ("singleton", step.singleton, bool),
        ("metadata", step.metadata, dict),
        ("limits", step.limits, write_limits),
    ]
    for key, value, write in writers:
        if value:
            data[key] = write(value)
    if step.config is not None:
        data["config"] = KINDS[step.kind].write(step.config)
    if step.input is not None:
        data["input"] = step.input
    return data


def _usual_group(step: Step) -> bool:
    """Whether a step's group goes without saying."""
    return step.kind == "agent" and step.group == AGENT_GROUP


def _write_retry(policy: RetryPolicy) -> dict[str, Any]:
    data: dict[str, Any] = {
        "max_attempts": policy.attempts - 1,
        "strategy": policy.strategy,
        "initial_delay": durations.text_of_ms(policy.initial_ms),
    }
    if policy.max_ms:
        data["max_delay"] = durations.text_of_ms(policy.max_ms)
    if policy.strategy == "exponential":
        data["multiplier"] = policy.multiplier
    if policy.jitter:
        data["jitter"] = policy.jitter
    return data


def _write_condition(condition: Condition) -> dict[str, Any]:
    return {
        "step_id": condition.step,
        "field": condition.field,
        "op": condition.op,
        "value": condition.value,
    }


def encode_workflow(workflow: Workflow) -> tuple[str, bytes]:
    """The content hash of a workflow (32 hexadecimal digits of SHA-256) and its canonical file."""
    body = msgspec.json.encode(write_workflow(workflow), order="deterministic")
    return hashlib.sha256(body).hexdigest()[:32], body
