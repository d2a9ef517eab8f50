"""A task: a function that stays a function, and can also be started, or become a step of a workflow."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from dagnats import convert
from dagnats.client import Client, Handle
from dagnats.context import Context
from dagnats.core.model import LoopConfig, RetryPolicy, Step, Workflow
from dagnats.core.validate import name_problems, problems_of
from dagnats.errors import DefinitionError
from dagnats.outcome import Continue

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


tracer: contextvars.ContextVar[Tracer | None] = contextvars.ContextVar(
    "dagnats_tracer", default=None
)


class TaskOptions:
    """What a decorator was given, checked."""

    __slots__ = ("group", "loop", "metadata", "retry", "retry_on", "singleton", "timeout_ms")

    def __init__(
        self,
        *,
        retry: RetryPolicy | None = None,
        retry_on: tuple[type[BaseException], ...] = (),
        timeout_ms: int = 0,
        group: str = "",
        metadata: Mapping[str, str] | None = None,
        loop: LoopConfig | None = None,
        singleton: bool = False,
    ) -> None:
        self.retry = retry
        self.retry_on = retry_on
        self.timeout_ms = timeout_ms
        self.group = group
        self.metadata = dict(metadata or {})
        self.loop = loop
        self.singleton = singleton


class Startable(Generic[P, R]):
    """What a task and a workflow have in common: a name, a signature, and being started."""

    def __init__(self, home: Home, name: str, signature: convert.Signature) -> None:
        self.name = name
        self.signature = signature
        self._home = home
        self._read: Callable[[Any], Any] | None = None

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
        **kwargs: Any,
    ) -> Handle[R]:
        """Start a run with these arguments; they are checked here, before anything is sent.

        Raises:
            InvalidInput: the arguments do not fit.
            RunAlreadyStarted: a run with this ``id`` exists.
        """
        raw = self.signature.encode_call(args, kwargs)
        if self._read is None:
            self._read = convert.decoder(self.returns())
        client = await self._home.client()
        return await client.start(
            self.definition(),
            raw,
            id=id,
            idempotency_key=idempotency_key,
            metadata=metadata,
            tags=tags,
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
        super().__init__(home, name, convert.Signature(function, (Context,), (Continue,)))
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
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

    @property
    def kind(self) -> str:
        """The kind of step that calls it."""
        return "agent_loop" if self.options.loop else "task"

    def step(self, step_id: str, **changes: Any) -> Step:
        """A step that runs this task, with the options of its decorator."""
        options = self.options
        fields: dict[str, Any] = {
            "id": step_id, "kind": self.kind, "task": self.name, "group": options.group, "retry": options.retry,
            "timeout_ms": options.timeout_ms, "loop": options.loop, "metadata": options.metadata,
            "singleton": options.singleton,
        }  # fmt: skip
        return Step(**{**fields, **changes})

    def definition(self) -> Workflow:
        """A workflow of this one task, under its name: what ``task.start()`` runs."""
        step_id = "".join(
            c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in self.name
        )
        workflow = Workflow(name=self.name, steps=(self.step(step_id),))
        problems = problems_of(workflow)
        if problems:
            raise DefinitionError(
                f"task {self.name}: " + "; ".join(map(str, problems)), problems=problems
            )
        return workflow
