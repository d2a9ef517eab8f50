"""Every problem of a definition's meaning at once, each with its cure; and advice on what is only odd."""

from __future__ import annotations

import graphlib
import re
from collections import Counter
from collections.abc import Iterator

from dagnats.core.kinds import KINDS, KINDS_LATER
from dagnats.core.model import (
    OPERATORS,
    STICKY,
    STRATEGIES,
    Advice,
    Condition,
    Problem,
    RetryPolicy,
    Step,
    Workflow,
)
from dagnats.core.schemas import schema_problem
from dagnats.core.templates import holes, path_of
from dagnats.limits import (
    DURATION_MAX_MS,
    ITERATIONS_MAX,
    METADATA_ENTRIES_MAX,
    NAME_LENGTH_MAX,
    RETRIES_MAX,
    STEP_TIMEOUT_MAX_MS,
    STEPS_MAX,
)  # fmt: skip

_STEP_ID = re.compile(rf"[A-Za-z0-9_.\-]{{1,{NAME_LENGTH_MAX}}}\Z")
_MULTIPLIER_MAX = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def problems_of(workflow: Workflow) -> list[Problem]:
    """Everything that makes a definition impossible to run; empty when it is valid."""
    known = {step.id for step in workflow.steps}
    return [
        *_workflow_problems(workflow, known),
        *_graph_problems(workflow, known),
        *(problem for step in workflow.steps for problem in _step_problems(step, known)),
    ]


def advice_on(workflow: Workflow) -> list[Advice]:
    """What is allowed but probably not meant."""
    advice: list[Advice] = []
    if workflow.output_schema is not None:
        message = "output_schema is kept and shown, but outputs are not checked against it yet"
        advice.append(Advice("output_schema", message))
    for step in workflow.steps:
        if step.singleton:
            cure = f"register task {step.task} with singleton=True, if it is not"
            message = f'step "{step.id}" says singleton, which is for its workers to keep: {cure}'
            advice.append(Advice("singleton", message))
    handlers = {step.on_failure for step in workflow.steps if step.on_failure}
    for step in workflow.steps:
        if step.id in handlers and (step.input is not None or step.skip_if or step.when):
            message = f'step "{step.id}" runs on failure and is told of it; its input, skip_if and when do nothing'
            advice.append(Advice("on_failure", message))
    return advice


def _workflow_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    yield from name_problems("workflow.name", workflow.name)
    if not workflow.steps:
        yield Problem("workflow.steps", "there are no steps", "add at least one")
    if len(workflow.steps) > STEPS_MAX:
        yield Problem(
            "workflow.steps", f"{len(workflow.steps)} steps", f"split it: at most {STEPS_MAX}"
        )
    yield from _duration_problems("workflow.timeout", workflow.timeout_ms, DURATION_MAX_MS)
    if workflow.default_retry:
        yield from _retry_problems("workflow.default_retry", workflow.default_retry)
    if workflow.idempotency_key and "" in workflow.idempotency_key.split("."):
        yield Problem(
            "workflow.idempotency_key", "is not a dot-path", 'write for example "order.id"'
        )
    yield from _sticky_problems(workflow)
    problem = schema_problem(workflow.input_schema)
    if problem:
        yield Problem("workflow.input_schema", problem, "correct the schema")
    yield from _template_problems("workflow.output", workflow.output, known, None)


def _sticky_problems(workflow: Workflow) -> Iterator[Problem]:
    where = "workflow.sticky"
    if workflow.sticky not in STICKY:
        yield Problem(where, f'unknown mode "{workflow.sticky}"', 'use "soft" or "hard"')
    if workflow.sticky == "hard" and not workflow.timeout_ms:
        what = "a run would wait for ever for a worker that is gone"
        yield Problem(where, what, 'give the workflow a timeout, or make it "soft"')
    for step in workflow.steps if workflow.sticky else ():
        if step.group:
            what = f'the run stays with one worker, but step "{step.id}" needs one of group "{step.group}"'
            yield Problem(where, what, "remove sticky, or the step's worker_group")


def name_problems(where: str, name: str) -> Iterator[Problem]:
    """Problems of a workflow's or task's name."""
    if not name:
        yield Problem(where, "the name is missing", "give it a name")
    elif len(name.encode()) > NAME_LENGTH_MAX:
        yield Problem(where, "the name is too long", f"use at most {NAME_LENGTH_MAX} bytes")
    elif _CONTROL.search(name):
        yield Problem(where, "the name holds control characters", "remove them")


def _graph_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    for step_id, count in Counter(step.id for step in workflow.steps).items():
        if count > 1:
            yield Problem(f'step "{step_id}"', f"{count} steps have this id", "give each its own")
    for step in workflow.steps:
        for name in step.depends_on:
            if name not in known:
                yield Problem(
                    f'step "{step.id}"',
                    f'depends on "{name}", which is no step',
                    "correct the name",
                )
        if len(set(step.depends_on)) != len(step.depends_on):
            yield Problem(f'step "{step.id}"', "names a dependency twice", "name it once")
    edges = {
        step.id: [name for name in step.depends_on if name in known] for step in workflow.steps
    }
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        yield Problem(
            "workflow.steps", f"there is a cycle: {cycle}", "remove one of its dependencies"
        )
    yield from _handler_problems(workflow, known)


def _handler_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    handlers = {step.on_failure for step in workflow.steps if step.on_failure}
    if workflow.steps and known <= handlers:
        yield Problem(
            "workflow.steps", "every step is an on_failure step", "add a step that runs first"
        )
    for step in workflow.steps:
        where, target = f'step "{step.id}"', step.on_failure
        if target and target not in known:
            yield Problem(
                where, f'on_failure names "{target}", which is no step', "correct the name"
            )
        if target and target == step.id:
            yield Problem(where, "on_failure names the step itself", "name another step")
        if step.id in handlers and step.depends_on:
            yield Problem(where, "it is an on_failure step and has depends_on", "remove depends_on")
        for name in step.depends_on:
            if name in handlers:
                cure = "depend on the step whose failure it handles"
                yield Problem(where, f'depends on "{name}", which runs only on failure', cure)


def _step_problems(step: Step, known: set[str]) -> Iterator[Problem]:
    where = f'step "{step.id}"'
    if not _STEP_ID.match(step.id):
        cure = f"use 1 to {NAME_LENGTH_MAX} letters, digits, '_', '-' or '.'"
        yield Problem(where, "the id cannot be used", cure)
    if step.kind in KINDS_LATER:
        return
    if step.kind not in KINDS:
        yield Problem(where, f'unknown type "{step.kind}"', f"types: {', '.join(KINDS)}")
    yield from _routing_problems(where, step)
    yield from _duration_problems(f"{where}.timeout", step.timeout_ms, STEP_TIMEOUT_MAX_MS)
    if step.retry:
        yield from _retry_problems(f"{where}.retry", step.retry)
    for name, condition in (("skip_if", step.skip_if), ("when", step.when)):
        if condition:
            yield from _condition_problems(f"{where}.{name}", condition, step)
    yield from _template_problems(f"{where}.input", step.input, known, step)
    if len(step.metadata) > METADATA_ENTRIES_MAX:
        yield Problem(
            f"{where}.metadata", "too many entries", f"keep at most {METADATA_ENTRIES_MAX}"
        )
    if step.kind == "agent_loop":
        yield from _loop_problems(where, step)


def _routing_problems(where: str, step: Step) -> Iterator[Problem]:
    if not step.task:
        yield Problem(where, "the task is missing", 'name the task that runs it: "task": "…"')
    else:
        yield from name_problems(f"{where}.task", step.task)
    if step.group:
        yield from name_problems(f"{where}.worker_group", step.group)


def _loop_problems(where: str, step: Step) -> Iterator[Problem]:
    loop = step.loop
    if loop is None or not 1 <= loop.max_iterations <= ITERATIONS_MAX:
        cure = f"set max_iterations to 1 … {ITERATIONS_MAX}"
        yield Problem(f"{where}.config.max_iterations", "an agent loop needs a bound", cure)
    if loop is not None:
        yield from _duration_problems(
            f"{where}.config.max_duration", loop.max_duration_ms, DURATION_MAX_MS
        )
        yield from _duration_problems(
            f"{where}.config.loop_delay", loop.loop_delay_ms, DURATION_MAX_MS
        )


def _duration_problems(where: str, value_ms: int, most_ms: int) -> Iterator[Problem]:
    if value_ms < 0:
        yield Problem(where, "is negative", "write a positive duration or leave it out")
    elif value_ms > most_ms:
        hours = most_ms // 3_600_000
        yield Problem(where, "is too long", f"write at most {hours}h")


def _retry_problems(where: str, policy: RetryPolicy) -> Iterator[Problem]:
    if not 1 <= policy.attempts <= RETRIES_MAX + 1:
        yield Problem(
            f"{where}.max_attempts", f"{policy.attempts - 1} retries", f"use 0 … {RETRIES_MAX}"
        )
    if policy.strategy not in STRATEGIES:
        cure = f"use one of {', '.join(STRATEGIES)}"
        yield Problem(f"{where}.strategy", f'unknown strategy "{policy.strategy}"', cure)
    if policy.initial_ms < 1 or policy.max_ms < 0:
        yield Problem(where, "a delay is negative or zero", "write positive durations")
    if not 0 < policy.multiplier <= _MULTIPLIER_MAX:
        yield Problem(f"{where}.multiplier", f"{policy.multiplier}", "use a number above 0")
    if not 0 <= policy.jitter <= 1:
        yield Problem(f"{where}.jitter", f"{policy.jitter}", "use a part between 0 and 1")


def _condition_problems(where: str, condition: Condition, step: Step) -> Iterator[Problem]:
    if condition.step and condition.step not in step.depends_on:
        yield Problem(
            where,
            f'looks at "{condition.step}", which is not in depends_on',
            "add it to depends_on",
        )
    if condition.op not in OPERATORS:
        cure = f"use one of {' '.join(OPERATORS)}"
        yield Problem(f"{where}.op", f'unknown operator "{condition.op}"', cure)
    try:
        path_of(condition.field)
    except ValueError as error:
        yield Problem(f"{where}.field", str(error), "correct the path")


def _template_problems(
    where: str, template: object, known: set[str], step: Step | None
) -> Iterator[Problem]:
    try:
        found = list(holes(template))
    except ValueError as error:
        yield Problem(where, str(error), "correct the template")
        return
    for name, _ in found:
        if name and name not in known:
            yield Problem(where, f'uses "{name}", which is no step', "correct the name")
        elif name and step is not None and name not in step.depends_on:
            yield Problem(
                where, f'uses "{name}", which is not in depends_on', "add it to depends_on"
            )
