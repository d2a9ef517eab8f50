"""What people see of a run."""

from __future__ import annotations

import msgspec

from dagnats.core.events import RunStarted
from dagnats.core.machine import new_run
from dagnats.core.views import AtWork, text_of_time, view_run
from tests.support.builders import T0, Story, a_loop, a_step, raw, retries

BEGAN = "2023-11-14T22:13:20.000Z"


def test_times():
    """Times are RFC 3339 in UTC with milliseconds; 0 is no time."""
    assert text_of_time(T0) == BEGAN
    assert text_of_time(T0 + 1) == "2023-11-14T22:13:20.001Z"
    assert text_of_time(0) == ""


def test_a_run_in_progress():
    """An open run shows what is known so far, and lasts until now."""
    story = Story("a", "b", version="7", timeout_ms=60_000, value=5).wait(20).succeed("a", [1])
    view = view_run(story.run, now_ms=T0 + 50)

    assert (view.run_id, view.workflow, view.status, view.version) == ("r1", "flow", "running", "7")
    assert (view.created_at, view.completed_at) == (BEGAN, "")
    assert view.deadline_at == "2023-11-14T22:14:20.000Z"
    assert (view.duration_ms, view.input, view.done) == (50, raw(5), 1)
    assert [(step.id, step.status, step.duration_ms) for step in view.steps] == [
        ("a", "completed", 20),
        ("b", "queued", 30),
    ]


def test_a_closed_run():
    """A closed run lasts until it closed, whenever one looks."""
    story = Story("a").wait(20).succeed("a", "out")
    view = view_run(story.run, now_ms=T0 + 1_000)

    assert (view.status, view.duration_ms, view.output) == ("completed", 20, raw("out"))
    assert view.completed_at == "2023-11-14T22:13:20.020Z"


def test_who_is_at_it():
    """A ticket that a worker is at shows as running, with its name; a stale one does not."""
    story = Story("a")

    assert view_run(story.run, {"a/1/0": AtWork("w1")}).steps[0].status == "running"
    assert view_run(story.run, {"a/1/0": AtWork("w1")}).steps[0].worker == "w1"
    assert view_run(story.run, {"a/2/0": AtWork("w1")}).steps[0].status == "queued"
    assert view_run(story.succeed("a").run, {"a/1/0": AtWork("w1")}).steps[0].status == "completed"


def test_attempts():
    """A step that waits shows which attempt failed, of how many, why, and when it goes on."""
    story = Story(a_step("a", retry=retries(2))).fail("a", "busy", error_type="OSError")
    step = view_run(story.run).steps[0]

    assert (step.status, step.attempt, step.attempts) == ("waiting", 1, 3)
    assert step.due_at == "2023-11-14T22:13:21.000Z"
    assert (step.error.message, step.error.type) == ("busy", "OSError")


def test_iterations():
    """A loop counts executions from 1, of how many; what is no loop has none."""
    story = Story(a_loop("a", most=5), "b").carry_on("a")
    first, second = view_run(story.run).steps

    assert (first.iteration, first.max_iterations) == (2, 5)
    assert (second.iteration, second.max_iterations, second.duration_ms) == (0, 0, None)


def test_a_failed_run():
    """The run and the step each say why."""
    view = view_run(Story("a").fail("a", "no disk", failure="timeout").run)

    assert (view.error.message, view.error.failure) == ('step "a": no disk', "timeout")
    assert view.steps[0].error.message == "no disk"


def test_a_recovered_step_keeps_its_error():
    """One can still see what was made up for."""
    story = Story(a_step("a", on_failure="h"), a_step("h")).fail("a", "no disk").succeed("h")
    step = view_run(story.run).steps[0]

    assert (step.status, step.error.message) == ("recovered", "no disk")


def test_a_run_without_a_definition():
    """What is known of a run whose definition is gone is shown."""
    story = Story("a", begin=False)
    story.run = new_run("r1", None)
    story.tell(RunStarted(workflow="w", definition="d"))
    view = view_run(story.run)

    assert (view.status, view.workflow, view.steps, view.version) == ("failed", "w", [], "")


def test_it_is_json():
    """A view is encoded as it is, without what has its default."""
    data = msgspec.json.decode(msgspec.json.encode(view_run(Story("a").run)))

    assert data["steps"] == [
        {
            "id": "a",
            "kind": "task",
            "task": "work",
            "status": "queued",
            "attempt": 1,
            "started_at": BEGAN,
        }
    ]
