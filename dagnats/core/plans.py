"""Plans: what a planner proposes, checked as a whole before anything of it exists.

A plan is ``{"steps": […]}`` in the form of a workflow file. Its steps may name each other, and nobody
else. What an allowed task's own decorator says (retries, time limits) holds where the plan says nothing. In
the run, ids are prefixed by the planner's: two planners never collide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.definition import read_step
from dagnats.core.model import Condition, PlannerConfig, Problem, Step, Workflow
from dagnats.core.reader import Reader
from dagnats.core.schemas import schema_violation
from dagnats.core.templates import hole, holes, renamed
from dagnats.core.validate import problems_of
from dagnats.limits import PLANNED_PER_RUN_MAX

_PROBLEMS_TOLD_MAX: Final = 20
_FIXED: Final = ("on_failure", "compensate", "config", "loop", "type", "required_capabilities")


def read_plan(
    planner: Step, config: PlannerConfig, plan: Raw, planned: int
) -> tuple[tuple[Step, ...], str]:
    """A plan's steps as they will be in the run; or everything that is wrong with it, as one text.

    ``planned`` is how many steps the run's planners have added already.
    """
    reader = Reader()
    local = _local_steps(reader, config, plan)
    found = [*reader.problems, *_problems(local, config, planned)]
    if local and not reader.problems:
        found += [
            problem
            for problem in problems_of(Workflow(name=planner.id, steps=local))
            if not problem.where.startswith("workflow.name")
        ]
    if found:
        told = [f"- {problem}" for problem in found[:_PROBLEMS_TOLD_MAX]]
        if len(found) > len(told):
            told.append(f"- and {len(found) - len(told)} more")
        return (), "\n".join((f"the plan has {len(found)} problem(s):", *told))
    return tuple(_prefixed(step, planner.id) for step in local), ""


def _local_steps(reader: Reader, config: PlannerConfig, plan: Raw) -> tuple[Step, ...]:
    cure = 'answer {"steps": [{"id": "a", "task": "…", "input": {…}, "depends_on": []}]}'
    try:
        written = msgspec.json.decode(plan)
    except (msgspec.DecodeError, RecursionError) as error:
        reader.problem("plan", f"it is no JSON: {error}", cure)
        return ()
    data = reader.members("plan", written, "it is no object", cure)
    if data is None:
        return ()
    reader.keys("plan", data, ("steps",))
    if not isinstance(data.get("steps"), list):
        reader.problem("plan.steps", "they are missing, or no array", cure)
        return ()
    return tuple(
        _local_step(reader, config, number, raw) for number, raw in enumerate(data["steps"])
    )


def _local_step(reader: Reader, config: PlannerConfig, number: int, raw: object) -> Step:
    """One step of the plan, on top of what its task's decorator says."""
    if not isinstance(raw, dict):
        return read_step(reader, number, raw, legacy=True)
    given = cast("dict[str, Any]", raw)
    for key in _FIXED:
        if given.get(key) not in (None, "normal", "task"):
            where = f"plan.steps[{number}]"
            reader.problem(where, f'a plan\'s step has no "{key}"', "remove it")
    task = given.get("task")
    usual: dict[str, Any] = config.tasks.get(task, {}) if isinstance(task, str) else {}
    kept = {key: value for key, value in given.items() if key not in _FIXED}
    return read_step(reader, number, {**usual, **kept}, legacy=True)


def _problems(steps: tuple[Step, ...], config: PlannerConfig, planned: int) -> Iterator[Problem]:
    if len(steps) > config.max_steps:
        yield Problem("plan.steps", f"{len(steps)} steps", f"plan at most {config.max_steps}")
    if planned + len(steps) > PLANNED_PER_RUN_MAX:
        left = max(0, PLANNED_PER_RUN_MAX - planned)
        what = f"with these, planners would have added {planned + len(steps)} steps to this run"
        yield Problem("plan.steps", what, f"at most {left} more are possible")
    depth = _depth(steps)
    if config.max_depth and depth > config.max_depth:
        what = f"its longest chain has {depth} steps"
        yield Problem("plan.steps", what, f"plan chains of at most {config.max_depth}")
    for step in steps:
        where = f'step "{step.id}"'
        if config.allowed_tasks and step.task not in config.allowed_tasks:
            cure = f"use one of {', '.join(config.allowed_tasks)}"
            yield Problem(where, f'task "{step.task}" is not allowed in this plan', cure)
        yield from _input_problems(where, step, config)


def _input_problems(where: str, step: Step, config: PlannerConfig) -> Iterator[Problem]:
    """A literal input is checked against its task's schema now; one with references when it runs."""
    schema = config.schemas.get(step.task)
    if schema is None or step.input is None:
        return
    try:
        if hole(step.input) is not None or any(True for _ in holes(step.input)):
            return
    except ValueError:
        return  # told among the problems of its template
    violation = schema_violation(schema, Raw(msgspec.json.encode(step.input)))
    if violation:
        yield Problem(f"{where}.input", violation, f'give task "{step.task}" what it takes')


def _depth(steps: tuple[Step, ...]) -> int:
    """The length of the longest chain; 0 when there is a cycle, which is told by itself."""
    known = {step.id: step for step in steps}
    depths: dict[str, int] = {}
    left = list(steps)
    while left:
        later = [s for s in left if any(n in known and n not in depths for n in s.depends_on)]
        if len(later) == len(left):
            return 0
        for step in left:
            if step not in later:
                parents = [depths[name] for name in step.depends_on if name in depths]
                depths[step.id] = 1 + max(parents, default=0)
        left = later
    return max(depths.values(), default=0)


def _prefixed(step: Step, planner: str) -> Step:
    def name(local: str) -> str:
        return f"{planner}.{local}"

    def condition(written: Condition | None) -> Condition | None:
        return replace(written, step=name(written.step)) if written and written.step else written

    return replace(
        step,
        id=name(step.id),
        depends_on=tuple(name(local) for local in step.depends_on),
        input=renamed(step.input, name),
        skip_if=condition(step.skip_if),
        when=condition(step.when),
    )
