"""What steps and runs can become, found by asking the engine: every fact tried in every state.

A few small workflows, one for each rule, are folded with every fact that could arrive, again and again
until no new state turns up. What moved, and why, is the diagram; nothing is drawn by hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from msgspec import Raw

from dagnats.core import state as states
from dagnats.core.admission import run_ticket
from dagnats.core.events import (
    ApprovalDecided,
    BudgetRaised,
    CancelRequested,
    Event,
    Fact,
    GateGranted,
    GateRefused,
    RetryRequested,
    RunContinued,
    RunStarted,
    StepContinued,
    StepFailed,
    StepSucceeded,
    TimerFired,
    UsageReported,
)
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.model import (
    ApprovalConfig,
    Budget,
    Condition,
    Limit,
    LoopConfig,
    RetryPolicy,
    Step,
    Workflow,
)
from dagnats.core.run import Run
from dagnats.core.state import ticket_text

STEPS_DEEP: Final = 9
FOLLOWS: Final = "what it depends on is settled"
HELPS: Final = "the step it stands in for failed"
HELPED: Final = "its on_failure step completed"
ENDED: Final = "the run ended"

Moves = dict[tuple[str, str], set[str]]

_TWICE: Final = RetryPolicy(attempts=2, initial_ms=1_000)
_NO: Final = Condition("", "go", "==", value=True)  # of an input that says false
_LOOP: Final = LoopConfig(max_iterations=2, loop_delay_ms=1_000, max_duration_ms=60_000)

WORKFLOWS: Final = (
    Workflow(name="chain", steps=(Step(id="a", task="t", retry=_TWICE), Step(id="b", task="t", depends_on=("a",)))),
    Workflow(name="loop", steps=(Step(id="a", task="t", kind="agent_loop", config=_LOOP, retry=_TWICE),)),
    Workflow(name="quick", steps=(Step(id="a", task="t", kind="agent_loop", config=LoopConfig(max_iterations=2)),)),
    Workflow(name="limited", timeout_ms=60_000, steps=(Step(id="a", task="t", retry=_TWICE),)),
    Workflow(
        name="rescued",
        steps=(
            Step(id="a", task="t", on_failure="fix"),
            Step(id="b", task="t", depends_on=("a",)),
            Step(id="fix", task="t"),
        ),
    ),
    Workflow(
        name="asking",
        steps=(Step(id="a", task="t"), Step(id="b", task="t", depends_on=("a",), input={"$step": "a", "path": "x"})),
    ),
    Workflow(
        name="optional",
        steps=(Step(id="a", task="t"), Step(id="b", task="t", depends_on=("a",), when=_NO)),
    ),
    Workflow(name="nothing", steps=(Step(id="a", task="t", when=_NO),)),
    Workflow(
        name="undone",
        steps=(
            Step(id="a", task="t", compensate="undo"),
            Step(id="b", task="t", depends_on=("a",)),
            Step(id="undo", task="t"),
        ),
    ),
    Workflow(name="asked", steps=(Step(id="a", kind="approval", config=ApprovalConfig()),)),
    Workflow(name="bounded", budget=Budget(tokens=1), steps=(Step(id="a", task="t"), Step(id="b", task="t"))),
    Workflow(
        name="gated",
        limits=(Limit(kind="slots", limit=1),),
        steps=(Step(id="a", task="t", limits=(Limit(kind="slots", limit=1),), retry=_TWICE),),
    ),
)  # fmt: skip


def moves() -> tuple[Moves, Moves]:
    """How runs move, and how steps move, with the reasons."""
    runs: Moves = {}
    steps: Moves = {}
    for workflow in WORKFLOWS:
        _explore(new_run(workflow.name, compile_graph(workflow, workflow.name)), runs, steps)
    _explore(new_run("gone", None), runs, steps)
    return runs, steps


def _explore(first: Run, runs: Moves, steps: Moves) -> None:
    seen: set[str] = set()
    waiting = deque([(first, 0)])
    while waiting:
        run, depth = waiting.popleft()
        for fact, at_ms in _facts(run):
            after, _ = advance(run, Event(run.seq + 1, at_ms, fact))
            _note(run, after, fact, runs, steps)
            place = repr((after.status, after.armed_ms, after.over, [*after.steps]))
            if place not in seen and depth < STEPS_DEEP:
                seen.add(place)
                waiting.append((after, depth + 1))


def _facts(run: Run) -> Iterator[tuple[Fact, int]]:
    now = 1_000
    yield RunStarted(workflow=run.id, definition=run.id, input=Raw(b'{"go":false}')), now
    if run.graph is None:
        return
    yield CancelRequested(), now
    for node in run.graph.nodes if len(run.steps) else ():
        ticket = ticket_text(node.step.id, run.steps[node.position])
        yield StepSucceeded(ticket=ticket), now
        yield StepFailed(ticket=ticket, error="no"), now
        yield StepContinued(ticket=ticket, checkpoint=Raw(b"1")), now
        yield RunContinued(ticket=ticket), now
        yield ApprovalDecided(ticket=ticket, approved=True), now
        yield ApprovalDecided(ticket=ticket, approved=False), now
        if run.budget is not None:
            yield UsageReported(ticket=ticket, n=0, input_tokens=2), now
        yield GateGranted(gate=node.gate, ticket=ticket), now
        yield GateRefused(gate=node.gate, ticket=ticket, reason="full"), now
    yield GateGranted(gate="", ticket=run_ticket(run)), now
    yield GateRefused(gate="", ticket=run_ticket(run), reason="full"), now
    yield RetryRequested(epoch=run.epoch + 1), now
    if run.budget is not None:
        yield BudgetRaised(more=Budget(tokens=9), epoch=run.epoch + 1), now
    due_ms = run.armed_ms or now
    yield TimerFired(due_ms=due_ms), due_ms
    for state in run.steps:  # a moment late: the loop's time is over as well
        if state.bound_ms:
            yield TimerFired(due_ms=due_ms), state.bound_ms


def _note(run: Run, after: Run, fact: Fact, runs: Moves, steps: Moves) -> None:
    kind = type(fact).__struct_config__.tag
    if after.status != run.status:
        runs.setdefault((run.status, after.status), set()).add(str(kind))
    if run.graph is None:
        return
    for node in run.graph.nodes if len(after.steps) else ():
        now = after.steps[node.position]
        before = run.steps[node.position] if len(run.steps) else states.StepState()
        if before.status == now.status and before.iteration == now.iteration:
            continue
        own = getattr(fact, "ticket", "") == ticket_text(node.step.id, before)
        reason = str(kind) if own or isinstance(fact, TimerFired) else FOLLOWS
        unused = node.aux and now.status == states.SKIPPED
        if now.status == states.CANCELLED or unused:
            reason = ENDED
        elif now.status == states.RECOVERED:
            reason = HELPED
        elif node.aux and before.status == states.PENDING:
            reason = HELPS
        steps.setdefault((before.status, now.status), set()).add(reason)


def mermaid(found: Moves, start: str, direction: str) -> str:
    """A state diagram of some moves."""
    order = [
        value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)
    ]
    place = {status: number for number, status in enumerate(dict.fromkeys(order))}
    lines = ["stateDiagram-v2", f"    direction {direction}", f"    [*] --> {start}"]
    for (before, after), reasons in sorted(
        found.items(), key=lambda item: (place[item[0][0]], place[item[0][1]])
    ):
        lines.append(f"    {before} --> {after}: {', '.join(sorted(reasons))}")
    over = states.SATISFIED | states.CLOSED
    ends = sorted({after for _, after in found} & over, key=place.__getitem__)
    lines += [f"    {status} --> [*]" for status in ends]
    return "\n".join(["```mermaid", *lines, "```"])


def run_diagram() -> str:
    """What a run can become."""
    return mermaid(moves()[0], states.UNSTARTED, "LR")


def step_diagram() -> str:
    """What a step can become."""
    return mermaid(moves()[1], states.PENDING, "TB")
