"""An agent loop: every arrow of its states."""

from __future__ import annotations

from dagnats.core.events import StepContinued
from tests.support.builders import T0, Story, a_loop, a_step, raw, retries


def test_it_begins_with_iteration_zero():
    """Entering dispatches attempt 1 of iteration 0; without a bound there is no timer."""
    story = Story(a_loop("a"))

    assert (story.dispatched, story.armed) == (["a/1/0"], [])


def test_continue_dispatches_the_next_iteration():
    """Each Continue is a new ticket at once, with the checkpoint it left."""
    story = Story(a_loop("a")).carry_on("a", {"turn": 1})
    state = story.state("a")

    assert story.dispatched == ["a/1/1"]
    assert (state.status, state.iteration, state.checkpoint) == ("queued", 1, raw({"turn": 1}))


def test_a_value_ends_it():
    """A value is the loop's output, and its checkpoint is let go."""
    story = Story(a_loop("a")).carry_on("a", 1).succeed("a", "done")
    state = story.state("a")

    assert (state.status, state.output, bool(state.checkpoint)) == ("completed", raw("done"), False)


def test_continue_without_a_checkpoint_keeps_the_last():
    """A handler that leaves no checkpoint finds the one before."""
    story = Story(a_loop("a")).carry_on("a", 7).tell(StepContinued(ticket="a/1/1"))

    assert (story.state("a").iteration, story.state("a").checkpoint) == (2, raw(7))


def test_iterations_are_executions():
    """Three iterations are three executions: the third may not ask for a fourth."""
    story = Story(a_loop("a", most=3)).carry_on("a").carry_on("a")
    assert story.state("a").status == "queued"

    story.carry_on("a")

    assert story.state("a").status == "failed"
    assert story.state("a").error.failure == "max_iterations"
    assert story.state("a").error.message == "agent loop exceeded max iterations (3)"


def test_the_last_iteration_may_succeed():
    """A value in the last execution is in time."""
    assert Story(a_loop("a", most=2)).carry_on("a").succeed("a").run.status == "completed"


def test_a_delay_between_iterations():
    """With a delay the loop waits on the timer, and the next iteration begins when it is due."""
    story = Story(a_loop("a", loop_delay_ms=400)).carry_on("a", 1)
    assert (story.state("a").status, story.dispatched, story.armed) == ("waiting", [], [400])

    story.fire()

    assert story.dispatched == ["a/1/1"]
    assert story.state("a").checkpoint == raw(1)


def test_a_failed_iteration_is_retried_alone():
    """A failure is retried in the same iteration, with its checkpoint."""
    story = Story(a_loop("a", retry=retries(1))).carry_on("a", 5).fail("a").fire()

    assert story.dispatched == ["a/2/1"]
    assert story.state("a").checkpoint == raw(5)


def test_each_iteration_has_the_whole_budget():
    """Attempts count from 1 in every iteration."""
    story = Story(a_loop("a", most=9, retry=retries(1)))
    story.fail("a").fire().carry_on("a").fail("a").fire()

    assert story.dispatched == ["a/2/1"]
    assert story.fail("a").run.status == "failed"


def test_a_delay_after_a_retry_is_not_a_retry():
    """After a retried iteration asks to go on with a delay, the next begins at attempt 1."""
    story = (
        Story(a_loop("a", loop_delay_ms=10, retry=retries(1))).fail("a").fire().carry_on("a").fire()
    )

    assert story.dispatched == ["a/1/1"]
    assert story.state("a").error is None


def test_its_time_runs_from_the_first_dispatch():
    """The bound is armed at the start and does not move with iterations."""
    story = Story(a_loop("a", most=9, max_duration_ms=1_000))
    assert story.armed == [1_000]

    story.wait(600).carry_on("a")

    assert story.armed == []
    assert story.state("a").bound_ms == T0 + 1_000


def test_its_time_ends_while_a_worker_is_at_it():
    """When the bound is due the loop fails, and the answer that comes later is stale."""
    story = Story(a_loop("a", max_duration_ms=1_000)).fire()
    state = story.state("a")

    assert (state.status, state.error.failure) == ("failed", "max_duration")
    assert state.error.message == "agent loop exceeded max duration (1s)"
    assert story.run.abandoned is False  # its own ticket is dead-lettered, not abandoned


def test_its_time_ends_during_a_back_off():
    """The bound comes before a back-off that would end after it."""
    story = (
        Story(a_loop("a", max_duration_ms=500, retry=retries(1, initial_ms=900))).fail("a").fire()
    )

    assert story.now == T0 + 500
    assert story.state("a").error.failure == "max_duration"


def test_continue_after_its_time():
    """Continue after the bound is too late, even before the timer has fired."""
    story = Story(a_loop("a", max_duration_ms=500)).wait(500).carry_on("a")

    assert story.state("a").error.failure == "max_duration"


def test_failing_after_its_time():
    """A failure after the bound is not retried."""
    story = Story(a_loop("a", max_duration_ms=500, retry=retries(5))).wait(501).fail("a")

    assert story.state("a").error.failure == "max_duration"


def test_a_value_after_its_time():
    """A value counts, however late, while its ticket is in force."""
    assert Story(a_loop("a", max_duration_ms=500)).wait(501).succeed("a").run.status == "completed"


def test_a_bound_takes_the_ordinary_way_of_failure():
    """A loop that ran out is recovered by its on_failure step like any failed step."""
    story = Story(a_loop("a", most=1, on_failure="h"), a_step("h")).carry_on("a")

    assert story.dispatched == ["h/1/0"]
