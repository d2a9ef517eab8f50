"""What a handler may answer. A closed set: a value, ``Continue``, ``Fail``, ``Retry``, any exception.

* return a value: the step succeeded,
* return ``Continue(state)``: the agent loop goes on with this checkpoint,
* return ``Plan([…])``: a planner proposes steps,
* return ``ctx.continue_as_new(input)``: the run ends, and goes on as a new one,
* raise ``Fail(reason)``: never tried again,
* raise ``Retry(after=…)``: tried again after that time, if the policy has attempts left,
* raise anything else: tried again as the policy says,
* ``Cancelled`` is raised inside a handler when its run is cancelled; let it pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

from msgspec.structs import replace

from dagnats.core.definition import write_step
from dagnats.core.durations import Duration, to_ms
from dagnats.core.model import STRATEGIES, Condition, RetryPolicy
from dagnats.core.model import Step as Declared
from dagnats.errors import DefinitionError
from dagnats.limits import RETRIES_MAX

T = TypeVar("T")


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final[Any] = _Unset()


class Continue(Generic[T]):
    """Ask for the next iteration of an agent loop, with its checkpoint: one write, both or neither.

    Without an argument the checkpoint stays as it was.
    """

    __slots__ = ("checkpoint",)

    def __init__(self, checkpoint: T = UNSET) -> None:
        self.checkpoint = checkpoint

    def __repr__(self) -> str:
        return f"Continue({self.checkpoint!r})"


class Step:
    """A step of a plan: an id, a task (or its name), what it receives, and which steps come before it.

    ``input`` is any JSON value; ``Step.output("a", "title")`` in it stands for a part of what step ``a`` gave.
    ``retry`` and ``timeout`` are those of ``@app.task``, and win over what a task brings along. ``when`` and
    ``skip_if`` are conditions. Further keywords are those of a workflow file's step.

    Raises:
        DefinitionError: an option cannot be read.
    """

    __slots__ = ("data",)

    def __init__(
        self, id: str, task: Any, input: Any = None, *, after: Sequence[str] | str = (),
        retry: Retry | int | None = None, timeout: Duration | None = None, **more: Any,
    ) -> None:  # fmt: skip
        bare = Declared(id=id, task=str(getattr(task, "name", task)))
        usual = task.step(id) if hasattr(task, "step") else bare
        conditions = {key: value for key, value in more.items() if isinstance(value, Condition)}
        step = replace(
            bare,
            depends_on=(after,) if isinstance(after, str) else tuple(after),
            input=input,
            group=usual.group,
            metadata=usual.metadata,
            limits=usual.limits,
            retry=usual.retry if retry is None else _policy(retry, f"Step {id}"),
            timeout_ms=usual.timeout_ms if timeout is None else _limit(timeout, f"Step {id}"),
            **conditions,
        )
        others = {key: value for key, value in more.items() if key not in conditions}
        self.data: dict[str, Any] = {**write_step(step), **others}

    @staticmethod
    def output(step: str, path: str = "") -> dict[str, str]:
        """A part of another step's output, in an input."""
        return {"$step": step, "path": path} if path else {"$step": step}

    def __repr__(self) -> str:
        return f"Step({self.data!r})"


def _policy(value: Retry | int, where: str) -> RetryPolicy:
    if isinstance(value, Retry):
        return value.policy
    if isinstance(value, int):
        return Retry(value).policy
    raise DefinitionError(
        f"{where}: retry= takes Retry(…) or a number of executions, not {value!r}"
    )


def _limit(value: Duration, where: str) -> int:
    try:
        return to_ms(value)
    except ValueError as error:
        raise DefinitionError(f"{where}: timeout: {error}") from error


class Plan:
    """What a planner answers: steps that then run as if they had been declared."""

    __slots__ = ("steps",)

    def __init__(self, steps: Iterable[Step | Mapping[str, Any]]) -> None:
        self.steps = [step.data if isinstance(step, Step) else dict(step) for step in steps]

    def __repr__(self) -> str:
        return f"Plan({self.steps!r})"


class ContinueAsNew:
    """The run ends here and goes on as a new one with an empty history; made by ``ctx.continue_as_new``."""

    __slots__ = ("input",)

    def __init__(self, input: Any = None) -> None:
        self.input = input

    def __repr__(self) -> str:
        return f"ContinueAsNew({self.input!r})"


class Parked(BaseException):
    """Raised inside a handler that gives its slot up until a durable call is settled. Let it pass."""

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__(f"parked on call {n}")


class Fail(Exception):
    """Raise to fail the step for good, whatever the retry policy."""

    def __init__(self, reason: str = "failed") -> None:
        self.reason = str(reason)
        super().__init__(self.reason)


class Cancelled(BaseException):
    """Raised inside a handler whose run was cancelled, or whose time is over. Let it pass."""


class Retry(Exception):
    """A retry policy, as an option; or an answer, when raised.

    As a policy: ``Retry(5, backoff="exponential", delay="1s", max_delay="1m", on=(IOError,))`` runs a step
    at most five times; with ``on`` only for these exceptions. Jitter takes up to a half of each delay.

    As an answer: ``raise Retry(after="30s")`` asks for the next attempt after exactly that time (100 ms to
    1 h); it counts against the step's policy. ``pause_key=True`` has everybody with the same key wait so long, too:
    what a service means with "429, Retry-After" (the task needs a ``key=``, or a limit).

    Raises:
        DefinitionError: the numbers make no policy.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        backoff: Literal["fixed", "linear", "exponential"] = "exponential",
        delay: Duration = 1.0,
        max_delay: Duration | None = None,
        multiplier: float = 2.0,
        jitter: bool | float = True,
        on: tuple[type[BaseException], ...] | type[BaseException] = (),
        after: Duration | None = None,
        pause_key: bool = False,
        reason: str = "",
    ) -> None:
        if (
            isinstance(attempts, bool)
            or not isinstance(attempts, int)
            or not 1 <= attempts <= RETRIES_MAX
        ):
            raise DefinitionError(
                f"Retry({attempts!r}): attempts counts executions, from 1 to {RETRIES_MAX}"
            )
        if backoff not in STRATEGIES:
            raise DefinitionError(f"Retry(backoff={backoff!r}): use one of {', '.join(STRATEGIES)}")
        try:
            self.policy = RetryPolicy(
                attempts=attempts,
                strategy=backoff,
                initial_ms=max(1, to_ms(delay)),
                max_ms=to_ms(max_delay) if max_delay is not None else 0,
                multiplier=float(multiplier),
                jitter=0.5 if jitter is True else float(jitter),
            )
            self.after_ms = to_ms(after) if after is not None else None
        except ValueError as error:
            raise DefinitionError(f"Retry: {error}") from error
        self.on = on if isinstance(on, tuple) else (on,)
        if pause_key and after is None:
            raise DefinitionError('Retry(pause_key=True): for how long? give after="30s"')
        self.pause_key = pause_key
        self.reason = reason
        super().__init__(reason or "retry asked for")
