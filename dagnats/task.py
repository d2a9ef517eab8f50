"""A task: a function that stays a function, and can also be started, or become a step of a workflow."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from msgspec.structs import replace

from dagnats import convert
from dagnats.budgets import Budget
from dagnats.client import Client, Handle
from dagnats.context import Context
from dagnats.core.model import Limit, LoopConfig, PlannerConfig, RetryPolicy, Step, Workflow
from dagnats.core.validate import name_problems, problems_of
from dagnats.errors import DefinitionError
from dagnats.outcome import Continue, ContinueAsNew, Plan
from dagnats.scheduled import When
from dagnats.schemas import Outputs, input_schema_of, schema_of

P = ParamSpec("P")
R = TypeVar("R")


class Home(Protocol):
    """What a task needs of its app: a connection, and a door for code that is not async."""

    async def client(self) -> Client:
        """The client of this event loop."""
        ...

    def run_sync(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run async work from plain code and wait for it."""
        ...


class Tracer(Protocol):
    """A workflow that is being traced: calls become steps."""

    def add(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add a step that calls a task; return a reference to its output."""
        ...

    def add_map(self, task: Task[Any, Any], items: Any, options: dict[str, Any]) -> Any:
        """Add a step that calls a task for each of several items; return a reference to the outputs."""
        ...


tracer: contextvars.ContextVar[Tracer | None] = contextvars.ContextVar(
    "dagnats_tracer", default=None
)


class TaskOptions:
    """What a decorator was given, checked."""

    __slots__ = (
        "capabilities", "config", "group", "isolate", "limits", "metadata", "retry", "retry_on", "singleton",
        "timeout_ms",
    )  # fmt: skip

    def __init__(
        self,
        *,
        retry: RetryPolicy | None = None,
        retry_on: tuple[type[BaseException], ...] = (),
        timeout_ms: int = 0,
        group: str = "",
        metadata: Mapping[str, str] | None = None,
        config: LoopConfig | PlannerConfig | None = None,
        singleton: bool = False,
        capabilities: tuple[str, ...] = (),
        limits: tuple[Limit, ...] = (),
        isolate: bool = False,
    ) -> None:
        self.retry = retry
        self.retry_on = retry_on
        self.timeout_ms = timeout_ms
        self.group = group
        self.metadata = dict(metadata or {})
        self.config = config
        self.singleton = singleton
        self.capabilities = capabilities
        self.limits = limits
        self.isolate = isolate

    @property
    def loop(self) -> LoopConfig | None:
        """The bounds of an agent loop; None for other kinds."""
        return self.config if isinstance(self.config, LoopConfig) else None


class Startable(Generic[P, R]):
    """What a task and a workflow have in common: a name, a signature, and being started."""

    fills_defaults = False  # whether a start writes down the defaults of what is left out

    def __init__(self, home: Home, name: str, signature: convert.Signature) -> None:
        self.name = name
        self.signature = signature
        self._home = home
        self._read: Callable[[Any], Any] | None = None

    @property
    def home(self) -> Home:
        """The app that it belongs to."""
        return self._home

    def definition(self) -> Workflow:
        """The workflow that a start runs."""
        raise NotImplementedError

    def returns(self) -> Any:
        """The type that results are read as."""
        return self.signature.returns

    async def start(
        self,
        *args: Any,
        id: str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        run_at: When | None = None,
        priority: int = 0,
        budget: Budget | None = None,
        **kwargs: Any,
    ) -> Handle[R]:
        """Start a run with these arguments; they are checked here, before anything is sent.

        With ``run_at`` it starts later: at a time with a zone, or so long from now ("2h"), up to 365 days.
        ``priority`` is by how many seconds it goes before others where runs wait (negative: after them).
        ``budget`` is what it may use, in place of what its workflow says.

        Raises:
            InvalidInput: the arguments do not fit.
            RunAlreadyStarted: a run with this ``id`` exists.
        """
        raw = self.signature.encode_call(args, kwargs, fill=self.fills_defaults)
        if self._read is None:
            self._read = convert.reader(self.returns())
        client = await self._home.client()
        return await client.start(
            self.definition(),
            raw,
            id=id,
            idempotency_key=idempotency_key,
            metadata=metadata,
            tags=tags,
            run_at=run_at,
            priority=priority,
            budget=budget,
            read=self._read,
        )

    def delay(self, *args: Any, **kwargs: Any) -> SyncHandle[R]:
        """Start a run from code that is not async; takes what ``start`` takes."""
        handle = self._home.run_sync(lambda: self.start(*args, **kwargs))
        return SyncHandle(self._home, handle)


class SyncHandle(Generic[R]):
    """A handle for code that is not async."""

    def __init__(self, home: Home, handle: Handle[R]) -> None:
        self.run_id = handle.run_id
        self._home = home
        self._handle = handle

    def result(self, timeout: float | None = None) -> R:
        """The output, once the run has completed; ``timeout`` in seconds.

        Raises:
            RunFailed, RunCancelled, ResultTimeout.
        """
        result: R = self._home.run_sync(lambda: self._handle.result(timeout))
        return result

    result_sync = result

    def cancel(self, reason: str = "") -> bool:
        """Ask for the run to be cancelled; False when it had ended already."""
        return self._home.run_sync(lambda: self._handle.cancel(reason))

    def status(self) -> Any:
        """The run as it is now."""
        return self._home.run_sync(self._handle.status)


class Task(Startable[P, R]):
    """A registered function. Calling it just calls it; in a traced workflow, calling it makes a step."""

    def __init__(
        self, home: Home, function: Callable[..., Any], name: str, options: TaskOptions
    ) -> None:
        for problem in name_problems(f"task {name!r}", name):
            raise DefinitionError(str(problem))
        super().__init__(
            home, name, convert.Signature(function, (Context,), (Continue, ContinueAsNew, Plan))
        )
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self._definition: Workflow | None = None
        self.is_async = inspect.iscoroutinefunction(function)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(
                f"{name}: a task returns one value; stream pieces with ctx.emit() instead of yield"
            )

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; while a workflow is traced, add a step instead.

        What that gives depends on where it is called (a value, a coroutine, a reference), and a
        context is passed only in plain calls: so the types here promise nothing.
        """
        tracing = tracer.get()
        if tracing is not None:
            return tracing.add(self, args, kwargs)
        return self.function(*args, **kwargs)

    @overload
    def map(self, items: Any, /, *, tolerate: int | str, **options: Any) -> list[R | None]: ...

    @overload
    def map(self, items: Any, /, **options: Any) -> list[R]: ...

    def map(self, items: Any, /, **options: Any) -> Any:
        """In a traced workflow: run this task once for each of several items, and gather the outputs in order.

        Args:
            items: A reference to an array, or a list that may hold references; each is one input.
            **options: ``concurrency`` (how many at once; default: all), ``tolerate`` (how many may fail: a
                number, or "5%"; their places hold None; default: none), ``max_items`` (default: 1000), and
                what any call takes: ``after``, ``when``, ``skip_if``, ``on_failure``, ``compensate``,
                ``step_id``, ``timeout`` and ``retry`` of each item, ``group``, ``metadata``.

        Raises:
            DefinitionError: no workflow is being traced, or the options make no map.
        """
        tracing = tracer.get()
        if tracing is None:
            raise DefinitionError(
                f"{self.name}.map(…) makes a step, in a function decorated with @app.workflow; "
                f"in a handler call ctx.map(…), and anywhere else start {self.name} once for each item"
            )
        return tracing.add_map(self, items, options)

    @property
    def kind(self) -> str:
        """The kind of step that calls it."""
        if isinstance(self.options.config, PlannerConfig):
            return "planner"
        return "agent_loop" if self.options.loop else "task"

    def returns(self) -> Any:
        """The type that results are read as. What a planner returns is a plan; its output is that of the plan."""
        return Any if self.kind == "planner" else self.signature.returns

    def step(self, step_id: str, **changes: Any) -> Step:
        """A step that runs this task, with the options of its decorator."""
        options = self.options
        fields: dict[str, Any] = {
            "id": step_id, "kind": self.kind, "task": self.name, "group": options.group, "retry": options.retry,
            "timeout_ms": options.timeout_ms, "config": options.config, "metadata": options.metadata,
            "singleton": options.singleton, "capabilities": options.capabilities, "limits": options.limits,
        }  # fmt: skip
        return Step(**{**fields, **changes})

    def definition(self) -> Workflow:
        """A workflow of this one task, under its name: what ``task.start()`` runs."""
        if self._definition is None:
            self._definition = self._alone()
        return self._definition

    def _alone(self) -> Workflow:
        step_id = "".join(
            c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in self.name
        )
        bare = Workflow(name=self.name, steps=(self.step(step_id),))
        workflow = replace(
            bare,
            input_schema=input_schema_of(self.signature),
            output_schema=schema_of(Outputs(bare, {step_id: self.returns()}).kind()),
        )
        problems = problems_of(workflow)
        if problems:
            raise DefinitionError(
                f"task {self.name}: " + "; ".join(map(str, problems)), problems=problems
            )
        return workflow
