"""Maps at their edges: what they refuse, what they tolerate, and what late items change."""

from __future__ import annotations

import pytest

from dagnats.core.events import StepFailed, StepSucceeded
from dagnats.core.state import NOBODY
from tests.support.builders import raw
from tests.support.kind_histories import task, told


def a_map(value, **config):
    """A run that maps over its input, and a step behind it."""
    each = task("each", type="map", input={"$input": ""}, config=config)
    return told(each, task("end", "each"), value=value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "goes over an array, and its input is none"),
        ({"0": 1}, "goes over an array, and its input is none"),
        (None, "goes over an array, and its input is none"),
        ([1, 2, 3], "the array has 3 items; max_items is 2"),
    ],
)
def test_what_it_does_not_go_over(value, problem):
    """The step fails at once, and the run with it: no item is made."""
    story = a_map(value, max_items=2)

    assert story.run.status == "failed"
    assert problem in story.run.error.message
    assert len(story.run.steps) == 2


def test_so_many_at_a_time_in_order():
    """The next begins when one is done; outputs stand where their items stood."""
    story = a_map(["a", "b", "c"], concurrency=2)
    assert story.dispatched == ["each#0/1/0", "each#1/1/0"]
    story.succeed("each#1", "B")
    assert story.dispatched == ["each#2/1/0"]
    story.succeed("each#2", "C").succeed("each#0", "A")

    assert story.dispatched == ["end/1/0"]
    assert bytes(story.state("each").output) == b'["A","B","C"]'


@pytest.mark.parametrize(
    ("tolerate", "lost", "status"),
    [
        (0, 1, "failed"),
        (1, 1, "completed"),
        (1, 2, "failed"),
        ("50%", 2, "completed"),
        ("50%", 3, "failed"),
        ("49%", 2, "failed"),
    ],
)
def test_how_many_may_fail(tolerate, lost, status):
    """A percentage is rounded down; what was lost is null."""
    story = a_map([0, 1, 2, 3], tolerate=tolerate)
    for number in range(4):
        if story.run.closed:
            break
        name = f"each#{number}"
        if number < lost:
            story.fail(name, "gone")
        else:
            story.succeed(name, number)

    assert story.state("each").status == status
    if status == "completed":
        assert bytes(story.state("each").output).startswith(b"[" + b"null," * lost)
    elif lost > 1:
        assert f"{lost} items failed" in story.run.error.message


def test_items_that_are_late():
    """What an item says after its map has failed changes nothing; nor does a ticket that nobody was given."""
    story = a_map([1, 2, 3]).fail("each#0", "gone")
    ended = story.run
    assert story.state("each").cause != NOBODY
    story.tell(StepSucceeded(ticket="each#1/1/0", output=raw(1)))
    story.tell(StepFailed(ticket="each#2/1/0", error="late"))
    story.tell(StepSucceeded(ticket="each#7/1/0", output=raw(1)))

    assert story.run.steps == ended.steps
    assert story.run.error == ended.error
