"""What a workflow is: frozen data, the same whether it came from decorators, a builder or a file."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Raw, Struct

from dagnats.limits import (
    APPROVAL_MAX_MS,
    BUDGET_SOFT_DEFAULT,
    DURATION_MAX_MS,
    MAP_ITEMS_DEFAULT,
    PLAN_STEPS_MAX,
    SIGNAL_WAIT_DEFAULT_MS,
)

Strategy = Literal["fixed", "linear", "exponential"]
Operator = Literal["==", "!=", "<", ">", "<=", ">="]
Sticky = Literal["", "soft", "hard"]
LimitMode = Literal["wait", "refuse", "replace"]

STRATEGIES: Final = ("fixed", "linear", "exponential")
STICKY: Final = ("", "soft", "hard")
CONTROL_PLANE: Final = "control-plane"
CAPABILITIES: Final = (CONTROL_PLANE,)
LIMIT_MODES: Final = ("wait", "refuse", "replace")
SHARED_BUDGETS: Final = ("usd", "tokens")  # the kinds of limits that count what runs use
# A payload that is not there: msgspec cannot read ``Raw | None``. It is falsy, and never encoded.
ABSENT: Final = Raw(b"")

AGENT_GROUP: Final = "agent"  # where steps of kind agent wait when they name no worker group
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


class Limit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of something there may be: ``limit`` at once ("slots"), or in every ``period_ms`` ("rate").

    ``key`` is a path into the input: the limit holds for each value that is found there (empty: for all together).
    A ticket costs ``cost``, or what the input has at ``cost_from``. ``burst`` is how much of a rate can be saved up (0:
    ``limit``). ``mode`` is what happens when there is no more: wait, be refused, or replace who has it.

    A shared budget counts what runs use, in billionths of a US dollar ("usd") or in "tokens", in each period (0: ever);
    ``soft`` as in ``Budget``.
    """

    kind: Literal["slots", "rate", "usd", "tokens"]
    limit: int
    key: str = ""
    period_ms: int = 0
    burst: int = 0
    cost: int = 1
    cost_from: str = ""
    mode: LimitMode = "wait"
    soft: float = BUDGET_SOFT_DEFAULT


class Priority(Struct, frozen=True, kw_only=True):
    """Which runs go first where runs wait: ``rules`` says how many seconds sooner, by the input's value at ``key``."""

    key: str
    rules: dict[str, int]
    default_offset: int = 0


class Condition(Struct, frozen=True):
    """A comparison of a field of a parent's output, or of the run's input when ``step`` is empty."""

    step: str
    field: str
    op: Operator
    value: Any


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used: ``reports`` of handlers, added up. ``usd_nano`` are billionths of a US dollar."""

    reports: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd_nano: int = 0
    iterations: int = 0

    @property
    def tokens(self) -> int:
        """Those that went in, and those that came out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            reports=self.reports + other.reports,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd_nano=self.usd_nano + other.usd_nano,
            iterations=self.iterations + other.iterations,
        )


NOTHING_USED: Final = Usage()


class Budget(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run, or a loop, may use; 0 is no bound.

    ``tokens`` are those that go in and those that come out, ``wall_ms`` counts from the beginning of the run or the
    loop, ``iterations`` are those of agent loops. From the part ``soft`` of any of them on, handlers are warned.
    """

    usd_nano: int = 0
    tokens: int = 0
    wall_ms: int = 0
    iterations: int = 0
    soft: float = BUDGET_SOFT_DEFAULT


class LoopConfig(Struct, frozen=True, kw_only=True, tag="agent_loop", omit_defaults=True):
    """The bounds of an agent loop. ``budget_warn_at`` and ``budget_force_at`` are hints that only the handler reads."""

    max_iterations: int
    max_duration_ms: int = 0
    loop_delay_ms: int = 0
    budget_warn_at: int = 0
    budget_force_at: int = 0
    budget: Budget | None = None


class MapConfig(Struct, frozen=True, kw_only=True, tag="map", omit_defaults=True):
    """One ticket for each element of the input array.

    ``concurrency`` items at once (0: all), ``tolerate`` of them, or ``tolerate_percent``, may fail; a failed
    one's place in the output is ``null``. ``loop``: the items are agent loops.
    """

    max_items: int = MAP_ITEMS_DEFAULT
    concurrency: int = 0
    tolerate: int = 0
    tolerate_percent: float = 0.0
    loop: LoopConfig | None = None


class ApprovalConfig(Struct, frozen=True, kw_only=True, tag="approval", omit_defaults=True):
    """A question to people. ``quorum`` of them must say yes, one no is enough; silence is a no.

    ``subject`` is where the notification goes (core NATS), ``form`` the JSON Schema of the answer.
    """

    subject: str = ""
    timeout_ms: int = APPROVAL_MAX_MS
    description: str = ""
    metadata: dict[str, str] = {}
    quorum: int = 1
    form: Any = None


class PlannerConfig(Struct, frozen=True, kw_only=True, tag="planner", omit_defaults=True):
    """What a plan may hold. No ``allowed_tasks``: any task; ``max_depth`` 0: any depth.

    ``tasks`` are what the allowed tasks' own decorators say, in the form of a file's step, ``schemas`` the
    JSON Schemas of their inputs. ``preview`` has a person look at each plan before it is carried out.
    """

    max_steps: int = PLAN_STEPS_MAX
    max_depth: int = 0
    allowed_tasks: tuple[str, ...] = ()
    tasks: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    preview: ApprovalConfig | None = None


class SleepConfig(Struct, frozen=True, kw_only=True, tag="sleep", omit_defaults=True):
    """Exactly one of a duration, a cron expression (its next match), a path into the run's input."""

    duration_ms: int = 0
    cron: str = ""
    timezone: str = ""
    until_input_path: str = ""


class EventMatch(Struct, frozen=True):
    """An event counts when its payload at ``left`` equals ``right``: ``input.…``, ``step.<id>.output.…``.

    ``right`` may also be a template, which is what Python code makes of a reference or a constant.
    """

    left: str
    right: Any


class EventConfig(Struct, frozen=True, kw_only=True, tag="wait_for_event", omit_defaults=True):
    """Which external event to wait for. No ``match``: any event of that name."""

    event: str
    match: EventMatch | None = None
    timeout_ms: int = DURATION_MAX_MS


class SignalConfig(Struct, frozen=True, kw_only=True, tag="wait_for_signal", omit_defaults=True):
    """Which signal to wait for, and for how long."""

    name: str
    timeout_ms: int = SIGNAL_WAIT_DEFAULT_MS


class ChildConfig(Struct, frozen=True, kw_only=True, tag="sub_workflow", omit_defaults=True):
    """Which workflow to run as a child; a detached one is started and left alone."""

    workflow: str
    detach: bool = False


class ControlConfig(Struct, frozen=True, kw_only=True, tag="control", omit_defaults=True):
    """What a handler asks of the control plane: to ``register`` a definition, to ``start`` a run, its ``budget``."""

    action: str
    name: str = ""
    promote: bool = False


class RespondConfig(Struct, frozen=True, kw_only=True, tag="respond", omit_defaults=True):
    """What the caller of an HTTP-triggered run is answered. ``body_from`` is a path into the step's input."""

    status: int = 200
    headers: dict[str, str] = {}
    body_from: str = ""
    content_type: str = "application/json"


Config = (
    LoopConfig
    | MapConfig
    | PlannerConfig
    | ApprovalConfig
    | SleepConfig
    | EventConfig
    | SignalConfig
    | ChildConfig
    | RespondConfig
    | ControlConfig
)


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node of a workflow.

    ``input`` is a template: JSON in which ``{"$input": "url"}`` and ``{"$step": "a", "path": "title"}``
    stand for values; ``None`` means the default rule (run input, the one parent's output, or an
    object of all parents' outputs). ``config`` is what the kind needs. ``singleton`` is a hint for readers
    of the definition: what makes a task run one at a time is how its workers registered it. ``capabilities``
    are what its handler may do besides, where the deployment's policy grants it. ``limits`` are of its task,
    over all runs of all workflows.
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
    compensate: str = ""
    config: Config | None = None
    capabilities: tuple[str, ...] = ()
    singleton: bool = False
    metadata: dict[str, str] = {}
    limits: tuple[Limit, ...] = ()

    @property
    def loop(self) -> LoopConfig | None:
        """The bounds of an agent loop; None for other kinds."""
        return self.config if isinstance(self.config, LoopConfig) else None


class CancelOn(Struct, frozen=True, kw_only=True):
    """An external event that cancels the run. ``timeout_ms``: only so long after the start (0: always)."""

    event: str
    match: EventMatch | None = None
    timeout_ms: int = 0


class Workflow(Struct, frozen=True, kw_only=True):
    """A named graph of steps. ``output`` is a template as in ``Step.input``; None: the last steps' outputs.

    ``sticky`` says whether a run's steps prefer (``soft``) or need (``hard``) the worker that did its first.
    ``limits`` are of its runs, and of those of the workflows that name the same ``gate`` (empty: its runs alone);
    ``priority`` says which of them go first, ``max_steps`` bounds the steps of one run that
    are queued or running (0: any number). ``budget`` is of each of its runs, and shared by the runs that they start.
    """

    name: str
    version: str = "1"
    steps: tuple[Step, ...] = ()
    timeout_ms: int = 0
    default_retry: RetryPolicy | None = None
    idempotency_key: str = ""
    cancel_on: tuple[CancelOn, ...] = ()
    sticky: Sticky = ""
    limits: tuple[Limit, ...] = ()
    gate: str = ""
    max_steps: int = 0
    priority: Priority | None = None
    budget: Budget | None = None
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
