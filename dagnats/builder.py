"""The fluent builder: the same definitions as decorators and files make, step by step.

review = (
    WorkflowBuilder("review", timeout="1h")
    .task("fetch", task="fetch", timeout="30s")
    .agent_loop("think", task="reviewer", after=["fetch"], max_iterations=20)
    .build()
)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from dagnats import configs
from dagnats.budgets import Budget, run_budgets
from dagnats.core.durations import Duration
from dagnats.core.model import AGENT_GROUP, Condition, Config, PlannerConfig, Step, Sticky, Workflow
from dagnats.core.model import CancelOn as Watch
from dagnats.core.validate import problems_of
from dagnats.errors import DefinitionError
from dagnats.flow_control import (
    AtOnce,
    PerTime,
    Priority,
    Singleton,
    priority_rules,
    run_limits,
    task_limits,
)
from dagnats.options import (
    capabilities_of,
    milliseconds,
    policy_of,
    refuse_unknown,
    texts,
    whole_number,
)
from dagnats.outcome import Retry
from dagnats.task import Task

_PLACE_OPTIONS = ("after", "input", "skip_if", "when", "on_failure")
_RUN_OPTIONS = ("timeout", "retry", "compensate", "group", "metadata", "singleton", "capabilities")
_LIMIT_OPTIONS = ("concurrency", "rate", "key")
_TASK_OPTIONS = ("task", *_PLACE_OPTIONS, *_RUN_OPTIONS, *_LIMIT_OPTIONS)
_CHILD_OPTIONS = (*_PLACE_OPTIONS, "timeout", "retry", "compensate", "metadata")


def condition(step: str, field: str, op: Any, value: Any) -> Condition:
    """A comparison for ``skip_if`` and ``when``: ``condition("draft", "score", ">", 3)``."""
    return Condition(step, field, op, value)


def _names(after: str | Sequence[str] | None) -> tuple[str, ...]:
    return (after,) if isinstance(after, str) else tuple(after or ())


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """The settings of a kind, taken out of what was given."""
    return {name: options.pop(name) for name in names if name in options}


def _fields(where: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a step as fields of the model."""
    read: dict[str, Callable[[Any], Any]] = {
        "timeout": lambda value: milliseconds(f"{where}: timeout", value),
        "retry": lambda value: policy_of(value, where),
        "metadata": texts,
        "capabilities": lambda value: capabilities_of(value, where),
    }
    fields: dict[str, Any] = {"depends_on": _names(options.get("after"))}
    for key, value in options.items():
        if value is not None and key not in ("after", "task"):
            name = "timeout_ms" if key == "timeout" else key
            fields[name] = read[key](value) if key in read else value
    return fields


def _step_of(
    step_id: str, kind: str, config: Config | None, options: Mapping[str, Any],
    known: Sequence[str] = _TASK_OPTIONS,
) -> Step:  # fmt: skip
    where = f"step {step_id}"
    refuse_unknown(where, {k: v for k, v in options.items() if k not in known}, known)
    limits = task_limits(where, options)
    given = _fields(where, {k: v for k, v in options.items() if k not in _LIMIT_OPTIONS})
    given |= {"limits": limits} if limits else {}
    if kind != "task":
        given |= {"kind": kind, "config": config}
    task = options.get("task") or (step_id if "task" in known else "")
    # A function brings the options of its decorator; a name stands for code that is not here.
    decorated = isinstance(task, Task)
    return task.step(step_id, **given) if decorated else Step(id=step_id, task=task, **given)


class WorkflowBuilder:
    """Collects steps; ``build`` checks them all together.

    Args:
        name: The workflow's name.
        timeout: Of a whole run.
        version: For people.
        retry: For steps that have none.
        idempotency_key: A path into the input whose value names the run.
        sticky: ``"soft"`` or ``"hard"``: a run's steps on one worker, if it has room or whatever happens.
        max_runs: How many runs at once; like ``max_steps``, ``rate``, ``key``, ``singleton``, ``priority`` and
            ``gate`` as for ``@app.workflow``.
        max_steps: See ``max_runs``.
        rate: See ``max_runs``.
        key: See ``max_runs``.
        singleton: See ``max_runs``.
        priority: See ``max_runs``.
        budget: What each run may use: ``Budget(usd=2, tokens=200_000)``; or runs may together; or several.
        gate: See ``max_runs``.
        input_schema: JSON Schema that inputs are checked against, at the caller and at the start.
        output_schema: JSON Schema that the output is checked against when the run completes.
    """

    def __init__(
        self, name: str, *, timeout: Duration | None = None, version: str = "1", retry: Retry | int | None = None,
        idempotency_key: str = "", sticky: Sticky = "", input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None, max_runs: AtOnce | None = None, max_steps: int = 0,
        rate: PerTime | None = None, key: str = "", singleton: bool | Singleton = False,
        priority: Priority | None = None, budget: Budget | Sequence[Budget] | None = None, gate: str = "",
    ) -> None:  # fmt: skip
        where = f"workflow {name}"
        said = {"max_runs": max_runs, "rate": rate, "key": key, "singleton": singleton}
        self._budget, shared = run_budgets(where, budget)
        self._limits = (*run_limits(where, said), *shared)
        self._gate = gate
        self._max_steps = whole_number(f"{where}: max_steps", max_steps)
        self._priority = priority_rules(where, priority)
        self._name = name
        self._timeout_ms = milliseconds(f"workflow {name}: timeout", timeout)
        self._version = version
        self._retry = policy_of(retry, f"workflow {name}") if retry is not None else None
        self._idempotency_key = idempotency_key
        self._sticky: Sticky = sticky
        self._input_schema = dict(input_schema) if input_schema is not None else None
        self._output_schema = dict(output_schema) if output_schema is not None else None
        self._cancel_on: tuple[Watch, ...] = ()
        self._output: Any = None
        self._steps: list[Step] = []

    def task(self, step_id: str, **options: Any) -> Self:
        """Add a step that runs a task once.

        Args:
            step_id: Its id in the workflow.
            **options: ``task`` (a name, or a ``Task`` with the options of its decorator, which those
                given here win over; default: the step's id), ``after`` (ids of steps),
                ``input`` (a template), ``timeout``, ``retry``, ``skip_if``, ``when``, ``on_failure`` and
                ``compensate`` (ids of steps), ``group``, ``metadata``, ``singleton`` (a hint: what counts is
                the task's own), ``capabilities`` (``["control-plane"]``), ``concurrency``, ``rate`` and ``key`` as
                for ``@app.task``.

        Raises:
            UnknownOption, DefinitionError.
        """
        self._steps.append(_step_of(step_id, "task", None, options))
        return self

    def agent_loop(
        self, step_id: str, *, max_iterations: int, max_duration: Duration | None = None,
        loop_delay: Duration | None = None, budget: Budget | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """Add an agent loop; other options as for ``task``."""
        where = f"step {step_id}"
        config = configs.loop_config(where, max_iterations, max_duration, loop_delay, budget)
        self._steps.append(_step_of(step_id, "agent_loop", config, options))
        return self

    def planner(self, step_id: str, **options: Any) -> Self:
        """Add a planner: ``allowed_tasks``, ``max_steps``, ``max_depth``, ``preview``; others as for ``task``.

        Where ``task`` is a function decorated with ``@app.planner``, that says it all.
        """
        given = _taken(options, "allowed_tasks", "max_steps", "max_depth", "preview")
        task = options.get("task")
        decorated = task.options.config if isinstance(task, Task) else None
        config = configs.planner_config(f"step {step_id}", **given) if given else decorated
        self._steps.append(_step_of(step_id, "planner", config or PlannerConfig(), options))
        return self

    def map(self, step_id: str, **options: Any) -> Self:
        """Add a map: ``concurrency``, ``tolerate``, ``max_items``; others as for ``task``.

        It goes over the output of the one step it comes after, or over its ``input``.
        """
        given = _taken(options, "concurrency", "tolerate", "max_items")
        task = options.get("task")
        loop = task.options.loop if isinstance(task, Task) else None
        config = configs.map_config(f"step {step_id}", loop=loop, **given)
        self._steps.append(_step_of(step_id, "map", config, options))
        return self

    def agent(self, step_id: str, **options: Any) -> Self:
        """Add a step for an external agent runtime; options as for ``task``; group: ``agent``."""
        self._steps.append(_step_of(step_id, "agent", None, {"group": AGENT_GROUP, **options}))
        return self

    def approval(self, step_id: str, description: str = "", **options: Any) -> Self:
        """Add a question to people: ``timeout``, ``subject``, ``quorum``, ``form``, ``metadata``.

        Others say where it stands: ``after``, ``input`` (what people are shown), ``skip_if``, ``when``,
        ``on_failure``.
        """
        given = _taken(options, "timeout", "subject", "quorum", "form", "metadata")
        config = configs.question_config(f"step {step_id}", description=description, **given)
        self._steps.append(_step_of(step_id, "approval", config, options, _PLACE_OPTIONS))
        return self

    def sleep(
        self, step_id: str, duration: Duration | None = None, *, cron: str = "", tz: str = "", until: str = "",
        **options: Any,
    ) -> Self:  # fmt: skip
        """Add a sleep: for a while, to a cron expression's next match, until a time in the run's input."""
        where = f"step {step_id}"
        config = configs.sleep_config(where, duration, cron=cron, tz=tz, until=until)
        self._steps.append(_step_of(step_id, "sleep", config, options, _PLACE_OPTIONS))
        return self

    def wait_for_event(
        self, step_id: str, event: str, *, match: Mapping[str, Any] | None = None,
        timeout: Duration | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """Add a wait for an external event; ``match`` as in a file: ``{"order.id": "input.order_id"}``."""
        where = f"step {step_id}"
        found = configs.written_match(where, match)
        config = configs.event_config(where, event, found, timeout)
        self._steps.append(_step_of(step_id, "wait_for_event", config, options, _PLACE_OPTIONS))
        return self

    def wait_for_signal(
        self, step_id: str, name: str, *, timeout: Duration | None = None, **options: Any
    ) -> Self:
        """Add a wait for data that somebody sends to the run under a name."""
        config = configs.signal_config(f"step {step_id}", name, timeout)
        self._steps.append(_step_of(step_id, "wait_for_signal", config, options, _PLACE_OPTIONS))
        return self

    def sub_workflow(
        self, step_id: str, workflow: str, *, detach: bool = False, **options: Any
    ) -> Self:
        """Add a run of another workflow; options as for ``task``, without ``task`` and ``group``."""
        config = configs.child_config(workflow, detach=detach)
        self._steps.append(_step_of(step_id, "sub_workflow", config, options, _CHILD_OPTIONS))
        return self

    def respond(self, step_id: str, **options: Any) -> Self:
        """Add an answer to the run's caller: ``status``, ``headers``, ``content_type``, ``body_from``.

        The body is the step's ``input``, or the part of it that ``body_from`` names.
        """
        given = _taken(options, "status", "headers", "content_type", "body_from")
        config = configs.respond_config(f"step {step_id}", **given)
        self._steps.append(_step_of(step_id, "respond", config, options, _PLACE_OPTIONS))
        return self

    def cancel_on(
        self, event: str, *, match: Mapping[str, Any] | None = None, timeout: Duration | None = None
    ) -> Self:
        """Let an external event cancel the run; see ``CancelOn``. At most five."""
        watch = configs.CancelOn(event, match=match, timeout=timeout).watch
        self._cancel_on = (*self._cancel_on, watch)
        return self

    def output(self, template: Any) -> Self:
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
            cancel_on=self._cancel_on, sticky=self._sticky, limits=self._limits, max_steps=self._max_steps,
            priority=self._priority, budget=self._budget, gate=self._gate,
            input_schema=self._input_schema, output_schema=self._output_schema,
        )  # fmt: skip
        problems = problems_of(workflow)
        if problems:
            text = "\n  ".join(str(problem) for problem in problems)
            raise DefinitionError(f"workflow {self._name} cannot run:\n  {text}", problems=problems)
        return workflow
