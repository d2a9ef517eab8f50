"""The laws of the engine on a workflow with a step of every kind, under facts that mostly are to the point."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core import snapshot
from dagnats.core.commands import CloseRun, Dispatch
from dagnats.core.definition import read_workflow
from dagnats.core.events import (
    ApprovalDecided,
    BudgetRaised,
    CancelRequested,
    ChildClosed,
    ChildReported,
    ChildStarted,
    ControlDecided,
    Event,
    EventReceived,
    Fact,
    RetryRequested,
    RunContinued,
    RunStarted,
    SignalReceived,
    StepCalled,
    StepContinued,
    StepFailed,
    StepParked,
    StepPlanned,
    StepSucceeded,
    TimerFired,
    UsageReported,
)
from dagnats.core.graph import NOWHERE, Node, compile_graph
from dagnats.core.machine import advance, new_run, outstanding
from dagnats.core.model import Budget, Usage
from dagnats.core.run import Run
from dagnats.core.state import HELD, OPEN, QUEUED, SATISFIED, WAITING, ticket_text
from dagnats.core.validate import problems_of

EXAMPLES = int(os.environ.get("LAW_EXAMPLES", "200"))
QUESTION = {"timeout": "1h"}
RETRY = {"max_attempts": 1, "initial_delay": "1s"}
STEPS: list[dict[str, Any]] = [
    {"id": "a", "task": "t", "retry": RETRY, "compensate": "undo"},
    {"id": "undo", "task": "t", "retry": RETRY},
    {"id": "nap", "type": "sleep", "config": {"duration": "10s"}, "depends_on": ["a"]},
    {"id": "each", "type": "map", "task": "t", "depends_on": ["a"], "input": [1, 2, 3], "retry": RETRY,
     "config": {"concurrency": 2, "tolerate": 1}},
    {"id": "plan", "type": "planner", "task": "t", "depends_on": ["a"], "retry": RETRY,
     "config": {"max_steps": 3, "preview": QUESTION}},
    {"id": "loop", "type": "agent_loop", "task": "t", "depends_on": ["a"],
     "loop": {"max_iterations": 3, "budget": {"tokens": 9, "wall": "30m", "iterations": 2}}},
    {"id": "ok", "type": "approval", "config": QUESTION, "depends_on": ["nap"], "on_failure": "mend"},
    {"id": "mend", "task": "t"},
    {"id": "sig", "type": "wait_for_signal", "config": {"name": "go"}, "depends_on": ["each"]},
    {"id": "paid", "type": "wait_for_event", "depends_on": ["each"],
     "config": {"event": "paid", "timeout": "1h", "match": {"left": "id", "right": "input.n"}}},
    {"id": "sub", "type": "sub_workflow", "config": {"workflow": "other"}, "depends_on": ["plan"], "retry": RETRY},
    {"id": "gone", "type": "sub_workflow", "config": {"workflow": "other", "detach": True}},
    {"id": "say", "type": "respond", "depends_on": ["loop"]},
    {"id": "away", "type": "agent", "task": "t", "depends_on": ["say", "paid", "sig", "sub", "ok"]},
]  # fmt: skip
FILE = {
    "name": "every",
    "timeout": "2h",
    "budget": {"tokens": 25, "wall": "1h"},
    "steps": STEPS,
    "cancel_on": [{"event": "stop", "match": {"left": "id", "right": "input.n"}}],
}
WORKFLOW, PROBLEMS = read_workflow(FILE)
assert WORKFLOW is not None
assert not [*PROBLEMS, *problems_of(WORKFLOW)]
GRAPH = compile_graph(WORKFLOW, "digest")
START = RunStarted(workflow="every", definition="digest", input=Raw(b'{"n":1}'))
PLANS = (
    b'{"steps":[]}',
    b'{"steps":[{"id":"x","task":"t"},{"id":"y","task":"t","depends_on":["x"]}]}',
    b'{"steps":[{"id":"x","task":"t","depends_on":["x"]}]}',
    b"[]",
)
CALLS = (
    b'{"task":"t"}',
    b'{"type":"sleep","config":{"duration":"5s"}}',
    b'{"type":"wait_for_signal","config":{"name":"go"}}',
    b'{"type":"map","task":"t"}',
    b'{"type":"respond"}',
    b'{"type":"control","config":{"action":"start","name":"w"}}',
    b'{"type":"control"}',
    b'{"task":7}',
)


def tickets(run: Run, status: str) -> list[str]:
    """The tickets of the steps in a status."""
    assert run.graph is not None
    return [
        ticket_text(node.step.id, run.steps[node.position])
        for node in run.graph.nodes[: len(run.steps)]
        if run.steps[node.position].status == status
    ] or ["ghost/1/0"]


@st.composite
def answers(draw: st.DrawFn, run: Run) -> Fact:
    """What a worker may say, mostly under a ticket in force."""
    ticket = draw(st.sampled_from(tickets(run, QUEUED)))
    value = Raw(draw(st.sampled_from([b"1", b"[1,2]", b'{"n":2}', b"null"])))
    number = draw(st.integers(0, 1))
    kind = draw(st.integers(0, 9))
    if kind <= 3:
        return StepSucceeded(ticket=ticket, output=value)
    if kind == 4:
        failure = draw(st.sampled_from(["retriable", "non_retriable", "budget_exceeded"]))
        return StepFailed(ticket=ticket, error="no", failure=failure)
    if kind == 5:
        return StepContinued(ticket=ticket, checkpoint=value)
    if kind == 6:
        return StepPlanned(ticket=ticket, plan=Raw(draw(st.sampled_from(PLANS))))
    if kind == 7:
        step = Raw(draw(st.sampled_from(CALLS)))
        return StepCalled(ticket=ticket, n=number, step=step, input=value, worker="w")
    if kind == 8:
        return StepParked(ticket=ticket, n=number)
    if draw(st.integers(0, 5)):
        return StepSucceeded(ticket=ticket, output=value)
    return RunContinued(ticket=ticket, input=value)


@st.composite
def from_outside(draw: st.DrawFn, run: Run) -> Fact:
    """What people, events, children and clients say, mostly to who waits for it."""
    waiting = draw(st.sampled_from(tickets(run, WAITING)))
    status = draw(st.sampled_from(["completed", "failed"]))
    return draw(
        st.sampled_from(
            [
                SignalReceived(name="go", payload=Raw(b"5")),
                ApprovalDecided(ticket=waiting, approved=status == "completed", by="p"),
                EventReceived(ticket=waiting, name="paid", payload=Raw(b'{"id":1}')),
                ChildClosed(ticket=waiting, child="c", status=status, output=Raw(b"3")),
                ChildStarted(ticket=waiting, child="c"),
                ControlDecided(ticket=waiting, output=Raw(b'"c"')),
                ControlDecided(ticket=waiting, kind="denied", error="no"),
                RetryRequested(epoch=run.epoch + 1),
                RetryRequested(epoch=run.epoch),
                ChildReported(ticket=waiting, child="c", usage=Usage(reports=1, input_tokens=3)),
                BudgetRaised(more=Budget(tokens=9, wall_ms=60_000), epoch=run.epoch + 1),
                BudgetRaised(more=Budget(tokens=9, iterations=1), step="loop"),
            ]
        )
    )


@st.composite
def facts(draw: st.DrawFn, run: Run) -> Fact:
    """Any fact, mostly to the point."""
    kind = draw(st.integers(0, 16))
    if kind <= 7:
        return draw(answers(run))
    if kind <= 13:
        return draw(from_outside(run))
    rare = draw(st.integers(0, 40))
    if rare > 30:
        ticket = draw(st.sampled_from(tickets(run, QUEUED)))
        return UsageReported(ticket=ticket, n=rare % 2, input_tokens=rare % 5)
    if rare == 0:
        return CancelRequested()
    if rare == 1:
        return EventReceived(ticket="!cancel_on/0", name="stop")
    return TimerFired(due_ms=run.armed_ms)


def counted(run: Run) -> int:
    """How many steps must still be satisfied, counted anew."""
    assert run.graph is not None
    if run.saga is not None:
        return 1
    return sum(
        node.owner == NOWHERE
        and run.steps[node.position].status not in SATISFIED
        and (not node.aux or run.steps[node.position].attempt > 0)
        for node in run.graph.nodes
    )


DECIDED_ELSEWHERE = ("sub_workflow", "control")


def goes_on(run: Run, node: Node) -> bool:
    """Whether something will move a step: a ticket, a deadline, a child, a step that it owns or is parked on."""
    state = run.steps[node.position]
    if state.status in (HELD, QUEUED) or state.deadline_ms or node.step.kind in DECIDED_ELSEWHERE:
        return True
    own = state.owned
    watched = range(own.first, own.first + own.count) if own else [state.parked]
    return any(place >= 0 and run.steps[place].status in OPEN for place in watched)


def belongs(run: Run, node: Node) -> bool:
    """Whether the owner of a step is open, and still has it."""
    owner = run.steps[node.owner]
    own = owner.owned
    items = range(own.first, own.first + own.count) if own else ()
    return owner.status in OPEN and (node.position in items or node.position in owner.calls)


def check(run: Run) -> None:
    """What holds of every run at every moment."""
    assert run.graph is not None
    open_steps = [
        node for node in run.graph.nodes if run.steps[node.position].status in OPEN and not node.aux
    ]
    assert len(run.steps) == len(run.graph.nodes)
    if run.closed:
        assert not open_steps
        assert isinstance(outstanding(run)[-1], CloseRun)
        return
    assert run.open == counted(run)
    awake = [
        node
        for node in run.graph.nodes
        if run.steps[node.position].status in (HELD, QUEUED, WAITING)
    ]
    assert awake, "a run that is open waits for nothing"
    assert outstanding(run), "nothing is outstanding"
    for node in awake:
        assert run.steps[node.position].attempt > 0
        assert goes_on(run, node), f"{node.step.id} waits for nothing"
    for node in run.graph.nodes:
        if node.owner != NOWHERE and run.steps[node.position].status in OPEN:
            assert belongs(run, node), f"{node.step.id} has outlived its owner"
    saved = snapshot.read(snapshot.save(run))
    assert saved is not None
    restored = snapshot.restore(saved, compile_graph(run.graph.workflow, "digest"))
    assert restored is not None
    assert restored.graph == run.graph
    assert [c.id for c in outstanding(restored)] == [c.id for c in outstanding(run)]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_the_laws_hold_for_every_kind(data):
    """Total, bounded in what is open, never without something outstanding; snapshots bring all of it back."""
    run = new_run("r1", GRAPH)
    run, commands = advance(run, Event(1, 1_000_000, START))
    at_ms, dispatched = 1_000_000, {c.id for c in commands if isinstance(c, Dispatch)}
    reports: dict[tuple[str, int], int] = {}
    check(run)
    for seq in range(2, data.draw(st.integers(5, 60))):
        fact = data.draw(facts(run))
        due = isinstance(fact, TimerFired) and fact.due_ms
        at_ms = max(at_ms + data.draw(st.integers(0, 200)), due or 0)
        before, closed = msgspec.structs.replace(run), run.closed
        after, commands = advance(run, Event(seq, at_ms, fact))

        assert run == before, "the input was changed"
        assert advance(run, Event(seq, at_ms, fact))[0].steps == after.steps, "not deterministic"
        assert advance(after, Event(seq, at_ms, fact)) == (after, []), "folded twice"
        if closed and not isinstance(fact, RetryRequested | BudgetRaised):
            assert (after.status, commands) == (run.status, [])
        if after.usage.reports > run.usage.reports:
            assert isinstance(fact, UsageReported), "counted without a report"
            assert (fact.ticket, fact.n) not in reports, "counted twice"
            reports[fact.ticket, fact.n] = fact.input_tokens
        assert after.usage.tokens == sum(reports.values())
        new = [c.id for c in commands if isinstance(c, Dispatch)]
        assert not (new and run.over and after.over and not after.saga), "begun over the budget"
        assert len(set(new)) == len(new)
        assert not dispatched & set(new), "a ticket was dispatched twice"
        dispatched |= set(new)
        run = after
        check(run)
