"""What a handler may have done durably: calls of tasks, child runs, waits. Remembered by their order.

Each of them is a step of the run, with its own retries and time limit. A handler that runs again, after a crash
or another attempt, asks again in the same order and is given what was recorded: nothing is done twice.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from msgspec import Raw

from dagnats import convert
from dagnats.answer import Answer
from dagnats.control_plane import ControlPlane
from dagnats.core.durations import Duration, to_ms
from dagnats.core.kinds.map import tolerance
from dagnats.core.model import (
    ChildConfig,
    EventConfig,
    EventMatch,
    MapConfig,
    SignalConfig,
    SleepConfig,
    Step,
)
from dagnats.core.problems import name_problems
from dagnats.core.state import COMPLETED, SKIPPED
from dagnats.errors import CallFailed, InvalidInput, SignalTimeout
from dagnats.limits import DURATION_MAX_MS, HISTORY_LONG_FACTS, PAUSE_MAX_MS
from dagnats.outcome import ContinueAsNew
from dagnats.wire.messages import CallResult, TaskMessage

T = TypeVar("T")

_LOGGER = "dagnats.handler"
_DEFAULT_WAIT: Duration = "1h"


class OperationDoors(Protocol):
    """What durable operations need of the worker."""

    async def call(
        self, message: TaskMessage, n: int, step: Step, input: Raw, *, park: bool
    ) -> CallResult:
        """Have a step done, or what was recorded of it; ``park`` gives the slot up meanwhile."""
        ...

    async def send_signal(self, run: str, name: str, payload: Raw) -> None:
        """Send data to a run."""
        ...


class TicketFacts:
    """What is known about a ticket: which run, step, attempt and iteration, and with what input."""

    def __init__(self, message: TaskMessage) -> None:
        self.message = message

    @property
    def input(self) -> Any:
        """The step's input as builtins."""
        return convert.plain(self.message.input)

    @property
    def run_id(self) -> str:
        """The run."""
        return self.message.run

    @property
    def step_id(self) -> str:
        """The step within the run."""
        return self.message.step

    @property
    def attempt(self) -> int:
        """Which execution of this step (or iteration) this is, from 1."""
        return self.message.attempt

    @property
    def iteration(self) -> int:
        """Which turn of the agent loop this is, from 0."""
        return self.message.iteration

    @property
    def metadata(self) -> dict[str, str]:
        """The run's metadata with the step's own on top."""
        return {**self.message.run_metadata, **self.message.metadata}

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at the same piece of work: hand it to outside services."""
        return f"{self.message.run}/{self.message.step}/{self.message.iteration}"

    @property
    def should_continue_as_new(self) -> bool:
        """Whether the run's history has become long: better go on as a new run at the next good place."""
        return self.message.history >= HISTORY_LONG_FACTS

    def continue_as_new(self, input: Any = None) -> ContinueAsNew:
        """What to return to end this run and go on as a new one, with this input and an empty history."""
        return ContinueAsNew(input)

    @functools.cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A standard logger that knows the run, the step, the attempt and the iteration."""
        facts = {
            "run_id": self.run_id,
            "step_id": self.step_id,
            "attempt": self.attempt,
            "iteration": self.iteration,
        }
        return logging.LoggerAdapter(logging.getLogger(f"{_LOGGER}.{self.message.task}"), facts)


class Operations(TicketFacts):
    """Durable operations, numbered in the order in which the handler asks for them."""

    def __init__(self, message: TaskMessage, doors: OperationDoors) -> None:
        super().__init__(message)
        self._operations = doors
        self._calls = 0

    def _start(self, work: Coroutine[Any, Any, T]) -> Answer[T]:
        raise NotImplementedError

    def _wait(self, work: Coroutine[Any, Any, T]) -> Answer[T]:
        raise NotImplementedError

    def call(self, task: Any, *args: Any, **kwargs: Any) -> Answer[Any]:
        """Run a task as a step of this run, and wait for what it returns.

        Args:
            task: A task, with its own retries and time limit; or the name of one, with one argument.
            *args: Its arguments.
            **kwargs: Its arguments by name.

        Raises:
            CallFailed: it failed for good.
            InvalidInput: the arguments do not fit.
        """
        if isinstance(task, str):
            step, raw, read = Step(id="call", task=task), _only(task, args, kwargs), convert.plain
        else:
            step, raw = task.step("call"), task.signature.encode_call(args, kwargs)
            read = convert.reader(task.returns())
        return self._ask(step, raw, read)

    def map(
        self, task: Any, items: Sequence[Any], *, concurrency: int = 0, tolerate: int | str = 0
    ) -> Answer[list[Any]]:
        """Run a task for each item, and wait for the list of results; a tolerated failure is None.

        Raises:
            CallFailed: more items failed than are tolerated.
        """
        count, percent = tolerance(tolerate)
        known = None if isinstance(task, str) else task.step("call")
        base = known or Step(id="call", task=task)
        config = MapConfig(
            max_items=max(1, len(items)), concurrency=concurrency, tolerate=count,
            tolerate_percent=percent, loop=base.loop,
        )  # fmt: skip
        step = Step(
            id="call", kind="map", task=base.task, group=base.group, timeout_ms=base.timeout_ms,
            retry=base.retry, metadata=base.metadata, config=config,
        )  # fmt: skip
        kind = Any if known is None else list[task.returns() | None]  # type: ignore[operator]
        return self._ask(step, convert.encode(list(items)), convert.reader(kind))

    def run_workflow(self, workflow: Any, *args: Any, **kwargs: Any) -> Answer[Any]:
        """Run a workflow as a child run, and wait for its output. A name takes one argument.

        Raises:
            CallFailed: the child run failed.
        """
        if isinstance(workflow, str):
            raw, read = _only(workflow, args, kwargs), convert.plain
        else:
            raw, read = (
                workflow.signature.encode_call(args, kwargs),
                convert.reader(workflow.returns()),
            )
        name = workflow if isinstance(workflow, str) else workflow.name
        step = Step(id="call", kind="sub_workflow", config=ChildConfig(workflow=name))
        return self._ask(step, raw, read)

    def wait_for_signal(
        self, name: str, timeout: Duration = _DEFAULT_WAIT, *, type: Any = None, park: bool = False
    ) -> Answer[Any]:
        """Wait for data that somebody sends to this run; signals of a name come in order, each once.

        ``park`` gives the worker's slot up meanwhile: the handler ends here, and is entered again from its
        beginning, with its checkpoint, when the signal has come. Use it for long waits.

        Raises:
            SignalTimeout: none came in time.
        """
        for problem in name_problems("signal", name):
            raise InvalidInput(str(problem))
        config = SignalConfig(name=name, timeout_ms=_duration("timeout", timeout, DURATION_MAX_MS))
        step = Step(id="call", kind="wait_for_signal", config=config)
        read = convert.plain if type is None else convert.decoder(type)
        return self._ask(step, convert.NULL, read, park=park, failing={"timeout": SignalTimeout})

    def wait_for_event(
        self, name: str, match: Mapping[str, Any] | None = None, timeout: Duration = _DEFAULT_WAIT,
        *, park: bool = False,
    ) -> Answer[Any]:  # fmt: skip
        """Wait for an external event whose field has a value: ``match={"order.id": 7}``.

        When none comes in time, that is ``{"timeout": True}``.
        """
        wanted = None
        if match is not None:
            if len(match) != 1:
                raise InvalidInput('match= takes one field and its value: {"order.id": 7}')
            left, value = next(iter(match.items()))
            wanted = EventMatch(left, {"$literal": value})
        limit = _duration("timeout", timeout, DURATION_MAX_MS)
        step = Step(
            id="call", kind="wait_for_event",
            config=EventConfig(event=name, match=wanted, timeout_ms=limit),
        )  # fmt: skip
        return self._ask(step, convert.NULL, convert.plain, park=park)

    def sleep(self, duration: Duration) -> Answer[None]:
        """Sleep durably: a handler that runs again does not sleep again."""
        return self._sleep(_duration("duration", duration, DURATION_MAX_MS), park=False)

    def pause(self, duration: Duration) -> Answer[None]:
        """Give the slot up for a while (at most an hour): the handler is entered again with its checkpoint."""
        return self._sleep(_duration("duration", duration, PAUSE_MAX_MS), park=True)

    @property
    def control_plane(self) -> ControlPlane | None:
        """The door to registering and starting workflows; None unless the step asks for it and is granted it."""
        return ControlPlane(self._ask) if self.message.control else None

    def send_signal(self, run_id: str, name: str, data: Any = None) -> Answer[None]:
        """Send data to a run.

        Raises:
            RunNotFound, SignalRefused: there is no such run, or it has ended.
        """
        return self._start(self._operations.send_signal(run_id, name, convert.encode(data)))

    # -- inside ------------------------------------------------------------------------------------

    def _sleep(self, duration_ms: int, *, park: bool) -> Answer[None]:
        step = Step(id="call", kind="sleep", config=SleepConfig(duration_ms=duration_ms))
        return self._ask(step, convert.NULL, convert.plain, park=park)

    def _ask(
        self, step: Step, input: Raw, read: Callable[[Raw], Any], *, park: bool = False,
        failing: Mapping[str, type[CallFailed]] = MappingProxyType({}),
    ) -> Answer[Any]:  # fmt: skip
        number, self._calls = self._calls, self._calls + 1
        return self._wait(self._asked(number, step, input, read, park=park, failing=failing))

    async def _asked(
        self, n: int, step: Step, input: Raw, read: Callable[[Raw], Any], *, park: bool,
        failing: Mapping[str, type[CallFailed]],
    ) -> Any:  # fmt: skip
        result = await self._operations.call(self.message, n, step, input, park=park)
        if result.status in (COMPLETED, SKIPPED):
            return read(result.output or convert.NULL)
        what = f"call {n} ({step.task or step.kind}) of step {self.step_id}"
        text = f"{what}: {result.error or result.status}"
        kind = failing.get(result.failure, CallFailed)
        raise kind(text, failure=result.failure, step=result.step)


def _only(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Raw:
    if kwargs or len(args) > 1:
        raise InvalidInput(f'"{name}" is called by name, so it takes one argument: its whole input')
    return convert.encode(args[0]) if args else convert.NULL


def _duration(what: str, value: Duration, most_ms: int) -> int:
    try:
        found = to_ms(value)
    except ValueError as error:
        raise InvalidInput(f"{what}: {error}") from error
    if not 0 < found <= most_ms:
        raise InvalidInput(f"{what}: {value!r} is not above 0 and at most {most_ms // 3_600_000}h")
    return found
