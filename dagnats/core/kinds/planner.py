"""A planner: a handler that answers with a plan, whose steps then run as if they had been declared.

The plan is checked as a whole (``core.plans``) before anything is added; an invalid one is a failed attempt,
and the next attempt is told every problem. The planner is done when all of its steps are; its output is
that of the plan's last step, or an object of several. With a ``preview`` people look at each plan first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.attempts import (
    after_error,
    after_failure,
    again,
    begun,
    call_settled,
    dispatches,
    wrong_answer,
)
from dagnats.core.commands import AskApproval, Command
from dagnats.core.events import (
    ApprovalDecided,
    Outcome,
    StepContinued,
    StepFailed,
    StepPlanned,
    StepSucceeded,
)
from dagnats.core.inputs import NULL
from dagnats.core.model import ABSENT, ApprovalConfig, PlannerConfig, Problem, Step
from dagnats.core.problems import count_problems, name_problems
from dagnats.core.questions import (
    QUESTION_KEYS,
    asked,
    expired,
    judged,
    question_problems,
    read_question,
    write_question,
)
from dagnats.core.reader import Reader
from dagnats.core.schemas import schema_problem
from dagnats.core.scope import Growth, Next, Scope, completed, failed, waiting
from dagnats.core.state import FAILED, SKIPPED, WAITING, Owned, StepError, StepState
from dagnats.limits import PLAN_DEPTH_MAX, PLAN_STEPS_MAX

CONFIG_KEYS: Final = ("max_steps", "max_depth", "allowed_tasks", "tasks", "schemas", "preview")
NEEDS_TASK: Final = True

enter = begun


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> PlannerConfig:
    """What a plan may hold."""
    return PlannerConfig(
        max_steps=reader.get(where, settings, "max_steps", int, PLAN_STEPS_MAX),
        max_depth=reader.get(where, settings, "max_depth", int, 0),
        allowed_tasks=reader.strings(where, settings, "allowed_tasks"),
        tasks=_objects(reader, where, settings, "tasks"),
        schemas=_objects(reader, where, settings, "schemas"),
        preview=_read_preview(reader, where, settings),
    )


def _objects(
    reader: Reader, where: str, settings: Mapping[str, Any], key: str
) -> dict[str, dict[str, Any]]:
    """The objects by name of an object's key; anything else in it is a problem."""
    found: dict[str, dict[str, Any]] = {}
    for name, written in reader.get(where, settings, key, dict, {}).items():
        cure = f'write {{"{name}": {{…}}}}'
        members = reader.members(f"{where}.{key}.{name}", written, "it is no object", cure)
        if members is not None:
            found[name] = members
    return found


def _read_preview(reader: Reader, where: str, settings: Mapping[str, Any]) -> ApprovalConfig | None:
    """The question, or just ``true``."""
    if settings.get("preview") in (None, False):
        return None
    given: dict[str, Any] = {}
    if settings["preview"] is not True:
        given = reader.get(where, settings, "preview", dict, given)
    reader.keys(f"{where}.preview", given, QUESTION_KEYS)
    return read_question(reader, f"{where}.preview", given)


def write(config: PlannerConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"max_steps": config.max_steps}
    if config.allowed_tasks:
        data["allowed_tasks"] = list(config.allowed_tasks)
    for key in ("max_depth", "tasks", "schemas"):
        if getattr(config, key):
            data[key] = getattr(config, key)
    if config.preview is not None:
        data["preview"] = write_question(config.preview)
    return data


def problems(where: str, step: Step) -> Iterator[Problem]:
    """Bounds, and names that can be tasks."""
    config, where = _config(step), f"{where}.config"
    yield from count_problems(f"{where}.max_steps", config.max_steps, 1, PLAN_STEPS_MAX)
    yield from count_problems(f"{where}.max_depth", config.max_depth, 0, PLAN_DEPTH_MAX)
    for name in config.allowed_tasks:
        yield from name_problems(f"{where}.allowed_tasks", name)
    for name, schema in config.schemas.items():
        problem = schema_problem(schema)
        if problem:
            yield Problem(f"{where}.schemas.{name}", problem, "correct the schema")
    if config.preview is not None:
        yield from question_problems(f"{where}.preview", config.preview)


# -- in runs ---------------------------------------------------------------------------------------


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """Anything but a plan (``on_plan``)."""
    if isinstance(fact, StepFailed):
        return after_failure(scope, fact)
    if isinstance(fact, StepContinued):
        return wrong_answer(scope, fact)
    kind = "a value" if isinstance(fact, StepSucceeded) else "something"
    return refused(scope, f"the planner answered {kind} that is no plan")


def refused(scope: Scope, reason: str) -> StepState:
    """The plan cannot be used: a failed attempt, whose reason the next one is told."""
    return after_error(scope, StepError(reason, "invalid_plan"))


def on_plan(scope: Scope, plan: Raw, steps: tuple[Step, ...]) -> Next:
    """A plan without a problem: carry it out, or have it looked at first."""
    preview = _config(scope.node.step).preview
    if preview is None:
        return accepted(scope, plan, steps)
    return asked(scope, preview, scope.state.attempt, output=plan)


def accepted(scope: Scope, plan: Raw, steps: tuple[Step, ...]) -> Next:
    """Its steps exist from now on."""
    if not steps:
        return completed(scope, Raw(b"{}"))
    assert scope.run.graph is not None  # noqa: S101  (a scope is of a step in a graph)
    owned = Owned(len(scope.run.graph.nodes), len(steps), started=len(steps))
    state = waiting(
        scope, owned=owned, output=plan, bound_ms=0, error=None, checkpoint=scope.state.checkpoint
    )
    return Growth(state, steps=steps)


def on_decision(scope: Scope, fact: ApprovalDecided) -> StepState | None:
    """Somebody looked at the plan; None when it is to be carried out."""
    preview = _config(scope.node.step).preview
    shown = scope.state.bound_ms and not scope.state.owned  # a plan, and not a call or a back-off
    verdict = judged(scope, preview, fact) if preview and shown else None
    if verdict is None:
        return scope.state
    if verdict.error is not None:
        reason = verdict.error.message.replace("approval rejected", "the plan was rejected")
        return _undecided(scope, StepError(reason, verdict.error.failure))
    return None if verdict.approved else verdict.state


def on_due(scope: Scope) -> StepState:
    """A back-off is over, or nobody looked at the plan in time."""
    if scope.state.due_ms:
        return again(scope)
    return _undecided(scope, expired())


def _undecided(scope: Scope, error: StepError) -> StepState:
    following = after_error(scope, error)
    return replace(following, bound_ms=0, output=ABSENT)


def on_owned(scope: Scope, position: int) -> StepState:
    """A step of the plan is done, or has failed for good; or a durable call of the handler is settled."""
    own = scope.state.owned
    if own is None or not own.first <= position < own.first + own.count:
        return call_settled(scope, position)
    step = scope.states[position]
    if step.status == FAILED:
        graph = scope.run.graph
        name = graph.nodes[position].step.id if graph else ""
        reason = step.error.message if step.error else "failed"
        error = StepError(
            f'step "{name}": {reason}', step.error.failure if step.error else "failed"
        )
        return failed(scope, error, cause=position)
    own = replace(own, done=own.done + 1)
    if own.done < own.count:
        return replace(scope.state, owned=own)
    return replace(completed(scope, _last_outputs(scope, own)), owned=own)


def _last_outputs(scope: Scope, own: Owned) -> Raw:
    """The plan's output: that of its one last step, or an object of several by their ids in the plan."""
    graph = scope.run.graph
    nodes = graph.nodes[own.first : own.first + own.count] if graph else ()
    last = [node for node in nodes if not node.children]
    if len(last) == 1:
        return scope.states[last[0].position].output or NULL
    prefix = len(scope.node.step.id) + 1
    outputs = {
        node.step.id[prefix:]: scope.states[node.position].output or NULL
        for node in last
        if scope.states[node.position].status != SKIPPED
    }
    return Raw(msgspec.json.encode(outputs))


def in_force(scope: Scope) -> tuple[Command, ...]:
    """Its ticket; or the question, while a plan is looked at."""
    state = scope.state
    if state.status == WAITING and state.bound_ms and not state.owned:
        return (AskApproval(scope.run.id, scope.ticket, scope.node.position),)
    return dispatches(scope)


def _config(step: Step) -> PlannerConfig:
    return step.config if isinstance(step.config, PlannerConfig) else PlannerConfig()
