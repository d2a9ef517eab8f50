"""Sleeps, events and signals at their edges: times that are over, paths that are missing, what comes late or twice."""

from __future__ import annotations

import pytest

from dagnats.core.commands import AwaitEvent, ForgetEvent
from dagnats.core.events import EventReceived, SignalReceived, StepSucceeded, TimerFired
from dagnats.limits import EVENT_LOOKBACK_MS
from tests.support.builders import T0, raw
from tests.support.kind_histories import task, told

# -- sleep -----------------------------------------------------------------------------------------


def a_sleep(value=None, **config):
    """A run that sleeps, and a step behind that."""
    return told({"id": "nap", "type": "sleep", "config": config}, task("end", "nap"), value=value)


@pytest.mark.parametrize("until", ["2001-01-01T00:00:00Z", 978307200, "2023-11-14T22:13:20Z"])
def test_a_time_that_is_over(until):
    """It is done at once, also at the very moment."""
    story = a_sleep({"until": until}, until_input_path="until")

    assert story.state("nap").status == "completed"
    assert story.dispatched == ["end/1/0"]
    assert story.armed == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"until": "soon"}, "soon"),
        ({"other": 1}, "until"),
        ({"until": "2200-01-01T00:00:00Z"}, "more than 365 days from now"),
    ],
)
def test_a_time_that_is_none(value, problem):
    """The step fails with the value, or the path."""
    story = a_sleep(value, until_input_path="until")

    assert story.run.status == "failed"
    assert "sleep of step" in story.run.error.message
    assert problem in story.run.error.message


def test_a_timer_that_is_early_wakes_nobody():
    """The log's clock counts, unless the server says that what was armed is due."""
    story = a_sleep(duration="10s")
    assert story.armed == [10_000]
    story.tell(TimerFired(due_ms=T0 + 3), at_ms=T0 + 5)
    assert story.state("nap").status == "waiting"
    assert story.armed == [10_000]
    story.tell(StepSucceeded(ticket="nap/1/0", output=raw("forged")))
    assert story.state("nap").status == "waiting"
    story.fire()
    assert bytes(story.state("nap").output) == b"null"


# -- events ----------------------------------------------------------------------------------------

WAIT = {"id": "paid", "type": "wait_for_event"}
MATCH = {"left": "order", "right": {"$input": "id"}}


def test_an_event_is_looked_for_a_little_back_but_not_before_the_run():
    """Only what matches is told; it counts once, and then nobody looks out any more."""
    story = told(
        {**WAIT, "config": {"event": "paid", "timeout": "1h", "match": MATCH}}, value={"id": 7}
    )
    [watch] = [each for each in story.commands if isinstance(each, AwaitEvent)]
    assert (watch.left, watch.value, watch.since_ms) == ("order", "7", T0)
    event = EventReceived(ticket="paid/1/0", name="paid", payload=raw({"order": 7}))
    story.tell(event)
    assert any(isinstance(each, ForgetEvent) for each in story.commands)
    ended = story.run
    story.tell(event)
    assert story.run.steps == ended.steps


def test_a_wait_that_begins_later_looks_back():
    """By as much as the limit says, from when the step began."""
    story = told(
        task("a"), {**WAIT, "depends_on": ["a"], "config": {"event": "paid", "timeout": "1h"}}
    )
    story.wait(10 * EVENT_LOOKBACK_MS).succeed("a", 1)
    [watch] = [each for each in story.commands if isinstance(each, AwaitEvent)]

    assert watch.since_ms == T0 + 9 * EVENT_LOOKBACK_MS


def test_an_event_that_does_not_come():
    """A success that says so; what comes after it is nothing."""
    story = told({**WAIT, "config": {"event": "paid", "timeout": "1m"}}).fire()
    assert bytes(story.run.output) == b'{"timeout":true}'
    story.tell(EventReceived(ticket="paid/1/0", name="paid", payload=raw(1)))
    assert bytes(story.run.output) == b'{"timeout":true}'


def test_what_an_event_must_match_is_missing():
    """The step fails with the path."""
    story = told(
        {**WAIT, "config": {"event": "paid", "timeout": "1h", "match": MATCH}}, value={"no": 1}
    )

    assert story.run.status == "failed"
    assert 'event "paid" of step "paid"' in story.run.error.message


# -- signals ---------------------------------------------------------------------------------------


def a_wait(name: str, *after: str):
    """A step that waits for a signal called "go"."""
    config = {"name": "go", "timeout": "1h"}
    return {"id": name, "type": "wait_for_signal", "depends_on": list(after), "config": config}


def test_signals_are_taken_in_order_by_who_waits_first():
    """Early ones are kept; one of another name is for nobody."""
    story = told(a_wait("one"), a_wait("two"), a_wait("three", "one"))
    story.tell(SignalReceived(name="stop", payload=raw(0)))
    story.tell(SignalReceived(name="go", payload=raw(1)))
    story.tell(SignalReceived(name="go", payload=raw(2)))
    story.tell(SignalReceived(name="go", payload=raw(3)))

    assert [bytes(story.state(name).output) for name in ("one", "two", "three")] == [
        b"1",
        b"2",
        b"3",
    ]
    assert story.run.status == "completed"


def test_a_wait_that_is_over_takes_no_signal():
    """The next one that waits does."""
    late = {**a_wait("late"), "on_failure": "mend"}
    story = (
        told(late, task("mend"), task("first"), a_wait("next", "first")).fire().succeed("mend", 1)
    )
    assert story.state("late").status == "recovered"
    story.succeed("first", 1).tell(SignalReceived(name="go", payload=raw("x")))

    assert bytes(story.state("next").output) == b'"x"'
