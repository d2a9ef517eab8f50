"""How a run must end: a tiny interpreter of workflows, written without the engine.

It plays a workflow step by step, as if alone in the world, with the answers that its tickets got. It
knows nothing of events, deadlines or cancellation; the checks say when it has the last word.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from dagnats.core.events import Outcome, StepContinued, StepSucceeded
from dagnats.core.model import Condition, Step, Workflow

Answer = Callable[[str], Outcome | None]  # of a ticket

COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


class Missing(Exception):
    """A template asks for what is not there."""


class Unknown(Exception):
    """A ticket that the run needs has no answer."""


class Ending(Struct):
    """How steps ended (``done``, ``skipped``, ``mended`` or ``failed``) and what they gave."""

    steps: dict[str, str]
    values: dict[str, Any]
    bypassed: set[str]
    status: str = "completed"
    output: Any = None


def play(workflow: Workflow, run_input: Any, answer: Answer) -> Ending:
    """The ending that the answers lead to.

    Raises:
        Unknown: an answer is missing on the way there.
    """
    ending = Ending({}, {}, set())
    steps = {step.id: step for step in workflow.steps}
    handlers = {step.on_failure for step in workflow.steps if step.on_failure}
    unknown = False
    for step in workflow.steps:
        if step.id in handlers or any(p not in ending.steps for p in step.depends_on):
            continue
        try:
            _play_step(workflow, step, steps, run_input, answer, ending)
        except Unknown:  # another step may still fail the run without this one
            unknown = True
    if "failed" in ending.steps.values():
        ending.status = "failed"
    elif unknown:
        raise Unknown
    else:
        ending.output = _output(workflow, handlers, run_input, ending)
    return ending


def _play_step(
    workflow: Workflow,
    step: Step,
    steps: dict[str, Step],
    run_input: Any,
    answer: Answer,
    ending: Ending,
) -> None:
    if any(ending.steps[p] == "failed" for p in step.depends_on):
        return
    if any(ending.steps[p] == "mended" or p in ending.bypassed for p in step.depends_on):
        ending.steps[step.id] = "skipped"
        ending.bypassed.add(step.id)
        return
    values = {"": run_input, **ending.values}
    if (step.skip_if and _true(step.skip_if, values)) or (
        step.when and not _true(step.when, values)
    ):
        ending.steps[step.id] = "skipped"
        return
    try:
        _input(step, values)
        value = _work(workflow, step, answer)
    except Missing:
        _mend(workflow, step, steps, answer, ending)
        return
    ending.steps[step.id] = "done"
    ending.values[step.id] = value


def _mend(
    workflow: Workflow, step: Step, steps: dict[str, Step], answer: Answer, ending: Ending
) -> None:
    ending.steps[step.id] = "failed"
    handler = step.on_failure
    if not handler or handler in ending.steps:  # one handler makes up for one failure
        return
    try:
        ending.values[handler] = _work(workflow, steps[handler], answer)
    except Missing:
        ending.steps[handler] = "failed"
        return
    ending.steps[handler] = "done"
    ending.steps[step.id] = "mended"


def _work(workflow: Workflow, step: Step, answer: Answer) -> Any:
    """What a step gives in the end; ``Missing`` when it is given up."""
    policy = step.retry or workflow.default_retry
    for turn in range(step.loop.max_iterations if step.loop else 1):
        for attempt in range(1, (policy.attempts if policy else 1) + 1):
            got = answer(f"{step.id}/{attempt}/{turn}")
            if got is None:
                raise Unknown
            if isinstance(got, StepSucceeded):
                return msgspec.json.decode(got.output)
            if isinstance(got, StepContinued):
                break
            if got.failure == "non_retriable":
                raise Missing
        else:
            raise Missing
    raise Missing


def _true(condition: Condition, values: dict[str, Any]) -> bool:
    value = values.get(condition.step)
    if not isinstance(value, dict) or condition.field not in value:
        return False
    return COMPARE[condition.op](value[condition.field], condition.value)


def _input(step: Step, values: dict[str, Any]) -> Any:
    if step.input is not None:
        return _render(step.input, values)
    if not step.depends_on:
        return values[""]
    if len(step.depends_on) == 1:
        return values.get(step.depends_on[0])
    return {name: values.get(name) for name in step.depends_on}


def _render(template: Any, values: dict[str, Any]) -> Any:
    if not isinstance(template, dict):
        return template
    if "$input" in template or "$step" in template:
        value = values.get(template.get("$step", ""))
        path = template.get("$input", template.get("path", ""))
        if not path:
            return value
        if not isinstance(value, dict) or path not in value:
            raise Missing
        return value[path]
    return {key: _render(part, values) for key, part in template.items()}


def input_of(workflow: Workflow, step: str, run_input: Any, values: dict[str, Any]) -> Any:
    """What a step must have been given; ``Missing`` when that cannot be said."""
    found = next(each for each in workflow.steps if each.id == step)
    failing = [each.id for each in workflow.steps if each.on_failure == step]
    if failing:
        if len(failing) > 1:
            raise Missing
        return {"failed_step": failing[0]}
    return _input(found, {"": run_input, **values})


def _output(workflow: Workflow, handlers: set[str], run_input: Any, ending: Ending) -> Any:
    values = {"": run_input, **ending.values}
    if workflow.output is not None:
        return _render(workflow.output, values)
    needed = {name for step in workflow.steps for name in step.depends_on}
    last = [s for s in workflow.steps if s.id not in needed and s.id not in handlers]
    given = {
        step.id: values.get(step.on_failure if ending.steps[step.id] == "mended" else step.id)
        for step in last
        if len(last) == 1 or ending.steps[step.id] != "skipped"
    }
    return given[last[0].id] if len(last) == 1 else given
