"""What follows from a state: ready, skipped, bypassed, recovered, failed, closed."""

from __future__ import annotations

import pytest

from dagnats.core.commands import CloseRun, DeadLetter
from dagnats.core.model import Condition
from dagnats.limits import STEPS_MAX
from tests.support.builders import Story, a_loop, a_step, retries

NEVER = Condition("", "n", "==", "never")
ALWAYS = Condition("", "n", "==", 1)


def guarded(**options: object) -> Story:
    """A run with a guarded step ``b`` below ``a``, and ``c`` below that."""
    return Story("a", a_step("b", "a", **options), "c", value={"n": 1})


def mended(*below: object) -> Story:
    """A run in which ``a`` can be recovered by ``h``."""
    return Story(a_step("a", on_failure="h"), a_step("h"), *below)


def test_roots_start_together():
    """All steps without parents are dispatched in the order of the definition."""
    assert Story(a_step("b"), a_step("a"), a_step("c", "a")).dispatched == ["b/1/0", "a/1/0"]


def test_a_join_waits_for_every_parent():
    """A step begins when its last parent is satisfied, and not before."""
    story = Story(a_step("a"), a_step("b"), a_step("c", "a", "b"))

    assert story.succeed("b").dispatched == []
    assert story.succeed("a").dispatched == ["c/1/0"]


def test_a_fan_out_starts_together():
    """One step's end dispatches all its children."""
    story = Story("a", a_step("x", "a"), a_step("y", "a"), a_step("z", "a"))

    assert story.succeed("a").dispatched == ["x/1/0", "y/1/0", "z/1/0"]


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ({"skip_if": ALWAYS}, True),
        ({"skip_if": NEVER}, False),
        ({"when": ALWAYS}, False),
        ({"when": NEVER}, True),
        ({"skip_if": NEVER, "when": NEVER}, True),
        ({"skip_if": ALWAYS, "when": ALWAYS}, True),
        ({"skip_if": NEVER, "when": ALWAYS}, False),
    ],
)
def test_conditions(options, skipped):
    """``skip_if`` true or ``when`` false skips a step."""
    story = guarded(**options).succeed("a")

    assert story.statuses["b"] == ("skipped" if skipped else "queued")


@pytest.mark.parametrize(("score", "status"), [(1, "skipped"), (0, "queued"), ("1", "queued")])
def test_a_condition_on_the_output_that_just_came(score, status):
    """A parent's output decides in the same fact that brings it."""
    story = guarded(skip_if=Condition("a", "score", ">", 0)).succeed("a", {"score": score})

    assert story.statuses["b"] == status


def test_skipping_does_not_cascade():
    """What is below a skipped step runs, with null for its output."""
    story = guarded(when=NEVER).succeed("a")

    assert story.dispatched == ["c/1/0"]
    assert story.succeed("c").run.status == "completed"


def test_a_condition_on_a_skipped_parent():
    """A skipped parent has no field: comparisons with it are false."""
    look = Condition("b", "n", "!=", 5)
    story = Story(
        a_step("b", when=NEVER), a_step("c", "b", skip_if=look), a_step("d", "b", when=look)
    )

    assert story.statuses == {"b": "skipped", "c": "queued", "d": "skipped"}


def test_everything_skipped():
    """A run of which every step is skipped completes at its start."""
    story = Story(a_step("a", when=NEVER), a_step("b", "a", when=NEVER))

    assert story.run.status == "completed"
    assert story.commands == [CloseRun("r1", abandoned=False)]


def test_a_chain_of_ten_thousand_skipped_steps():
    """Consequences are followed step by step, however many there are, not by recursion."""
    steps = [a_step(f"s{n}", *([f"s{n - 1}"] if n else []), when=NEVER) for n in range(STEPS_MAX)]
    story = Story(*steps)

    assert story.run.status == "completed"


def test_an_input_that_cannot_be_made():
    """A template that leads nowhere fails the step, with its place, and is not retried."""
    story = Story("a", a_step("b", "a", input={"$step": "a", "path": "x"}, retry=retries(5)))
    story.succeed("a", {})

    assert story.statuses["b"] == "failed"
    assert story.state("b").error.failure == "invalid_input"
    assert story.run.error.message == (
        'step "b": input of step "b": output of step "a" has no \'x\''
    )


def test_an_input_that_cannot_be_made_is_recovered():
    """Such a failure takes the way of all failures."""
    story = Story(
        "a", a_step("b", "a", input={"$step": "a", "path": "x"}, on_failure="h"), a_step("h")
    )

    assert story.succeed("a", 5).dispatched == ["h/1/0"]


def test_a_failure_ends_the_run():
    """Without a handler the run fails: a dead letter for the step, then the end; the rest is cancelled."""
    story = Story(a_step("a"), a_step("b"), a_step("c", "a")).fail("a", "no disk")

    assert story.statuses == {"a": "failed", "b": "cancelled", "c": "cancelled"}
    assert (story.run.status, story.run.error.message) == ("failed", 'step "a": no disk')
    assert story.commands == [DeadLetter("r1", "a/1/0", 0), CloseRun("r1", abandoned=True)]


def test_nothing_is_abandoned_when_nothing_was_out():
    """Waiting and pending steps have no ticket to be called back."""
    story = Story(a_step("a"), a_step("b", retry=retries(3)), a_step("c", "a")).fail("b").fail("a")

    assert story.commands[-1] == CloseRun("r1", abandoned=False)


def test_a_handler_runs_after_a_failure():
    """A failed step with a handler waits for it; the run goes on."""
    story = mended(a_step("x")).fail("a")

    assert story.dispatched == ["h/1/0"]
    assert story.statuses == {"a": "failed", "h": "queued", "x": "queued"}
    assert story.run.status == "running"


def test_a_handler_recovers():
    """When the handler completes, the failed step counts as recovered and the run can complete."""
    story = mended().fail("a", "no disk").succeed("h")

    assert story.statuses == {"a": "recovered", "h": "completed"}
    assert story.state("a").error.message == "no disk"
    assert story.run.status == "completed"


def test_what_depends_on_a_recovered_step_is_bypassed():
    """Everything below a recovered failure is skipped, to the bottom; other branches run."""
    story = mended(
        a_step("b", "a"), a_step("c", "b"), a_step("x"), a_step("y", "x"), a_step("z", "c", "y")
    )
    story.fail("a").succeed("h").succeed("x")
    assert story.dispatched == ["y/1/0"]

    story.succeed("y")

    assert story.statuses["b"] == story.statuses["c"] == story.statuses["z"] == "skipped"
    assert story.run.status == "completed"


def test_a_handler_that_is_not_needed():
    """A handler of a step that succeeded never runs and holds nothing up."""
    story = mended(a_step("b", "a")).succeed("a").succeed("b")

    assert story.statuses == {"a": "completed", "h": "skipped", "b": "completed"}
    assert story.run.status == "completed"


def test_a_handler_that_fails():
    """A handler's own failure ends the run, and is what the dead letter is about."""
    story = mended().fail("a", "first").fail("h", "second")

    assert story.statuses == {"a": "failed", "h": "failed"}
    assert story.run.error.message == 'step "h": second'
    assert story.commands[0] == DeadLetter("r1", "h/1/0", 1)


def test_a_handler_is_retried():
    """A handler has a policy of its own."""
    story = Story(a_step("a", on_failure="h"), a_step("h", retry=retries(1)))
    story.fail("a").fail("h").fire()

    assert story.dispatched == ["h/2/0"]


def test_a_handler_may_be_a_loop():
    """A handler's kind is its own affair; its time runs from when it was needed."""
    story = Story(a_step("a", on_failure="h"), a_loop("h", max_duration_ms=50)).wait(70).fail("a")

    assert story.armed == [120]
    assert story.carry_on("h").succeed("h").run.status == "completed"


def test_a_handler_of_a_handler():
    """A handler's failure can itself be handled; both are recovered."""
    story = Story(a_step("a", on_failure="h"), a_step("h", on_failure="g"), a_step("g"))
    story.fail("a").fail("h").succeed("g")

    assert story.statuses == {"a": "recovered", "h": "recovered", "g": "completed"}
    assert story.run.status == "completed"


def test_handlers_in_a_circle():
    """Handlers that name each other run once each; then the run fails."""
    story = Story(
        a_step("a", on_failure="h"), a_step("h", on_failure="g"), a_step("g", on_failure="h")
    )
    story.fail("a").fail("h").fail("g")

    assert story.run.status == "failed"


@pytest.mark.parametrize("done", [False, True])
def test_a_shared_handler_makes_up_for_one_failure(done):
    """A handler runs once in a run: the second failure that names it ends the run."""
    story = Story(a_step("a", on_failure="h"), a_step("b", on_failure="h"), a_step("h")).fail("a")
    if done:
        story.succeed("h")
    story.fail("b", "again")

    assert story.run.status == "failed"
    assert story.run.error.message == 'step "b": again'


def test_only_final_failures_are_handled():
    """While attempts are left the handler stays where it is."""
    story = Story(a_step("a", on_failure="h", retry=retries(1)), a_step("h")).fail("a")

    assert story.statuses == {"a": "waiting", "h": "pending"}
    assert story.fire().fail("a").dispatched == ["h/1/0"]
