"""Every problem of a definition's meaning at once, each with its cure; and advice on what is only odd."""

from __future__ import annotations

import graphlib
import re
from collections import Counter
from collections.abc import Iterator

from dagnats.core.budgets import budget_problems
from dagnats.core.control import bare_name
from dagnats.core.kinds import KINDS
from dagnats.core.limiting import gate_problems, limit_problems, priority_problems
from dagnats.core.matching import match_problems
from dagnats.core.model import (
    CAPABILITIES,
    OPERATORS,
    STICKY,
    Advice,
    Condition,
    Problem,
    Step,
    Workflow,
)
from dagnats.core.problems import (
    count_problems,
    duration_problems,
    metadata_problems,
    name_problems,
    path_problems,
    retry_problems,
)
from dagnats.core.schemas import schema_problem
from dagnats.core.templates import holes, path_of
from dagnats.limits import (
    CANCEL_ON_MAX,
    DURATION_MAX_MS,
    NAME_LENGTH_MAX,
    STEP_TIMEOUT_MAX_MS,
    STEPS_AT_ONCE_MAX,
    STEPS_MAX,
)

_STEP_ID = re.compile(rf"[A-Za-z0-9_.\-]{{1,{NAME_LENGTH_MAX}}}\Z")


def problems_of(workflow: Workflow) -> list[Problem]:
    """Everything that makes a definition impossible to run; empty when it is valid."""
    known = {step.id for step in workflow.steps}
    return [
        *_workflow_problems(workflow, known),
        *_graph_problems(workflow, known),
        *(
            problem
            for number, step in enumerate(workflow.steps)
            for problem in _step_problems(number, step, known)
        ),
    ]


def advice_on(workflow: Workflow) -> list[Advice]:
    """What is allowed but probably not meant."""
    advice: list[Advice] = []
    for step in workflow.steps:
        if step.singleton:
            cure = f"register task {step.task} with singleton=True, if it is not"
            message = f'step "{step.id}" says singleton, which is for its workers to keep: {cure}'
            advice.append(Advice("singleton", message))
    handlers = {
        name for step in workflow.steps for name in (step.on_failure, step.compensate) if name
    }
    for step in workflow.steps:
        if step.id in handlers and (step.input is not None or step.skip_if or step.when):
            message = f'step "{step.id}" runs on failure and is told of it; its input, skip_if and when do nothing'
            advice.append(Advice("on_failure", message))
    return advice


def _workflow_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    yield from name_problems("workflow.name", bare_name(workflow.name))
    if not workflow.steps:
        yield Problem("workflow.steps", "there are no steps", "add at least one")
    if len(workflow.steps) > STEPS_MAX:
        yield Problem(
            "workflow.steps", f"{len(workflow.steps)} steps", f"split it: at most {STEPS_MAX}"
        )
    yield from duration_problems("workflow.timeout", workflow.timeout_ms, DURATION_MAX_MS)
    if workflow.default_retry:
        yield from retry_problems("workflow.default_retry", workflow.default_retry)
    yield from path_problems("workflow.idempotency_key", workflow.idempotency_key)
    yield from _sticky_problems(workflow)
    yield from limit_problems("workflow.limits", workflow.limits, of_runs=True)
    yield from gate_problems(workflow)
    yield from count_problems(
        "workflow.concurrency.max_steps", workflow.max_steps, 0, STEPS_AT_ONCE_MAX
    )
    if workflow.priority:
        yield from priority_problems(workflow.priority)
    yield from budget_problems("workflow.budget", workflow.budget)
    for key in ("input_schema", "output_schema"):
        problem = schema_problem(getattr(workflow, key))
        if problem:
            yield Problem(f"workflow.{key}", problem, "correct the schema")
    yield from _template_problems("workflow.output", workflow.output, known, None)
    if len(workflow.cancel_on) > CANCEL_ON_MAX:
        what = f"{len(workflow.cancel_on)} events"
        yield Problem("workflow.cancel_on", what, f"name at most {CANCEL_ON_MAX}")
    for number, watch in enumerate(workflow.cancel_on):
        where = f"workflow.cancel_on[{number}]"
        yield from name_problems(f"{where}.event", watch.event)
        yield from duration_problems(f"{where}.timeout", watch.timeout_ms, DURATION_MAX_MS)
        yield from match_problems(f"{where}.match", watch.match, None)


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


def _graph_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    for step_id, count in Counter(step.id for step in workflow.steps).items():
        if count > 1 and step_id:
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
    yield from _nested_map_problems(workflow)


def _nested_map_problems(workflow: Workflow) -> Iterator[Problem]:
    """A map goes over what one step returns as an array; what a map gathers may have holes."""
    maps = {step.id for step in workflow.steps if step.kind == "map"}
    for step in workflow.steps:
        if step.kind != "map":
            continue
        whole = [{"$step": name} for name in step.depends_on]
        if step.input is not None and step.input not in whole:
            continue
        for name in maps & set(step.depends_on):
            what = f'it goes over the map "{name}"; maps are not nested'
            cure = "do both in one task, or put a task between them that returns the array"
            yield Problem(f'step "{step.id}"', what, cure)


def _handler_problems(workflow: Workflow, known: set[str]) -> Iterator[Problem]:
    """Steps that run only for others: on failure, or to undo."""
    handlers = {step.on_failure for step in workflow.steps if step.on_failure}
    undoers = Counter(step.compensate for step in workflow.steps if step.compensate)
    aux = handlers | set(undoers)
    if workflow.steps and known <= aux:
        what = "every step runs only on failure or to undo another"
        yield Problem("workflow.steps", what, "add a step that runs first")
    for name in handlers & set(undoers):
        what = "it is both an on_failure and a compensate step"
        yield Problem(f'step "{name}"', what, "use two steps; they may run the same task")
    for name, count in undoers.items():
        if count > 1:
            yield Problem(
                f'step "{name}"', f"it is to undo {count} steps", "give each a step of its own"
            )
    for step in workflow.steps:
        where = f'step "{step.id}"'
        yield from _target_problems(where, step, known)
        if step.id in aux:
            yield from _aux_problems(
                where, step, "on_failure" if step.id in handlers else "compensate"
            )
        for name in step.depends_on:
            if name in aux:
                cure = "depend on the step that it stands by"
                yield Problem(where, f'depends on "{name}", which runs only on failure', cure)


def _target_problems(where: str, step: Step, known: set[str]) -> Iterator[Problem]:
    for key, target in (("on_failure", step.on_failure), ("compensate", step.compensate)):
        if target and target not in known:
            yield Problem(where, f'{key} names "{target}", which is no step', "correct the name")
        if target and target == step.id:
            yield Problem(where, f"{key} names the step itself", "name another step")


def _aux_problems(where: str, step: Step, role: str) -> Iterator[Problem]:
    article = "an" if role[0] in "aeiou" else "a"
    if step.depends_on:
        yield Problem(where, f"it is {article} {role} step and has depends_on", "remove depends_on")
    if step.compensate:
        yield Problem(where, f"it is {article} {role} step and has compensate", "remove compensate")


def _step_problems(number: int, step: Step, known: set[str]) -> Iterator[Problem]:
    where = f'step "{step.id}"' if step.id else f"steps[{number}]"
    if not step.id:
        yield Problem(where, "the id is missing", 'give it one: "id": "…"')
    elif not _STEP_ID.match(step.id):
        cure = f"use 1 to {NAME_LENGTH_MAX} letters, digits, '_', '-' or '.'"
        yield Problem(where, "the id cannot be used", cure)
    if step.kind not in KINDS:
        yield Problem(where, f'unknown type "{step.kind}"', f"types: {', '.join(KINDS)}")
        return
    kind = KINDS[step.kind]
    yield from _routing_problems(where, step, needs_task=kind.NEEDS_TASK)
    yield from duration_problems(f"{where}.timeout", step.timeout_ms, STEP_TIMEOUT_MAX_MS)
    if step.retry:
        yield from retry_problems(f"{where}.retry", step.retry)
    for name, condition in (("skip_if", step.skip_if), ("when", step.when)):
        if condition:
            yield from _condition_problems(f"{where}.{name}", condition, step)
    yield from _template_problems(f"{where}.input", step.input, known, step)
    yield from metadata_problems(f"{where}.metadata", step.metadata)
    for name in step.capabilities:
        if name not in CAPABILITIES:
            cure = f"capabilities: {', '.join(CAPABILITIES)}"
            yield Problem(f"{where}.required_capabilities", f'unknown capability "{name}"', cure)
    yield from limit_problems(f"{where}.limits", step.limits, of_runs=False)
    yield from kind.problems(where, step)


def _routing_problems(where: str, step: Step, *, needs_task: bool) -> Iterator[Problem]:
    if not needs_task:
        limits = "limits" if step.limits else ""
        for what, value in (("task", step.task), ("worker_group", step.group), ("limits", limits)):
            if value:
                cure = f'remove "{what}", or change the type'
                yield Problem(where, f'a step of type "{step.kind}" has no {what}', cure)
        return
    if not step.task:
        yield Problem(where, "the task is missing", 'name the task that runs it: "task": "…"')
    else:
        yield from name_problems(f"{where}.task", step.task)
    if step.group:
        yield from name_problems(f"{where}.worker_group", step.group)


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
