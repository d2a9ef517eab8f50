"""The laws of ``advance`` (L1 to L14), each over aimed stories about random workflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dagnats.core import snapshot
from dagnats.core.commands import ArmTimer, CloseRun, Command, DeadLetter, Dispatch
from dagnats.core.events import Event, RunStarted, StepSucceeded, TimerFired
from dagnats.core.machine import advance, fold, in_force, new_run, outstanding
from dagnats.core.run import Run
from dagnats.core.state import (
    CANCELLED,
    OPEN,
    PENDING,
    RECOVERED,
    RUNNING,
    SATISFIED,
    SKIPPED,
    step_of_ticket,
)
from tests.support.builders import queued
from tests.support.strategies import Script, scripts

Move = tuple[Run, Event, Run, list[Command]]


def moves(script: Script) -> Iterator[Move]:
    """Each fact with the run before and after it, and what it commanded."""
    run = script.fresh()
    for event in script.events:
        after, commands = advance(run, event)
        yield run, event, after, commands
        run = after


def ids(commands: list[Command]) -> list[str]:
    """What commands are called; timers apart, they may be asked for once."""
    return [each.id for each in commands if not isinstance(each, ArmTimer)]


def same(left: Run, right: Run) -> bool:
    """Whether two runs differ in nothing but how many facts they saw."""
    return replace(left, seq=0, facts=0) == replace(right, seq=0, facts=0)


@given(scripts())
def test_it_is_total(script):
    """L1: no fact makes it raise, and each is counted, whatever it says."""
    for number, (_, event, after, _) in enumerate(moves(script), 1):
        assert (after.seq, after.facts) == (event.seq, number)


@given(scripts())
def test_a_fact_folds_once(script):
    """L2: the same fact again, or any earlier one, changes nothing and commands nothing."""
    for _, event, after, _ in moves(script):
        assert advance(after, event) == (after, [])
        assert advance(after, script.events[0]) == (after, [])


@given(scripts())
def test_a_closed_run_absorbs_everything(script):
    """L3: after the end, facts are counted and nothing else happens."""
    for before, _, after, commands in moves(script):
        if before.closed:
            assert same(before, after)
            assert not commands


@given(scripts())
def test_an_open_run_has_something_outstanding(script):
    """L4: while a run is open, somebody will make it move: a ticket is in force or a timer armed."""
    for _, _, after, _ in moves(script):
        if after.status == RUNNING:
            assert queued(after) or after.armed_ms


@given(scripts())
def test_every_deadline_is_armed(script):
    """L4: the one timer never fires later than the first thing that waits for it."""
    for _, _, after, _ in moves(script):
        deadlines = [state.deadline_ms for state in after.steps if state.deadline_ms]
        deadlines += [after.deadline_ms] if after.deadline_ms else []
        if after.status == RUNNING and deadlines:
            assert 0 < after.armed_ms <= min(deadlines)


@given(scripts())
def test_it_is_deterministic(script):
    """L5: the same log gives the same run and the same commands in the same order."""
    again = Script(script.graph, script.events)

    assert list(moves(script)) == list(moves(again))


@given(scripts())
def test_commands_are_what_newly_came_into_force(script):
    """L6: what a fact commands is what is outstanding after it and was not before."""
    for before, _, after, commands in moves(script):
        owed = Counter(ids(outstanding(after))) - Counter(ids(outstanding(before)))
        expected = Counter() if before.closed else owed

        assert Counter(ids(commands)) == expected


@given(scripts())
def test_the_timer_is_armed_when_it_must_change(script):
    """L6: the timer is armed anew when it is due at another time, or has just fired."""
    for before, event, after, commands in moves(script):
        armed = [each.due_ms for each in commands if isinstance(each, ArmTimer)]
        folded = isinstance(event.fact, TimerFired) and before.status == RUNNING
        must = after.armed_ms and (folded or after.armed_ms != before.armed_ms)

        assert armed == ([after.armed_ms] if must else [])


@given(scripts())
def test_attempts_and_iterations_are_bounded(script):
    """L7: no step runs more often than its policy and its loop allow."""
    default = script.graph.workflow.default_retry
    for _, _, after, _ in moves(script):
        for node, state in zip(script.graph.nodes, after.steps, strict=False):
            policy = node.step.retry or default
            assert state.attempt <= (policy.attempts if policy else 1)
            assert state.iteration < (node.step.loop.max_iterations if node.step.loop else 1)


@given(scripts())
def test_a_command_is_asked_for_once(script):
    """L8: over a whole run no command but arming the timer comes twice."""
    commanded = [each for _, _, _, commands in moves(script) for each in ids(commands)]

    assert len(commanded) == len(set(commanded))


@given(scripts())
def test_what_is_outstanding_was_commanded(script):
    """L8: whenever a process dies, all it must do again is something it was told before."""
    commanded: set[str] = set()
    for _, _, after, commands in moves(script):
        commanded.update(each.id for each in commands)
        assert {each.id for each in outstanding(after)} <= commanded


@given(scripts())
def test_only_the_ticket_in_force_is_honoured(script):
    """L9: an answer changes the run exactly when its ticket is in force."""
    for before, event, after, commands in moves(script):
        ticket = getattr(event.fact, "ticket", None)
        if ticket is not None:
            assert in_force(before, ticket) == (ticket in queued(before) and not before.closed)
            assert same(before, after) == (not in_force(before, ticket))
            assert in_force(before, ticket) or not commands


@given(scripts())
def test_a_closed_run_has_no_open_step(script):
    """L11: closed means closed: a time, no open step, no timer; and an error unless completed."""
    for _, _, after, _ in moves(script):
        assert after.closed == bool(after.closed_ms)
        if after.closed:
            assert not any(state.status in OPEN for state in after.steps)
            assert not after.armed_ms
            assert bool(after.error) == (after.status != "completed")
            assert bool(after.output) == (after.status == "completed")


@given(scripts())
def test_a_run_says_once_how_it_ended(script):
    """L11: CloseRun comes once, last, after the dead letter of the step that ended the run."""
    commanded = [each for _, _, _, commands in moves(script) for each in commands]
    run = fold(script.fresh(), script.events)
    closing = [each for each in commanded if isinstance(each, CloseRun | DeadLetter)]

    if run.closed:
        letters = [DeadLetter] if run.failed_at >= 0 else []
        assert commanded[-1] == CloseRun(run.id, run.abandoned)
        assert [type(each) for each in closing] == [*letters, CloseRun]
    else:
        assert not closing


@given(scripts())
def test_a_run_is_abandoned_when_tickets_were_out(script):
    """L11: tickets count as abandoned exactly when the run ended under them."""
    for before, _, after, _ in moves(script):
        if after.closed and not before.closed:
            cancelled = [ticket for ticket in queued(before) if _status(after, ticket) == CANCELLED]
            assert after.abandoned or not cancelled
            assert not after.abandoned or any(each.status == CANCELLED for each in after.steps)


def _status(run: Run, ticket: str) -> str:
    assert run.graph is not None
    return run.steps[run.graph.index[step_of_ticket(ticket)]].status


@given(scripts(hostile=False), st.data())
def test_a_snapshot_and_the_tail_are_the_log(script, data):
    """L12: at every cut, the saved fold and the rest of the log give the same run."""
    whole = fold(script.fresh(), script.events)
    cut = data.draw(st.integers(0, len(script.events)))
    saved = snapshot.read(snapshot.save(fold(script.fresh(), script.events[:cut])))

    assert saved is not None
    restored = snapshot.restore(saved, script.graph)
    assert restored is not None
    assert fold(restored, script.events[cut:]) == whole


@given(scripts(hostile=False))
def test_the_input_is_left_alone(script):
    """L13: folding a fact does not touch the run it was given."""
    run = script.fresh()
    for event in script.events:
        before = snapshot.save(run)
        after, _ = advance(run, event)
        assert snapshot.save(run) == before
        run = after


@given(scripts())
def test_independent_answers_commute(script):
    """L14: two workers that answer at the same moment may be heard in either order."""
    for _, _, run, _ in moves(script):
        pair = tuple(queued(run)[:2])
        if len(pair) == 2 and run.status == RUNNING:
            one, other = _both(run, pair), _both(run, pair[::-1])
            assert one.status == other.status
            assert one.status == "failed" or one == other


def _both(run: Run, tickets: tuple[str, ...]) -> Run:
    at_ms = run.started_ms + 1
    facts = [StepSucceeded(ticket=ticket) for ticket in tickets]
    return fold(run, [Event(run.seq + n, at_ms, fact) for n, fact in enumerate(facts, 1)])


@given(scripts())
def test_counters_count(script):
    """The counters that make settling cheap agree with counting from the beginning."""
    for _, _, after, _ in moves(script):
        if after.status == RUNNING:
            _counted(after, script)


def _counted(run: Run, script: Script) -> None:
    states = [run.steps[node.position] for node in script.graph.nodes]
    pairs = list(zip(script.graph.nodes, states, strict=True))
    waited_for = [s for n, s in pairs if not (n.aux and s.status == PENDING)]
    assert run.open == sum(state.status not in SATISFIED for state in waited_for) > 0
    for node, state in pairs:
        if state.status == PENDING:
            left = sum(states[parent].status not in SATISFIED for parent in node.parents)
            assert state.blockers == left
            assert left or node.aux


@given(scripts())
def test_steps_begin_when_their_parents_are_satisfied(script):
    """A step is dispatched only below satisfied parents, and never below a recovered failure."""
    for _, _, after, commands in moves(script):
        for command in commands:
            if isinstance(command, Dispatch):
                parents = script.graph.nodes[command.position].parents
                states = [after.steps[parent] for parent in parents]
                assert all(state.status in SATISFIED for state in states)
                assert not any(s.status == RECOVERED or s.bypassed for s in states)


@given(scripts())
def test_what_is_below_a_recovered_failure_is_bypassed(script):
    """Bypassing is transitive: a step is bypassed exactly when a parent is, or was recovered."""
    run = fold(script.fresh(), script.events)
    for node, state in zip(script.graph.nodes, run.steps, strict=False):
        parents = [run.steps[parent] for parent in node.parents]
        above = any(parent.status == RECOVERED or parent.bypassed for parent in parents)
        if state.bypassed or (state.status in SATISFIED and node.parents):
            assert state.bypassed == above
            assert not state.bypassed or state.status == SKIPPED


@given(scripts())
def test_a_completed_run_has_satisfied_every_step(script):
    """Completed says that every step is completed, skipped or recovered."""
    run = fold(script.fresh(), script.events)

    assert run.status != "completed" or all(state.status in SATISFIED for state in run.steps)


@given(scripts())
def test_time_does_not_run_ahead(script):
    """No fact, however wrong its timer, moves a run beyond the log's time or what was armed."""
    armed = 0
    for before, event, after, _ in moves(script):
        armed = max(armed, before.armed_ms)
        ends = [state.ended_ms for state in after.steps] + [after.closed_ms]
        assert max(ends) <= max(event.at_ms, armed)


@given(scripts())
def test_a_run_without_its_definition_fails_at_once(script):
    """L1: a run whose definition is gone ends as failed at its start, and says why."""
    run = new_run("r1", None)
    for event in script.events:
        run, commands = advance(run, event)
        if isinstance(event.fact, RunStarted) and commands:
            assert commands == [CloseRun("r1", abandoned=False)]

    assert run.status == "failed"
    assert run.error is not None
    assert run.error.failure == "definition_missing"
