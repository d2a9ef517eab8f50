"""What a workflow is: frozen data, the same whether it came from decorators, a builder or a file."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Raw, Struct

Strategy = Literal["fixed", "linear", "exponential"]
Operator = Literal["==", "!=", "<", ">", "<=", ">="]
Sticky = Literal["", "soft", "hard"]

STRATEGIES: Final = ("fixed", "linear", "exponential")
STICKY: Final = ("", "soft", "hard")
# A payload that is not there: msgspec cannot read ``Raw | None``. It is falsy, and never encoded.
ABSENT: Final = Raw(b"")

OPERATORS: Final = ("==", "!=", "<", ">", "<=", ">=")


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often a step may run, and how long to wait in between.

    ``attempts`` counts executions: 1 is "no retry". (Workflow files count retries: one less.)
    ``jitter`` is the part of a delay, 0 to 1, that is taken away by a hash of the ticket.
    """

    attempts: int = 1
    strategy: Strategy = "fixed"
    initial_ms: int = 1_000
    max_ms: int = 0
    multiplier: float = 2.0
    jitter: float = 0.0


class Condition(Struct, frozen=True):
    """A comparison of a field of a parent's output, or of the run's input when ``step`` is empty."""

    step: str
    field: str
    op: Operator
    value: Any


class LoopConfig(Struct, frozen=True, kw_only=True):
    """The bounds of an agent loop. The two budget fields are hints that only the handler reads."""

    max_iterations: int
    max_duration_ms: int = 0
    loop_delay_ms: int = 0
    budget_warn_at: int = 0
    budget_force_at: int = 0


class Step(Struct, frozen=True, kw_only=True):
    """A node of a workflow.

    ``input`` is a template: JSON in which ``{"$input": "url"}`` and ``{"$step": "a", "path": "title"}``
    stand for values; ``None`` means the default rule (run input, the one parent's output, or an
    object of all parents' outputs). ``singleton`` is a hint for readers of the definition: what makes a
    task run one at a time is how its workers registered it.
    """

    id: str
    kind: str = "task"
    task: str = ""
    depends_on: tuple[str, ...] = ()
    group: str = ""
    input: Any = None
    timeout_ms: int = 0
    retry: RetryPolicy | None = None
    skip_if: Condition | None = None
    when: Condition | None = None
    on_failure: str = ""
    loop: LoopConfig | None = None
    singleton: bool = False
    metadata: dict[str, str] = {}


class Workflow(Struct, frozen=True, kw_only=True):
    """A named graph of steps. ``output`` is a template as in ``Step.input``; None: the last steps' outputs.

    ``sticky`` says whether a run's steps prefer (``soft``) or need (``hard``) the worker that did its first.
    """

    name: str
    version: str = "1"
    steps: tuple[Step, ...] = ()
    timeout_ms: int = 0
    default_retry: RetryPolicy | None = None
    idempotency_key: str = ""
    sticky: Sticky = ""
    output: Any = None
    input_schema: Any = None
    output_schema: Any = None


class Problem(Struct, frozen=True):
    """One thing wrong with a definition: where, what, and what to do about it."""

    where: str
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.cure}"


class Advice(Struct, frozen=True):
    """Something a definition may mean but probably does not."""

    kind: str
    message: str
