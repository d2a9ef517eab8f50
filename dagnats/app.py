"""The app: where tasks and workflows are registered. Nothing happens at import but that."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, Never, ParamSpec, Self, TypeVar, overload

from dagnats.background import Background
from dagnats.budgets import Budget, run_budgets
from dagnats.client import Client
from dagnats.configs import CancelOn, loop_config, planner_config, watches
from dagnats.context import Context
from dagnats.core.durations import Duration
from dagnats.core.model import LoopConfig, PlannerConfig, Sticky, Workflow
from dagnats.decorators import LoopDecorator, PlannerDecorator, TaskDecorator
from dagnats.errors import DefinitionError, DuplicateName
from dagnats.flow_control import (
    AtOnce,
    PerTime,
    Priority,
    Singleton,
    priority_rules,
    run_limits,
    task_limits,
)
from dagnats.jetstream.outside import JetStream
from dagnats.limits import PLAN_STEPS_MAX
from dagnats.options import (
    capabilities_of,
    isolation_of,
    milliseconds,
    policy_of,
    refuse_unknown,
    whole_number,
)
from dagnats.outcome import Retry
from dagnats.settings import load_settings
from dagnats.task import Task, TaskOptions
from dagnats.triggering import Triggering
from dagnats.workflow import Flow

P = ParamSpec("P")
R = TypeVar("R")

_LIMIT_OPTIONS = ("concurrency", "rate", "key")
_TASK_OPTIONS = (
    *("name", "retry", "timeout", "group", "metadata", "singleton", "capabilities", "isolate"),
    *_LIMIT_OPTIONS,
)
_LOOP_OPTIONS = (*_TASK_OPTIONS, "max_iterations", "max_duration", "loop_delay", "budget")
_PLANNER_OPTIONS = (
    *(name for name in _TASK_OPTIONS if name != "singleton"),
    *("allowed_tasks", "max_steps", "max_depth", "preview"),
)
_SCHEMA_OPTIONS = ("input_schema", "output_schema")
_WORKFLOW_OPTIONS = (
    "name", "timeout", "version", "retry", "idempotency_key", "cancel_on", "sticky", "max_runs", "max_steps",
    "rate", "key", "singleton", "priority", "budget", "gate", *_SCHEMA_OPTIONS,
)  # fmt: skip


class App(Triggering):
    """A registry of tasks and workflows. ``url`` is where NATS is; by default the setting ``url``."""

    def __init__(self, name: str, *, url: str = "") -> None:
        if not name:
            raise DefinitionError('an app needs a name: App("shop")')
        super().__init__()
        self.name = name
        self.url = url
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.flows: dict[str, Flow[Any, Any]] = {}
        self.definitions: dict[str, Workflow] = {}
        self._clients: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Future[Client]
        ] = weakref.WeakKeyDictionary()
        self._background: Background | None = None

    def __repr__(self) -> str:
        return f"<app {self.name}: {len(self.tasks)} tasks, {len(self.workflows())} workflows>"

    # -- registering -------------------------------------------------------------------------------

    @overload
    def task(
        self, function: Callable[Concatenate[Context[Any], P], Awaitable[R]], /
    ) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[Concatenate[Context[Any], P], R], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self, *, name: str = "", retry: Retry | int | None = None, timeout: Duration | None = None,
        group: str = "", metadata: Mapping[str, str] | None = None, singleton: bool = False,
        capabilities: Sequence[str] = (), isolate: str = "",
        concurrency: AtOnce | None = None, rate: PerTime | None = None, key: str = "",
    ) -> TaskDecorator: ...  # fmt: skip

    def task(self, function: Any = None, **options: Any) -> Any:
        """Register a function as a task; with or without options.

        Args:
            function: The handler: ``async def``, or plain ``def``, which runs in a thread.
            **options: ``name`` (default: the function's), ``retry`` (a ``Retry`` or a number of executions;
                default: none), ``timeout`` of one execution (default: none), ``group`` of workers, ``metadata``,
                ``singleton``: one execution at a time, over all workers; ``capabilities``:
                ``["control-plane"]``, where the deployment's policy grants it; ``concurrency``: how many tickets
                are out at once, over all runs (a number, a ``Concurrency``, or several); ``rate``: how many in a
                time (``"10/s"``, a ``Rate``, or several); ``key``: a path into the input, for each of whose values
                a plain number or rate holds; ``isolate="process"``: the handler runs in a process of its own.

        Raises:
            UnknownOption, DuplicateName, DefinitionError.
        """
        refuse_unknown(
            "@app.task", {k: v for k, v in options.items() if k not in _TASK_OPTIONS}, _TASK_OPTIONS
        )
        if function is not None:
            return _registered(self, function, options, None)
        return lambda decorated: _registered(self, decorated, options, None)

    def agent_loop(
        self, *_bare: Never, max_iterations: int, max_duration: Duration | None = None,
        loop_delay: Duration | None = None, budget: Budget | None = None,
        name: str = "", retry: Retry | int | None = None, timeout: Duration | None = None,
        group: str = "", metadata: Mapping[str, str] | None = None, singleton: bool = False,
        capabilities: Sequence[str] = (), isolate: str = "",
        concurrency: AtOnce | None = None, rate: PerTime | None = None, key: str = "",
        **unknown: Any,
    ) -> LoopDecorator:  # fmt: skip
        """Register a function that runs again and again until it returns a value instead of ``Continue``.

        Args:
            max_iterations: Executions at the most; one more ``Continue`` fails the step.
            max_duration: For the whole loop, from its first dispatch.
            loop_delay: Pause between iterations.
            budget: What the loop may use in each run: ``Budget(usd=2, tokens=200_000)``.
            name: As for a task, like ``retry`` (for each iteration), ``timeout`` (of one execution),
                ``group``, ``metadata``, ``capabilities``, ``isolate``, ``singleton`` (one iteration at a time; runs may
                take turns), ``concurrency``, ``rate`` and ``key`` (each iteration is a ticket).
            retry: See ``name``.
            timeout: See ``name``.
            group: See ``name``.
            metadata: See ``name``.
            singleton: See ``name``.
            capabilities: See ``name``.
            isolate: See ``name``.
            concurrency: See ``name``.
            rate: See ``name``.
            key: See ``name``.
            *_bare: Nothing: ``@app.agent_loop`` alone would be a loop without a bound.
            **unknown: Refused, with a guess at what was meant.

        Raises:
            UnknownOption, DuplicateName, DefinitionError.
        """
        refuse_unknown("@app.agent_loop", unknown, _LOOP_OPTIONS)
        loop = loop_config("@app.agent_loop", max_iterations, max_duration, loop_delay, budget)
        options = {
            "name": name, "retry": retry, "timeout": timeout, "group": group, "metadata": metadata,
            "singleton": singleton, "capabilities": capabilities, "isolate": isolate,
            "concurrency": concurrency, "rate": rate, "key": key,
        }  # fmt: skip
        decorate: Any = lambda decorated: _registered(self, decorated, options, loop)  # noqa: E731
        return decorate

    def planner(
        self, *_bare: Never, allowed_tasks: Sequence[Task[Any, Any] | str] = (), max_steps: int = PLAN_STEPS_MAX,
        max_depth: int = 0, preview: bool | Mapping[str, Any] = False,
        name: str = "", retry: Retry | int | None = None, timeout: Duration | None = None,
        group: str = "", metadata: Mapping[str, str] | None = None, capabilities: Sequence[str] = (), isolate: str = "",
        **unknown: Any,
    ) -> PlannerDecorator:  # fmt: skip
        """Register a function that answers with a plan, whose steps then run; its output is theirs.

        Args:
            allowed_tasks: What a plan may use: tasks, which bring along their options and the schemas of their
                inputs, or names; default: any task.
            max_steps: Of one plan; at most 100.
            max_depth: Of the longest chain in a plan; default: any.
            preview: People look at each plan before it is carried out; True, or what ``approval`` takes:
                ``{"timeout": "1h", "quorum": 2}``.
            name: As for a task, like ``retry`` (an invalid plan is a failed attempt), ``timeout``, ``group``,
                ``metadata``, ``capabilities`` and ``isolate``.
            retry: See ``name``.
            timeout: See ``name``.
            group: See ``name``.
            metadata: See ``name``.
            capabilities: See ``name``.
            isolate: See ``name``.
            *_bare: Nothing: write ``@app.planner()``.
            **unknown: Refused, with a guess at what was meant.

        Raises:
            UnknownOption, DuplicateName, DefinitionError.
        """
        refuse_unknown("@app.planner", unknown, _PLANNER_OPTIONS)
        config = planner_config(
            "@app.planner", allowed_tasks=allowed_tasks, max_steps=max_steps, max_depth=max_depth, preview=preview
        )  # fmt: skip
        options = {
            "name": name, "retry": retry, "timeout": timeout, "group": group, "metadata": metadata,
            "capabilities": capabilities, "isolate": isolate,
        }  # fmt: skip
        decorate: Any = lambda decorated: _registered(self, decorated, options, config)  # noqa: E731
        return decorate

    @overload
    def workflow(self, function: Callable[P, R], /) -> Flow[P, R]: ...

    @overload
    def workflow(
        self, *, name: str = "", timeout: Duration | None = None, version: str = "1",
        retry: Retry | int | None = None, idempotency_key: str = "", cancel_on: Sequence[CancelOn] = ...,
        sticky: Sticky = "", max_runs: AtOnce | None = None, max_steps: int = 0, rate: PerTime | None = None,
        key: str = "", singleton: bool | Singleton = False, priority: Priority | None = None,
        budget: Budget | Sequence[Budget] | None = None, gate: str = "",
        input_schema: Mapping[str, Any] | None = ...,
        output_schema: Mapping[str, Any] | None = ...,
    ) -> Callable[[Callable[P, R]], Flow[P, R]]: ...  # fmt: skip

    def workflow(self, function: Any = None, **options: Any) -> Any:
        """Register a workflow by tracing a function: its calls of tasks become steps.

        Args:
            function: Runs once, now; its parameters stand for the run's input.
            **options: ``name``, ``timeout`` of a whole run, ``version``, ``retry`` for steps that have none,
                ``idempotency_key``: a path into the input whose value names the run; ``cancel_on``: events that cancel
                a run (``CancelOn``); ``sticky``: ``"soft"`` or ``"hard"``, to have a run's steps on one worker, if
                it has room or whatever happens; ``max_runs``: how many runs at once, others wait (a number, a
                ``Concurrency``, or several); ``rate``: how many begin in a time; ``singleton``: one at a time, and
                others are not let in (``"skip"``), or replace it (``"cancel-in-progress"``); ``key``: a path into the
                input, for each of whose values these hold; ``priority``: which go first (``Priority``);
                ``max_steps``: how many steps of a run are under way at once; ``budget``: what each run may use,
                or runs may together (``Budget``, or several); ``gate``: a name; the limits hold for the runs of all
                workflows that give the same one; ``input_schema`` and ``output_schema``: instead of those of the
                annotations; None for none.

        Raises:
            UnknownOption, DuplicateName, DefinitionError: with every problem of the workflow.
        """
        unknown = {k: v for k, v in options.items() if k not in _WORKFLOW_OPTIONS}
        refuse_unknown("@app.workflow", unknown, _WORKFLOW_OPTIONS)
        if function is not None:
            return self._add_flow(function, options)
        return lambda decorated: self._add_flow(decorated, options)

    def _add_flow(self, function: Callable[P, R], given: Mapping[str, Any]) -> Flow[P, R]:
        name = given.get("name") or function.__name__
        if name in self.flows or name in self.definitions:
            raise DuplicateName(
                f'app {self.name} has two workflows named "{name}"; give one of them name="…"'
            )
        retry = given.get("retry")
        budget, shared = run_budgets(f"workflow {name}", given.get("budget"))
        flow = Flow(
            self, function, name,
            timeout_ms=milliseconds(f"workflow {name}: timeout", given.get("timeout")),
            version=str(given.get("version") or "1"),
            retry=policy_of(retry, f"workflow {name}") if retry is not None else None,
            idempotency_key=given.get("idempotency_key") or "",
            cancel_on=watches(f"workflow {name}", given.get("cancel_on") or ()),
            sticky=given.get("sticky") or "",
            limits=(*run_limits(f"workflow {name}", given), *shared),
            gate=given.get("gate") or "",
            max_steps=whole_number(f"workflow {name}: max_steps", given.get("max_steps") or 0),
            priority=priority_rules(f"workflow {name}", given.get("priority")),
            budget=budget,
            schemas_given={key: given[key] for key in _SCHEMA_OPTIONS if key in given},
        )  # fmt: skip
        self.flows[name] = flow
        return flow

    def add(self, workflow: Workflow) -> Workflow:
        """Register a definition made with the builder or read from a file.

        Raises:
            DuplicateName.
        """
        if workflow.name in self.flows or workflow.name in self.definitions:
            raise DuplicateName(f'app {self.name} has two workflows named "{workflow.name}"')
        self.definitions[workflow.name] = workflow
        return workflow

    def workflows(self) -> dict[str, Workflow]:
        """Every definition of this app by name: traced, built, and one for each task on its own."""
        alone = {name: task.definition() for name, task in self.tasks.items()}
        traced = {name: flow.definition() for name, flow in self.flows.items()}
        return {**alone, **self.definitions, **traced}

    # -- connecting --------------------------------------------------------------------------------

    async def client(self) -> Client:
        """The client of this event loop; the first call connects.

        Raises:
            BrokerUnavailable, BrokerUnsuitable.
        """
        loop = asyncio.get_running_loop()
        opening = self._clients.get(loop)
        if opening is None:
            opening = self._clients[loop] = asyncio.ensure_future(self._open())
        try:
            return await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._clients.get(loop) is opening:
                del self._clients[loop]
            raise

    async def _open(self) -> Client:
        settings = load_settings(url=self.url)
        name, access = f"{self.name}-client", settings.access
        return Client(await JetStream.open(settings.url, name=name, ensure=False, access=access))

    async def close(self) -> None:
        """Close this event loop's connection; the next use opens another."""
        opening = self._clients.pop(asyncio.get_running_loop(), None)
        if opening is not None:
            await (await opening).close()

    async def __aenter__(self) -> Self:
        await self.client()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def run_sync(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run async work from plain code, on one background loop of this app, and wait for it."""
        if self._background is None or self._background.pid != os.getpid():
            # A fork takes no threads along: the loop of the parent would never answer here.
            self._background = Background()
        return self._background.run(work)


def _registered(
    app: App, function: Callable[..., Any], given: Mapping[str, Any], config: LoopConfig | PlannerConfig | None
) -> Task[..., Any]:  # fmt: skip
    """A function as a task of an app."""
    if not callable(function):
        raise DefinitionError(
            f"{function!r} is not a function; options are keywords: @app.task(timeout='30s')"
        )
    name = given.get("name") or getattr(function, "__name__", "")
    where = f"task {name}"
    retry = given.get("retry")
    options = TaskOptions(
        retry=policy_of(retry, where) if retry is not None else None,
        retry_on=retry.on if isinstance(retry, Retry) else (),
        timeout_ms=milliseconds(f"{where}: timeout", given.get("timeout")),
        group=given.get("group") or "",
        metadata=given.get("metadata"),
        config=config,
        singleton=_flag(f"{where}: singleton", given.get("singleton")),
        capabilities=capabilities_of(given.get("capabilities") or (), where),
        limits=task_limits(where, given),
        isolate=isolation_of(given.get("isolate"), where),
    )
    task: Task[..., Any] = Task(app, function, name, options)
    if name in app.tasks:
        raise DuplicateName(
            f'app {app.name} has two tasks named "{name}"; give one of them name="…"'
        )
    task.definition()
    app.tasks[name] = task
    return task


def _flag(where: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise DefinitionError(f"{where}={value!r}; write True or False")
    return bool(value)


@contextmanager
def connected(app: App, client: Client) -> Iterator[None]:
    """Have an app use a given client in this event loop, as tests do."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Client] = loop.create_future()
    opened.set_result(client)
    clients = app._clients  # noqa: SLF001  (one concept in two places: an app is at its limit of methods)
    before, clients[loop] = clients.get(loop), opened
    try:
        yield
    finally:
        del clients[loop]
        if before is not None:
            clients[loop] = before
