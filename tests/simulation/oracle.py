"""How a run must end: a tiny interpreter of workflows, written without the engine.

It plays a workflow step by step, as if alone in the world, with what the run was told (``told``). What each kind of
step comes to stands in ``kinds``. It knows nothing of events, deadlines or cancellation; the checks say when it has
the last word.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from dagnats.core.model import Condition, Step, Workflow
from tests.simulation import kinds
from tests.simulation.told import Missing, Told, Unknown

COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


class Ending(Struct):
    """How steps ended (``done``, ``skipped``, ``mended`` or ``failed``) and what they gave."""

    steps: dict[str, str]
    values: dict[str, Any]
    bypassed: set[str]
    status: str = "completed"
    output: Any = None


class Oracle:
    """One run's. ``generated``: the parents of a plan's steps, and the plan."""

    def __init__(self, workflow: Workflow, run_input: Any, told: Told) -> None:
        self.workflow = workflow
        self.told = told
        self.ending = Ending({}, {"": run_input}, set())
        self.generated: dict[str, tuple[tuple[str, ...], Any]] = {}
        self._steps = {step.id: step for step in workflow.steps}
        self._failing: dict[str, list[str]] = {}
        for step in workflow.steps:
            if step.on_failure:
                self._failing.setdefault(step.on_failure, []).append(step.id)
        self._undoing = {step.compensate: step.id for step in workflow.steps if step.compensate}

    def play(self, *, out_of_time: bool = False) -> Ending:
        """The ending that all this leads to; ``out_of_time``: when the run's own time was over first.

        Raises:
            Unknown: something was not said on the way there.
        """
        ending, unknown = self.ending, False
        for step in self.workflow.steps:
            if step.id in self._failing or step.id in self._undoing:
                continue
            if any(parent not in ending.steps for parent in step.depends_on):
                continue
            try:
                self._play_step(step)
            except Unknown:  # another step may still fail the run without this one
                unknown = True
        if out_of_time or "failed" in ending.steps.values():
            ending.status = self._undo()
        elif unknown:
            raise Unknown
        else:
            ending.output = self._output()
        return ending

    def _play_step(self, step: Step) -> None:
        ending = self.ending
        if any(ending.steps[p] == "failed" for p in step.depends_on):
            return
        if any(ending.steps[p] == "mended" or p in ending.bypassed for p in step.depends_on):
            ending.steps[step.id] = "skipped"
            ending.bypassed.add(step.id)
            return
        if (step.skip_if and self._true(step.skip_if)) or (step.when and not self._true(step.when)):
            ending.steps[step.id] = "skipped"
            return
        try:
            self.given(step)
            value = kinds.KINDS[step.kind].play(self, step)
        except Missing:
            self._mend(step)
            return
        ending.steps[step.id] = "done"
        ending.values[step.id] = value

    def _mend(self, step: Step) -> None:
        ending, handler = self.ending, step.on_failure
        ending.steps[step.id] = "failed"
        if not handler or handler in ending.steps:  # one handler makes up for one failure
            return
        if self._run_aside(handler):
            ending.steps[step.id] = "mended"

    def _run_aside(self, name: str) -> bool:
        """Whether a step that stands by others is done."""
        try:
            self.ending.values[name] = kinds.handled(self, self._steps[name])
        except Missing:
            self.ending.steps[name] = "failed"
            return False
        self.ending.steps[name] = "done"
        return True

    def _undo(self) -> str:
        """A run that fails undoes what was done, last step first."""
        done = [
            step.compensate
            for step in reversed(self.workflow.steps)
            if step.compensate and self.ending.steps.get(step.id) == "done"
        ]
        if not done:
            return "failed"
        return "compensated" if all(map(self._run_aside, done)) else "compensate_failed"

    # -- for kinds ---------------------------------------------------------------------------------

    def attempts(self, step: Step, spent: int) -> Iterator[int]:
        """The attempts that a step has after those that are spent."""
        usual = self.workflow.default_retry
        return kinds.attempts(step, usual.attempts if usual else 1, spent)

    def given(self, step: Step) -> Any:
        """What a step is given; ``Missing`` when that is not there."""
        values = self.ending.values
        if step.input is not None:
            return self.render(step.input)
        if not step.depends_on:
            return values[""]
        if len(step.depends_on) == 1:
            return values.get(step.depends_on[0])
        return {name: values.get(name) for name in step.depends_on}

    def render(self, template: Any) -> Any:
        """A template with its holes filled."""
        if isinstance(template, list):
            return [self.render(part) for part in template]
        if not isinstance(template, dict):
            return template
        if "$input" in template or "$step" in template:
            value = self.ending.values.get(template.get("$step", ""))
            path = template.get("$input", template.get("path", ""))
            if not path:
                return value
            if not isinstance(value, dict) or path not in value:
                raise Missing
            return value[path]
        return {key: self.render(part) for key, part in template.items()}

    def _true(self, condition: Condition) -> bool:
        value = self.ending.values.get(condition.step)
        if not isinstance(value, dict) or condition.field not in value:
            return False
        return COMPARE[condition.op](value[condition.field], condition.value)

    # -- for checks --------------------------------------------------------------------------------

    def ticket_input(self, name: str) -> Any:
        """What the tickets of a step must have been given; ``Missing`` when that cannot be said."""
        values = self.ending.values
        owner, item, number = name.partition("#")
        if item:
            if "." in number:  # a durable call is given what its handler says
                raise Missing
            return self.given(self._steps[owner])[int(number)]
        if name in self.generated:
            parents, plan = self.generated[name]
            if not parents:
                return plan
            if self.ending.status != "completed" and any(up not in values for up in parents):
                raise Missing  # the run failed elsewhere before it was said what this one gave
            given = {up: values.get(up) for up in parents}
            return given[parents[0]] if len(parents) == 1 else given
        if name in self._undoing:
            step = self._undoing[name]
            return {"original_step": step, "original_output": values.get(step)}
        if name in self._failing:
            [failing, *others] = self._failing[name]
            if others:
                raise Missing
            return {"failed_step": failing}
        return self.given(self._steps[name])

    def _output(self) -> Any:
        if self.workflow.output is not None:
            return self.render(self.workflow.output)
        steps, values = self.ending.steps, self.ending.values
        needed = {name for step in self.workflow.steps for name in step.depends_on}
        aside = self._failing.keys() | self._undoing.keys()
        last = [s for s in self.workflow.steps if s.id not in needed and s.id not in aside]
        given = {
            step.id: values.get(step.on_failure if steps[step.id] == "mended" else step.id)
            for step in last
            if len(last) == 1 or steps[step.id] != "skipped"
        }
        return given[last[0].id] if len(last) == 1 else given
