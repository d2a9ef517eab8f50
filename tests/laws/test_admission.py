"""Limits as a run sees them: what it asks gates for and gives back, and how much of it is under way."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.admission import run_ticket
from dagnats.core.commands import AskGate, Command, Dispatch, LeaveGate
from dagnats.core.definition import read_workflow
from dagnats.core.events import (
    Event,
    Fact,
    GateChecked,
    GateGranted,
    GateRefused,
    RunStarted,
    StepSucceeded,
    TimerFired,
)
from dagnats.core.graph import Graph, compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.run import Run
from dagnats.core.state import HELD, PENDING, ticket_text
from dagnats.core.validate import problems_of
from tests.laws.test_every_kind import EXAMPLES, FILE, START, check, facts, tickets

# Of each task one at a time for each n; most inputs have an n, so that some fail for want of a key.
LIMITS = [{"concurrency": 1, "key": "n"}]
MOST = 2


def graph_of(file: dict) -> Graph:
    """A file's graph."""
    workflow, problems = read_workflow(file)
    assert workflow is not None
    assert not [*problems, *problems_of(workflow)]
    return compile_graph(workflow, "digest")


def limited(**more: object) -> Graph:
    """Every kind of step, with limits on what runs a task."""
    steps = [
        {**step, "limits": LIMITS if step["id"] in ("a", "loop", "mend") else [{"concurrency": 9}]}
        if "task" in step
        else step
        for step in FILE["steps"]
    ]
    return graph_of({**FILE, "steps": steps, **more})


GRAPHS = {
    "steps": limited(),
    "runs": limited(concurrency={"max_runs": 1}),
    "room": limited(concurrency={"max_steps": MOST}),
    "all": limited(concurrency={"max_runs": 1, "max_steps": MOST}),
}


@st.composite
def from_gates(draw: st.DrawFn, run: Run) -> Fact:
    """What gates say, mostly to who waits for it; now and then it comes late."""
    waiting = (
        run_ticket(run) if run.status == PENDING else draw(st.sampled_from(tickets(run, HELD)))
    )
    ticket = draw(st.sampled_from([waiting, waiting, waiting, "a/1/0", "!run/0"]))
    kind = draw(st.integers(0, 7))
    if kind == 0:
        return GateRefused(gate="gate=task=t", ticket=ticket, reason="full", retry_after_ms=5)
    if kind == 1:
        return GateChecked(gate="gate=task=t", ticket=ticket)
    return GateGranted(gate="gate=task=t", ticket=ticket)


def needed(run: Run) -> set[str]:
    """The tickets for which a run needs a gate."""
    if run.closed:
        return set()
    assert run.graph is not None
    own = {run_ticket(run)} if run.graph.workflow.limits else set()
    return own | {
        ticket_text(node.step.id, state)
        for node, state in zip(run.graph.nodes, run.steps, strict=True)
        if node.gate and state.under_way
    }


def room_taken(run: Run) -> int:
    """How many steps are under way, counted anew."""
    return sum(state.under_way and not state.caller for state in run.steps)


class Gates:
    """What a run has of gates, by what it told them."""

    def __init__(self) -> None:
        self.has: set[str] = set()

    def hear(self, commands: list[Command], run: Run) -> None:
        """What one fact caused."""
        for command in commands:
            if isinstance(command, AskGate):
                self.has.add(command.ticket)
            elif isinstance(command, LeaveGate):
                self.has.discard(command.ticket)
            elif isinstance(command, Dispatch):
                assert run.graph is not None
                node, state = run.graph.nodes[command.position], run.steps[command.position]
                assert not node.gate or ticket_text(node.step.id, state) in self.has


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(GRAPHS)), st.data())
def test_nothing_is_kept_that_is_not_needed(name, data):
    """After every fact a run has asked for what it needs, has given back the rest, and stays within its room."""
    graph, gates = GRAPHS[name], Gates()
    run, commands = advance(new_run("r1", graph), Event(1, 1_000_000, START))
    gates.hear(commands, run)
    at_ms = 1_000_000
    for seq in range(2, data.draw(st.integers(5, 60))):
        at_the_gate = data.draw(st.integers(0, 1))
        fact = data.draw(from_gates(run) if at_the_gate else facts(run))
        due = isinstance(fact, TimerFired) and fact.due_ms
        at_ms = max(at_ms + data.draw(st.integers(0, 200)), due or 0)
        before = msgspec.structs.replace(run)
        after, commands = advance(run, Event(seq, at_ms, fact))

        assert run == before, "the input was changed"
        assert advance(after, Event(seq, at_ms, fact)) == (after, []), "folded twice"
        run = after
        gates.hear(commands, run)
        assert gates.has == needed(run)
        if run.graph.workflow.max_steps and not run.closed:
            assert run.active == room_taken(run) <= MOST
            assert not any(state.in_line for state in run.steps) or run.active == MOST
        if run.status != PENDING:
            check(run)


@pytest.mark.parametrize("most", [1, 7])
def test_very_many_items_in_little_room(most):
    """10,000 items of a map go through in order, and what one costs does not grow with how many wait."""
    items = 10_000
    graph = graph_of(
        {
            "name": "w", "concurrency": {"max_steps": most},
            "steps": [{"id": "m", "task": "t", "type": "map", "input": {"$input": ""}, "config": {"max_items": items}}],
        }
    )  # fmt: skip
    given_ = Raw(msgspec.json.encode(list(range(items))))
    start = RunStarted(workflow="w", definition="digest", input=given_)
    run, commands = advance(new_run("r1", graph), Event(1, 1_000, start))
    seq, out = 1, [c.ticket for c in commands if isinstance(c, Dispatch)]
    order = list(out)
    while out:
        assert run.active == len(out) <= most
        seq += 1
        done = StepSucceeded(ticket=out.pop(0), output=Raw(b"1"))
        run, commands = advance(run, Event(seq, 1_000 + seq, done))
        new = [c.ticket for c in commands if isinstance(c, Dispatch)]
        out += new
        order += new

    assert run.status == "completed"
    assert order == [f"m#{n}/1/0" for n in range(items)]


def test_a_step_that_cannot_ask_when_its_turn_has_come_fails():
    """The key is looked for when there is room; the run ends then, and does not wait for ever."""
    graph = graph_of(
        {
            "name": "w", "concurrency": {"max_steps": 1},
            "steps": [{"id": "a", "task": "t"}, {"id": "b", "task": "u", "limits": LIMITS}],
        }
    )  # fmt: skip
    start = RunStarted(workflow="w", definition="digest", input=Raw(b'{"x":1}'))
    run, _ = advance(new_run("r1", graph), Event(1, 1_000, start))
    assert run.steps[1].in_line
    run, _ = advance(run, Event(2, 1_001, StepSucceeded(ticket="a/1/0", output=Raw(b"1"))))

    assert run.status == "failed"
    assert run.error is not None
    assert 'key "n" is not in the input, which has: x' in run.error.message
