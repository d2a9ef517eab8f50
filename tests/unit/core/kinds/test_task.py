"""A task: every arrow of its states."""

from __future__ import annotations

import pytest

from dagnats.core.events import StepContinued, StepSucceeded
from dagnats.core.model import RetryPolicy
from tests.support.builders import T0, Story, a_step, raw, retries


def test_it_begins_with_the_first_attempt():
    """Entering dispatches attempt 1 of iteration 0 and remembers when."""
    story = Story("a")
    state = story.state("a")

    assert story.dispatched == ["a/1/0"]
    assert (state.status, state.attempt, state.began_ms, state.since_ms) == ("queued", 1, T0, T0)


def test_success_completes():
    """A value ends the step with that output; nothing of earlier attempts is left."""
    story = Story(a_step("a", retry=retries(1))).fail("a").fire().wait(5).succeed("a", {"x": 1})
    state = story.state("a")

    assert (state.status, state.output, state.error) == ("completed", raw({"x": 1}), None)
    assert (state.attempt, state.ended_ms - state.began_ms) == (2, 1_005)


def test_failure_without_a_policy_is_final():
    """Without a policy the first failure ends the step."""
    story = Story("a").fail("a", "no disk", error_type="OSError", traceback="at x")
    state = story.state("a")

    assert (state.status, state.ended_ms) == ("failed", T0)
    assert state.error.message == "no disk"
    assert (state.error.type, state.error.traceback) == ("OSError", "at x")


def test_failure_with_a_policy_waits():
    """A failure with attempts left waits for its back-off, which arms the timer."""
    story = Story(a_step("a", retry=retries(2, initial_ms=300))).fail("a", "busy")
    state = story.state("a")

    assert (state.status, state.attempt, state.due_ms) == ("waiting", 1, T0 + 300)
    assert state.error.message == "busy"
    assert (story.dispatched, story.armed) == ([], [300])


def test_the_back_off_ends():
    """When it is due, the next attempt is dispatched, and the reason is kept for its handler."""
    story = Story(a_step("a", retry=retries(2))).fail("a", "busy").fire()
    state = story.state("a")

    assert story.dispatched == ["a/2/0"]
    assert (state.status, state.attempt, state.due_ms) == ("queued", 2, 0)
    assert state.error.message == "busy"


def test_attempts_end():
    """With so many retries the step runs once more than that, and no oftener."""
    story = Story(a_step("a", retry=retries(2))).fail("a").fire().fail("a").fire().fail("a", "last")

    assert (story.state("a").status, story.state("a").attempt) == ("failed", 3)
    assert story.state("a").error.message == "last"


def test_the_default_policy():
    """A step without a policy of its own has the workflow's; its own wins."""
    steps = [a_step("a"), a_step("b", retry=RetryPolicy())]
    story = Story(*steps, default_retry=retries(1)).fail("a")

    assert story.state("a").status == "waiting"
    assert story.fail("b").run.status == "failed"


@pytest.mark.parametrize("failure", ["retriable", "timeout", "worker_lost", "something new"])
def test_kinds_of_failure_that_are_retried(failure):
    """Everything is retried that does not say otherwise, also what this version does not know."""
    assert (
        Story(a_step("a", retry=retries(1))).fail("a", failure=failure).state("a").status
        == "waiting"
    )


def test_a_failure_that_is_not_retried():
    """A non-retriable failure is final, whatever the policy."""
    story = Story(a_step("a", retry=retries(9))).fail("a", failure="non_retriable")

    assert (story.state("a").status, story.state("a").attempt) == ("failed", 1)


@pytest.mark.parametrize(
    ("asked", "waits"), [(5_000, 5_000), (0, 100), (-7, 100), (10**30, 3_600_000)]
)
def test_a_delay_that_the_handler_asks_for(asked, waits):
    """Retry-after replaces the back-off, within bounds; it needs attempts left all the same."""
    story = Story(a_step("a", retry=retries(1, initial_ms=77)))
    story.fail("a", failure="retry_after", retry_after_ms=asked)

    assert story.armed == [waits]
    assert story.fire().fail("a", failure="retry_after").run.status == "failed"


def test_retry_after_is_only_for_its_kind():
    """The delay counts only with the failure kind that goes with it."""
    story = Story(a_step("a", retry=retries(1, initial_ms=77))).fail("a", retry_after_ms=9_000)

    assert story.armed == [77]


def test_a_task_may_not_continue():
    """Continue from a plain task is a final failure that says why."""
    story = Story(a_step("a", retry=retries(3))).tell(StepContinued(ticket="a/1/0"))

    assert story.state("a").status == "failed"
    assert "only an agent loop may" in story.state("a").error.message


def test_a_late_answer_of_an_earlier_attempt():
    """After the retry began, the first attempt's answer changes nothing."""
    story = Story(a_step("a", retry=retries(1))).fail("a").fire()
    before = story.run.steps
    story.tell(StepSucceeded(ticket="a/1/0"))

    assert story.run.steps == before
    assert story.commands == []


def test_an_answer_during_the_back_off():
    """While a step waits no ticket is in force: even the next attempt's is refused."""
    story = Story(a_step("a", retry=retries(1))).fail("a")
    for ticket in ("a/1/0", "a/2/0"):
        assert story.tell(StepSucceeded(ticket=ticket)).state("a").status == "waiting"


def test_long_errors_are_cut():
    """A message and a traceback of megabytes do not enter the run."""
    error = Story("a").fail("a", "x" * 100_000, traceback="y" * 100_000).state("a").error

    assert (len(error.message), len(error.traceback)) == (8_192, 8_192)
