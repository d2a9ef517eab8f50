"""The fluent builder: the same definitions as decorators and files make, step by step.

review = (
    WorkflowBuilder("review", timeout="1h")
    .task("fetch", task="fetch", timeout="30s")
    .agent_loop("think", task="reviewer", after=["fetch"], max_iterations=20)
    .build()
)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagnats.core.durations import Duration
from dagnats.core.model import Condition, LoopConfig, Step, Sticky, Workflow
from dagnats.core.validate import problems_of
from dagnats.errors import DefinitionError
from dagnats.options import milliseconds, refuse_unknown
from dagnats.outcome import Retry
from dagnats.task import Task
from dagnats.workflow import policy_of

_STEP_OPTIONS = (
    "task", "after", "input", "timeout", "retry", "skip_if", "when", "on_failure", "group", "metadata",
    "singleton",
)  # fmt: skip


def condition(step: str, field: str, op: Any, value: Any) -> Condition:
    """A comparison for ``skip_if`` and ``when``: ``condition("draft", "score", ">", 3)``."""
    return Condition(step, field, op, value)


def _names(after: str | Sequence[str] | None) -> tuple[str, ...]:
    return (after,) if isinstance(after, str) else tuple(after or ())


class WorkflowBuilder:
    """Collects steps; ``build`` checks them all together.

    Args:
        name: The workflow's name.
        timeout: Of a whole run.
        version: For people.
        retry: For steps that have none.
        idempotency_key: A path into the input whose value names the run.
        sticky: ``"soft"`` or ``"hard"``: a run's steps on one worker, if it has room or whatever happens.
        input_schema: JSON Schema that inputs are checked against at the caller.
    """

    def __init__(
        self, name: str, *, timeout: Duration | None = None, version: str = "1", retry: Retry | int | None = None,
        idempotency_key: str = "", sticky: Sticky = "", input_schema: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._name = name
        self._timeout_ms = milliseconds(f"workflow {name}: timeout", timeout)
        self._version = version
        self._retry = policy_of(retry, f"workflow {name}") if retry is not None else None
        self._idempotency_key = idempotency_key
        self._sticky: Sticky = sticky
        self._input_schema = dict(input_schema) if input_schema is not None else None
        self._output: Any = None
        self._steps: list[Step] = []

    def task(self, step_id: str, **options: Any) -> WorkflowBuilder:
        """Add a step that runs a task once.

        Args:
            step_id: Its id in the workflow.
            **options: ``task`` (a name, or a ``Task`` with the options of its decorator, which those
                given here win over; default: the step's id), ``after`` (ids of steps),
                ``input`` (a template), ``timeout``, ``retry``, ``skip_if``, ``when``, ``on_failure`` (a step's
                id), ``group``, ``metadata``, ``singleton`` (a hint: what counts is the task's own).

        Raises:
            UnknownOption, DefinitionError.
        """
        return self._add(step_id, options, None)

    def agent_loop(
        self, step_id: str, *, max_iterations: int, max_duration: Duration | None = None,
        loop_delay: Duration | None = None, **options: Any,
    ) -> WorkflowBuilder:  # fmt: skip
        """Add an agent loop; other options as for ``task``."""
        where = f"step {step_id}"
        loop = LoopConfig(
            max_iterations=max_iterations,
            max_duration_ms=milliseconds(f"{where}: max_duration", max_duration),
            loop_delay_ms=milliseconds(f"{where}: loop_delay", loop_delay),
        )
        return self._add(step_id, options, loop)

    def _add(
        self, step_id: str, options: dict[str, Any], loop: LoopConfig | None
    ) -> WorkflowBuilder:
        where = f"step {step_id}"
        refuse_unknown(
            where, {k: v for k, v in options.items() if k not in _STEP_OPTIONS}, _STEP_OPTIONS
        )
        task = options.get("task") or step_id
        given: dict[str, Any] = {"depends_on": _names(options.get("after"))}
        for key in ("group", "input", "skip_if", "when", "on_failure", "singleton"):
            if options.get(key) is not None:
                given[key] = options[key]
        if options.get("timeout") is not None:
            given["timeout_ms"] = milliseconds(f"{where}: timeout", options["timeout"])
        if options.get("retry") is not None:
            given["retry"] = policy_of(options["retry"], where)
        if options.get("metadata") is not None:
            given["metadata"] = dict(options["metadata"])
        if loop:
            given |= {"kind": "agent_loop", "loop": loop}
        # A function brings the options of its decorator; a name stands for code that is not here.
        known = isinstance(task, Task)
        step = task.step(step_id, **given) if known else Step(id=step_id, task=task, **given)
        self._steps.append(step)
        return self

    def output(self, template: Any) -> WorkflowBuilder:
        """What a completed run gives back, as a template; default: the last steps' outputs."""
        self._output = template
        return self

    def build(self) -> Workflow:
        """The definition.

        Raises:
            DefinitionError: with every problem it has.
        """
        workflow = Workflow(
            name=self._name, version=self._version, steps=tuple(self._steps), timeout_ms=self._timeout_ms,
            default_retry=self._retry, idempotency_key=self._idempotency_key, output=self._output,
            input_schema=self._input_schema, sticky=self._sticky,
        )  # fmt: skip
        problems = problems_of(workflow)
        if problems:
            text = "\n  ".join(str(problem) for problem in problems)
            raise DefinitionError(f"workflow {self._name} cannot run:\n  {text}", problems=problems)
        return workflow
