"""The workflow file: JSON into the model, every problem at once, and back in one canonical form.

The format is that of the Go system (step-level ``loop`` or ``config``, integer nanoseconds or duration
strings, retries counted as executions less one), with additions of ours: ``input``, ``when`` and
``output``. Unknown keys are problems that name the likely spelling, at every level.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from dagnats.core import durations
from dagnats.core.kinds import FILE_NAMES, KINDS_LATER
from dagnats.core.model import (
    OPERATORS,
    STRATEGIES,
    Condition,
    LoopConfig,
    Problem,
    RetryPolicy,
    Step,
    Workflow,
)  # fmt: skip
from dagnats.limits import RETRY_DELAY_MIN_MS

# Keys of the format whose features arrive with a later version: known, and refused with that word.
LATER_WORKFLOW: Final = {
    "concurrency": "run limits", "priority": "priorities",
    "cancel_on": "external events", "singleton": "singletons", "triggers": "triggers",
}  # fmt: skip
LATER_STEP: Final = {
    "compensate": "compensation", "rate_limit": "rate limits", "keyed_rate_limit": "rate limits",
    "max_task_concurrency": "task limits",
    "required_capabilities": "the control plane",
}  # fmt: skip

_INITIAL_DELAY_MS: Final = 1_000
_DEFAULT_RETRY_DELAY_MS: Final = 5_000


class Reader:
    """Walks a parsed file, collects problems, and never stops at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def problem(self, where: str, what: str, cure: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(where, what, cure))

    def members(self, where: str, data: object, what: str, cure: str) -> dict[str, Any] | None:
        """An object's members; anything else is a problem."""
        if isinstance(data, dict):
            return cast("dict[str, Any]", data)
        self.problem(where, what, cure)
        return None

    def keys(self, where: str, data: Mapping[str, Any], known: Iterable[str]) -> None:
        """Refuse keys that are not known, guessing what was meant."""
        names = list(known)
        for key in data:
            if key in names:
                continue
            close = difflib.get_close_matches(key.lower(), names, n=1)
            cure = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(names)}"
            self.problem(where, f'unknown key "{key}"', cure)

    def later(self, where: str, data: Mapping[str, Any], table: Mapping[str, str]) -> None:
        """Refuse what is known but not built yet; empty values are harmless and pass."""
        for key, feature in table.items():
            if data.get(key):
                self.problem(
                    where, f'"{key}" is not supported yet', f"remove it until {feature} arrive"
                )

    def get(
        self,
        where: str,
        data: Mapping[str, Any],
        key: str,
        kind: type | tuple[type, ...],
        default: Any,
    ) -> Any:
        """The value of a key when it has the right type; otherwise a problem and the default."""
        value = data.get(key)
        if value is None:
            return default
        right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        if right:
            return value
        self.problem(f"{where}.{key}", f"{value!r} is not {_TYPE_NAMES[kind]}", "correct its type")
        return default

    def number(self, where: str, data: Mapping[str, Any], key: str, default: float) -> float:
        """The value of a number's key; a number too large to be one is a problem."""
        try:
            return float(self.get(where, data, key, (int, float), default))
        except OverflowError:
            self.problem(f"{where}.{key}", "the number is too large", "write a smaller one")
            return default

    def duration(self, where: str, data: Mapping[str, Any], key: str) -> int:
        """Milliseconds of a duration key; 0 when absent."""
        if data.get(key) is None:
            return 0
        try:
            return durations.from_file_ms(data[key])
        except ValueError as error:
            self.problem(f"{where}.{key}", str(error), 'write for example "30s"')
            return 0


_TYPE_NAMES: Final[dict[type | tuple[type, ...], str]] = {
    str: "a string", int: "a whole number", list: "an array", dict: "an object",
    (int, float): "a number", bool: "true or false",
}  # fmt: skip

WORKFLOW_KEYS: Final = (
    "name", "version", "steps", "timeout", "default_retry", "idempotency_key", "input_schema",
    "output_schema", "output", "sticky", "aux_steps", "$schema", *LATER_WORKFLOW,
)  # fmt: skip
STEP_KEYS: Final = (
    "id", "task", "type", "depends_on", "config", "loop", "timeout", "retry", "retries", "skip_if",
    "when", "on_failure", "worker_group", "singleton", "metadata", "input", *LATER_STEP,
)  # fmt: skip
RETRY_KEYS: Final = (
    "max_attempts", "strategy", "initial_delay", "max_delay", "multiplier", "jitter",
)  # fmt: skip
LOOP_KEYS: Final = (
    "max_iterations", "max_duration", "loop_delay", "budget_warn_at", "budget_force_at",
)  # fmt: skip


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
    reader.later("workflow", data, LATER_WORKFLOW)
    raw_steps = reader.get("workflow", data, "steps", list, [])
    legacy = data.get("default_retry") is None  # the shorthand `retries` comes after the default
    workflow = Workflow(
        name=reader.get("workflow", data, "name", str, ""),
        version=reader.get("workflow", data, "version", str, "1"),
        steps=tuple(
            _read_step(reader, number, raw, legacy=legacy) for number, raw in enumerate(raw_steps)
        ),
        timeout_ms=reader.duration("workflow", data, "timeout"),
        default_retry=_read_retry(reader, "workflow.default_retry", data.get("default_retry")),
        idempotency_key=reader.get("workflow", data, "idempotency_key", str, ""),
        sticky=reader.get("workflow", data, "sticky", str, ""),
        output=data.get("output"),
        input_schema=reader.get("workflow", data, "input_schema", dict, None),
        output_schema=reader.get("workflow", data, "output_schema", dict, None),
    )
    return workflow, reader.problems


def _read_step(reader: Reader, number: int, written: object, *, legacy: bool) -> Step:
    where = f"steps[{number}]"
    data = reader.members(where, written, "a step is a JSON object", 'write {"id": …, "task": …}')
    if data is None:
        return Step(id=f"?{number}")
    step_id = reader.get(where, data, "id", str, "")
    where = f'step "{step_id}"' if step_id else where
    reader.keys(where, data, STEP_KEYS)
    reader.later(where, data, LATER_STEP)
    kind = _read_kind(reader, where, data)
    depends = reader.get(where, data, "depends_on", list, [])
    for name in depends:
        if not isinstance(name, str):
            reader.problem(f"{where}.depends_on", f"{name!r} is not a step id", "put it in quotes")
    metadata = reader.get(where, data, "metadata", dict, {})
    for key, value in metadata.items():
        if not isinstance(value, str):
            reader.problem(f"{where}.metadata.{key}", "metadata are strings", "put it in quotes")
    return Step(
        id=step_id,
        kind=kind,
        task=reader.get(where, data, "task", str, ""),
        depends_on=tuple(name for name in depends if isinstance(name, str)),
        group=reader.get(where, data, "worker_group", str, ""),
        input=data.get("input"),
        timeout_ms=reader.duration(where, data, "timeout"),
        retry=_read_retry(reader, f"{where}.retry", data.get("retry"))
        or (_read_retries(reader, where, data) if legacy else None),
        skip_if=_read_condition(reader, f"{where}.skip_if", data.get("skip_if")),
        when=_read_condition(reader, f"{where}.when", data.get("when")),
        on_failure=reader.get(where, data, "on_failure", str, ""),
        loop=_read_loop(reader, where, data)
        if kind == "agent_loop"
        else _no_config(reader, where, data, kind),
        singleton=reader.get(where, data, "singleton", bool, default=False),
        metadata={str(key): str(value) for key, value in metadata.items()},
    )


def _read_kind(reader: Reader, where: str, data: Mapping[str, Any]) -> str:
    name = reader.get(where, data, "type", str, "normal")
    kind = FILE_NAMES.get(name)
    if kind is not None:
        return kind
    if name in KINDS_LATER:
        reader.problem(
            where, f'steps of type "{name}" are not supported yet', "use another step type for now"
        )
        return name
    close = difflib.get_close_matches(name, [*FILE_NAMES, *KINDS_LATER], n=1)
    cure = f'did you mean "{close[0]}"?' if close else f"types: {', '.join(FILE_NAMES)}"
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


def _read_loop(reader: Reader, where: str, data: Mapping[str, Any]) -> LoopConfig:
    if data.get("loop") is not None and data.get("config") is not None:
        reader.problem(where, 'both "loop" and "config" are given', "keep one; they mean the same")
    key = "loop" if data.get("loop") is not None else "config"
    settings = reader.get(where, data, key, dict, {})
    where = f"{where}.{key}"
    reader.keys(where, settings, LOOP_KEYS)
    return LoopConfig(
        max_iterations=reader.get(where, settings, "max_iterations", int, 0),
        max_duration_ms=reader.duration(where, settings, "max_duration"),
        loop_delay_ms=reader.duration(where, settings, "loop_delay"),
        budget_warn_at=reader.get(where, settings, "budget_warn_at", int, 0),
        budget_force_at=reader.get(where, settings, "budget_force_at", int, 0),
    )


def _no_config(reader: Reader, where: str, data: Mapping[str, Any], kind: str) -> None:
    if kind not in FILE_NAMES.values():
        return  # a kind of a later version: its config is not looked at
    for key in ("config", "loop"):
        if data.get(key):
            reader.problem(
                where,
                f'"{key}" is for steps with settings',
                'add "type": "agent_loop" or remove it',
            )


# -- writing ---------------------------------------------------------------------------------------


def write_workflow(workflow: Workflow) -> dict[str, Any]:
    """The canonical file of a workflow: it registers again, and equal workflows write equal files."""
    data: dict[str, Any] = {"name": workflow.name, "version": workflow.version}
    if workflow.timeout_ms:
        data["timeout"] = durations.text_of_ms(workflow.timeout_ms)
    if workflow.default_retry:
        data["default_retry"] = _write_retry(workflow.default_retry)
    for key in ("idempotency_key", "sticky", "output", "input_schema", "output_schema"):
        value = getattr(workflow, key)
        if value not in (None, ""):
            data[key] = value
    data["steps"] = [_write_step(step) for step in workflow.steps]
    return data


def _write_step(step: Step) -> dict[str, Any]:
    data: dict[str, Any] = {"id": step.id}
    if step.task:
        data["task"] = step.task
    if step.kind != "task":
        data["type"] = step.kind
    if step.depends_on:
        data["depends_on"] = list(step.depends_on)
    writers: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("worker_group", step.group, str),
        ("timeout", step.timeout_ms, durations.text_of_ms),
        ("retry", step.retry, _write_retry),
        ("skip_if", step.skip_if, _write_condition),
        ("when", step.when, _write_condition),
        ("on_failure", step.on_failure, str),
        ("config", step.loop, _write_loop),
        ("singleton", step.singleton, bool),
        ("metadata", step.metadata, dict),
    ]
    for key, value, write in writers:
        if value:
            data[key] = write(value)
    if step.input is not None:
        data["input"] = step.input
    return data


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


def _write_loop(loop: LoopConfig) -> dict[str, Any]:
    data: dict[str, Any] = {"max_iterations": loop.max_iterations}
    if loop.max_duration_ms:
        data["max_duration"] = durations.text_of_ms(loop.max_duration_ms)
    if loop.loop_delay_ms:
        data["loop_delay"] = durations.text_of_ms(loop.loop_delay_ms)
    for key in ("budget_warn_at", "budget_force_at"):
        if getattr(loop, key):
            data[key] = getattr(loop, key)
    return data


def encode_workflow(workflow: Workflow) -> tuple[str, bytes]:
    """The content hash of a workflow (32 hexadecimal digits of SHA-256) and its canonical file."""
    body = msgspec.json.encode(write_workflow(workflow), order="deterministic")
    return hashlib.sha256(body).hexdigest()[:32], body
