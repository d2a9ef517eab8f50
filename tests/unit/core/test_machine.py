"""``advance``, ``outstanding`` and ``in_force``: starts, cancels, timers, and facts that come amiss."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.commands import ArmTimer, CloseRun, DeadLetter, Dispatch
from dagnats.core.events import (
    CancelRequested,
    Event,
    RunStarted,
    StepContinued,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from dagnats.core.machine import advance, fold, in_force, new_run, outstanding
from tests.support.builders import T0, Story, a_loop, a_step, raw, retries

START = RunStarted(
    workflow="flow", definition="digest", input=raw(1), metadata={"k": "v"}, tags=("t",)
)


def test_a_start():
    """Starting pins everything the client said, and the log's time."""
    run = Story("a", begin=False).tell(START).run

    assert (run.status, run.workflow, run.definition) == ("running", "flow", "digest")
    assert (run.input, run.metadata, run.tags) == (raw(1), {"k": "v"}, ("t",))
    assert (run.started_ms, run.deadline_ms, run.seq, run.facts) == (T0, 0, 1, 1)


def test_nothing_counts_before_the_start():
    """Facts about a run that has not begun are counted and nothing else."""
    story = Story("a", begin=False).cancel().tell(StepSucceeded(ticket="a/1/0"))
    story.tell(TimerFired(due_ms=T0))

    assert (story.run.status, story.all, outstanding(story.run)) == ("unstarted", [], [])
    assert not in_force(story.run, "a/1/0")
    assert story.tell(START).dispatched == ["a/1/0"]


def test_a_second_start_is_absorbed():
    """A run starts once."""
    story = Story("a")
    before = story.run
    story.tell(RunStarted(workflow="other", definition="else"))

    assert replace(story.run, seq=1, facts=1) == before
    assert story.commands == []


def test_a_start_without_a_definition():
    """A run whose definition is gone fails at once, and says which."""
    run, commands = advance(new_run("r1", None), Event(1, T0, START))

    assert (run.status, run.closed_ms, run.error.failure) == ("failed", T0, "definition_missing")
    assert run.error.message == 'definition digest of workflow "flow" is not in the registry'
    assert commands == outstanding(run) == [CloseRun("r1", abandoned=False)]
    assert not in_force(run, "a/1/0")


def test_the_same_fact_again():
    """A sequence that was folded changes nothing at all."""
    story = Story("a", "b").succeed("a")

    assert advance(story.run, story.events[-1]) == (story.run, [])
    assert advance(story.run, story.events[0]) == (story.run, [])


def test_the_same_answer_again():
    """An answer that was stored twice is honoured once."""
    story = Story("a", "b").succeed("a", 1)
    story.tell(story.events[-1].fact)

    assert story.commands == []
    assert story.statuses == {"a": "completed", "b": "queued"}


def test_the_second_of_two_answers():
    """The first answer to a ticket counts, whatever the second says."""
    story = Story("a", "b").succeed("a", 1).tell(StepFailed(ticket="a/1/0", error="late"))

    assert story.state("a").output == raw(1)
    assert story.run.status == "running"


@pytest.mark.parametrize(
    "ticket",
    [
        "",
        "/",
        "a",
        "a/",
        "a/1",
        "a/2/0",
        "a/1/1",
        "a/0/0",
        "a/01/0",
        "a/1/0/0",
        " a/1/0",
        "A/1/0",
        "b/0/0",
        "z/1/0",
        "é/1/0",
    ],
)
def test_tickets_that_are_not_in_force(ticket):
    """An answer counts only with exactly the ticket that is in force."""
    story = Story("a", "b")
    for fact in (
        StepSucceeded(ticket=ticket),
        StepFailed(ticket=ticket, error="x"),
        StepContinued(ticket=ticket),
    ):
        story.tell(fact)
        assert story.commands == []

    assert story.statuses == {"a": "queued", "b": "pending"}
    assert not in_force(story.run, ticket)
    assert in_force(story.run, "a/1/0")


def waiting() -> Story:
    """A run whose one step waits for its retry."""
    return Story(a_step("a", retry=retries(3)), "b").fail("a")


CANCELLABLE = {
    "queued": (lambda: Story("a", "b"), True),
    "waiting": (waiting, False),
    "looping": (lambda: Story(a_loop("a", loop_delay_ms=50), "b").carry_on("a"), False),
    "halfway": (lambda: Story("a", "b").succeed("a"), True),
    "recovering": (
        lambda: Story(a_step("a", on_failure="h"), a_step("h"), a_step("b", "a")).fail("a"),
        True,
    ),
}


@pytest.mark.parametrize(("story", "out"), CANCELLABLE.values(), ids=CANCELLABLE)
def test_a_cancel(story, out):
    """Whatever a run is doing, a cancel closes it: open steps cancelled, the timer off, workers told."""
    story = story().wait(9).cancel("not wanted")

    assert (story.run.status, story.run.closed_ms) == ("cancelled", T0 + 9)
    assert (story.run.error.message, story.run.error.failure) == ("not wanted", "cancelled")
    assert story.run.armed_ms == 0
    assert story.commands == [CloseRun("r1", abandoned=out)]
    assert not {"queued", "waiting", "pending"} & set(story.statuses.values())


def test_a_cancel_keeps_what_was_done():
    """Steps that ended stay as they ended; an unused handler is skipped, not cancelled."""
    story = Story(a_step("a", on_failure="h"), a_step("h"), a_step("b", "a")).succeed("a").cancel()

    assert story.statuses == {"a": "completed", "h": "skipped", "b": "cancelled"}
    assert story.run.error.message == "cancelled"


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_after_the_end(ending):
    """A closed run absorbs everything: answers, timers, cancels, starts."""
    story = Story("a")
    {"completed": story.succeed, "failed": story.fail, "cancelled": lambda _: story.cancel()}[
        ending
    ]("a")
    closed = story.run
    for fact in (StepSucceeded(ticket="a/1/0"), TimerFired(due_ms=T0), CancelRequested(), START):
        story.tell(fact)
        assert story.commands == []

    assert replace(story.run, seq=closed.seq, facts=closed.facts) == closed
    assert not in_force(story.run, "a/1/0")


def test_the_runs_own_time():
    """A run that takes too long fails with that reason; its tickets are abandoned."""
    story = Story("a", "b", timeout_ms=5_000)
    assert story.armed == [5_000]

    story.fire()

    assert (story.run.status, story.run.error.failure) == ("failed", "timeout")
    assert story.run.error.message == "timeout: the run took longer than 5s"
    assert story.commands == [CloseRun("r1", abandoned=True)]


def test_the_runs_time_outranks_a_step():
    """When both are due at once the run's time is over, and the step is not tried again."""
    story = (
        Story(a_step("a", retry=retries(1, initial_ms=1_000)), timeout_ms=1_000).fail("a").fire()
    )

    assert story.run.error.failure == "timeout"
    assert story.dispatched == []


def test_the_earliest_deadline_is_armed():
    """The one timer is for what comes first; arming replaces, and a later one arms nothing."""
    policies = [retries(1, initial_ms=ms) for ms in (500, 200, 900)]
    steps = [a_step(name, retry=policy) for name, policy in zip("abc", policies, strict=True)]
    story = Story(*steps)

    assert story.fail("a").armed == [500]
    assert story.fail("b").armed == [200]
    assert story.fail("c").armed == []


def test_a_timer_does_all_that_is_due():
    """What became due together goes on together; then the timer is armed for the rest."""
    steps = [
        a_step(name, retry=retries(1, initial_ms=ms))
        for name, ms in (("a", 200), ("b", 300), ("c", 900))
    ]
    story = Story(*steps).fail("a").fail("b").fail("c").wait(400).fire()

    assert story.dispatched == ["a/2/0", "b/2/0"]
    assert story.armed == [900]


def test_a_timer_that_was_replaced():
    """A timer that fires although an earlier one took its place does what is due by its own time only."""
    story = Story(a_step("a", retry=retries(1, initial_ms=200))).fail("a")
    story.tell(TimerFired(due_ms=T0 + 100))

    assert story.dispatched == []
    assert story.armed == [200]


def test_a_timer_that_is_early_by_the_logs_clock():
    """The server says when a timer is due; a log whose clock lags behind does not stop it."""
    story = waiting()
    story.tell(TimerFired(due_ms=T0 + 1_000), at_ms=T0 + 999)

    assert story.dispatched == ["a/2/0"]
    assert story.state("a").since_ms == T0 + 1_000


def test_a_timer_that_is_late():
    """A timer that comes hours later does what it was for."""
    story = waiting().wait(10_000_000)

    assert story.tell(TimerFired(due_ms=T0 + 1_000)).dispatched == ["a/2/0"]
    assert story.state("a").since_ms == T0 + 10_000_000


def test_a_timer_that_fires_twice():
    """The second time nothing is due."""
    story = waiting().fire()
    story.tell(story.events[-1].fact)

    assert story.commands == []


@pytest.mark.parametrize("due_ms", [-1, 0, 10**15, 10**40])
def test_a_timer_from_nowhere(due_ms):
    """A forged timer moves no time: nothing later than what was armed is believed."""
    story = waiting().tell(TimerFired(due_ms=due_ms))
    quiet = Story("a").tell(TimerFired(due_ms=due_ms))

    assert story.state("a").since_ms <= T0 + 1_000
    assert quiet.commands == []
    assert quiet.statuses == {"a": "queued"}


def test_a_timer_for_something_that_has_passed():
    """A bound whose loop has ended fires for nothing, and arms what is left."""
    story = Story(a_loop("a", max_duration_ms=300), "b", timeout_ms=9_000).succeed("a").fire()

    assert story.dispatched == []
    assert story.armed == [9_000]


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b"[" * 5_000, b"nonsense"])
def test_payloads_that_are_not_json(payload):
    """Bytes that are no JSON pass through, or fail the step that looks into them; nothing raises."""
    look = {"$step": "a", "path": "x.y"}
    story = Story(a_loop("a"), "b", a_step("c", "a", input=look))
    story.tell(StepContinued(ticket="a/1/0", checkpoint=Raw(payload)))
    story.tell(StepSucceeded(ticket="a/1/1", output=Raw(payload)))

    assert story.run.error.failure == "invalid_input"


def test_a_run_input_that_is_not_json():
    """The same for what the client sent."""
    story = Story(a_step("a", input={"$input": "x"}), begin=False)
    story.tell(RunStarted(workflow="flow", definition="digest", input=Raw(b"\xff{")))

    assert story.run.error.failure == "invalid_input"


def test_outstanding_is_what_is_in_force():
    """Asked at any time: the tickets that are out, and the timer; when closed, the end."""
    story = Story(a_step("a", retry=retries(1)), a_step("b"), a_step("c", "b"))
    assert outstanding(story.run) == [Dispatch("r1", "a/1/0", 0), Dispatch("r1", "b/1/0", 1)]

    story.fail("a").succeed("b")
    assert outstanding(story.run) == [Dispatch("r1", "c/1/0", 2), ArmTimer("r1", T0 + 1_000)]

    story.fail("c")
    assert outstanding(story.run) == [DeadLetter("r1", "c/1/0", 2), CloseRun("r1", abandoned=False)]
    assert outstanding(story.run) == story.commands


def test_folding_drops_the_commands():
    """``fold`` is ``advance`` over and over."""
    story = Story("a", "b").succeed("a").succeed("b")

    assert fold(new_run("r1", story.graph), story.events) == story.run


def test_ids_of_commands():
    """A command's id says what it means, and is the same whenever it is asked for."""
    assert Dispatch("r", "a/1/0", 3).id == "r/a/1/0:dispatch"
    assert ArmTimer("r", 17).id == "r:timer:17"
    assert DeadLetter("r", "a/1/0", 3).id == "r/a/1/0:dead"
    assert CloseRun("r", abandoned=True).id == CloseRun("r", abandoned=False).id == "r:closed"


# -- sticky runs -----------------------------------------------------------------------------------


def answered(story: Story, step: str, worker: str) -> str:
    """Whom the run is bound to after a worker completed a step."""
    story.tell(StepSucceeded(ticket=story.ticket(step), worker=worker))
    return story.run.worker


def test_a_hard_sticky_run_stays_with_who_completed_its_first_step():
    """Whoever answers later."""
    story = Story("a", a_step("b", "a"), a_step("c", "b"), sticky="hard", timeout_ms=60_000)

    assert story.run.worker == ""
    assert [answered(story, step, worker) for step, worker in ("ax", "by")] == ["x", "x"]


def test_a_soft_sticky_run_goes_with_who_completed_its_last_step():
    """So that it has one worker again after the first is gone."""
    story = Story("a", a_step("b", "a"), a_step("c", "b"), sticky="soft")

    assert [answered(story, step, worker) for step, worker in ("ax", "by")] == ["x", "y"]


def test_who_only_failed_at_a_step_is_not_bound():
    """A retry may be anywhere; an iteration binds as a completion does."""
    story = Story(a_step("a", retry=retries(1)), a_loop("b"), sticky="soft")
    story.tell(StepFailed(ticket=story.ticket("a"), worker="x", error="boom"))
    assert story.run.worker == ""
    story.tell(StepContinued(ticket=story.ticket("b"), worker="y"))

    assert story.run.worker == "y"


def test_answers_out_of_force_and_odd_names_do_not_bind():
    """Nor does anything in a run that is not sticky."""
    story = Story("a", "b", sticky="soft")
    story.tell(StepSucceeded(ticket="a/7/0", worker="x"))
    answered(story, "a", "x" * 129)
    assert story.run.worker == ""
    plain = Story("a", "b")

    assert answered(plain, "a", "x") == ""
