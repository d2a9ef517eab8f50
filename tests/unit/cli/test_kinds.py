"""What trees and graphs say of a step of each kind."""

import pytest

from dagnats.cli.kinds import watch_line, words_of
from dagnats.cli.layout import mermaid
from dagnats.core.definition import read_workflow

# A step as a file has it, and what is said of it.
SAID = {
    "task": ({"task": "t", "timeout": "30s", "retries": 2}, "3 attempts · timeout 30s"),
    "loop": (
        {"task": "t", "type": "agent_loop", "config": {"max_iterations": 3, "max_duration": "1h"}},
        "agent loop, at most 3 iterations · within 1h",
    ),
    "map": (
        {"task": "t", "type": "map", "input": [1], "config": {"concurrency": 2, "tolerate": "5%"}},
        "map, at most 1000 items · 2 at once · 5% may fail",
    ),
    "planner": (
        {"task": "t", "type": "planner", "config": {"allowed_tasks": ["a", "b"], "preview": True}},
        "planner, at most 100 steps · of a, b · plans are approved within 168h",
    ),
    "approval": (
        {"type": "approval", "config": {"description": "Go?", "quorum": 2, "form": {}}},
        'approval "Go?" · approved by 2 people within 168h · with a form',
    ),
    "sleep": ({"type": "sleep", "config": {"duration": "90s"}}, "sleep 1m30s"),
    "cron": (
        {"type": "sleep", "config": {"cron": "0 9 * * *"}},
        "sleep until cron 0 9 * * * (UTC)",
    ),
    "until": ({"type": "sleep", "config": {"until_input_path": "a.b"}}, "sleep until input.a.b"),
    "event": (
        {
            "type": "wait_for_event",
            "config": {
                "event": "paid",
                "match": {"left": "id", "right": {"$literal": 7}},
                "timeout": "1h",
            },
        },
        "event paid with id = 7 within 1h",
    ),
    "signal": ({"type": "wait_for_signal", "config": {"name": "go"}}, "signal go within 1h"),
    "child": ({"type": "sub_workflow", "config": {"workflow": "c"}}, "runs workflow c"),
    "detached": (
        {"type": "sub_workflow", "config": {"workflow": "c", "detach": True}},
        "starts workflow c",
    ),
    "respond": ({"type": "respond"}, "responds 200 application/json"),
    "agent": ({"type": "agent", "task": "t"}, "agent"),
    "condition": (
        {"task": "t", "when": {"field": "n", "op": ">", "value": 3}},
        "only when input.n > 3",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_a_step_in_a_few_words(name):
    """Its kind and settings, then what any step may have."""
    written, words = SAID[name]
    found, problems = read_workflow({"name": "w", "steps": [{"id": "a", **written}]})
    assert found is not None
    assert not problems

    assert " · ".join(words_of(found.steps[0])) == words


def test_what_cancels_a_run():
    """The event, the value, and for how long."""
    match = {"left": "order.id", "op": "eq", "right": "input.id"}
    watch = {"event": "order.cancelled", "match": match, "timeout": "1h"}
    steps = [{"id": "a", "task": "t"}]
    found, _ = read_workflow({"name": "w", "steps": steps, "cancel_on": [watch, {"event": "x"}]})
    assert found is not None

    assert [watch_line(each) for each in found.cancel_on] == [
        "cancelled by event order.cancelled with order.id = input.id within 1h",
        "cancelled by event x",
    ]


def test_what_undoes_is_drawn_beside_it():
    """Mermaid shows failure paths and compensation as edges of their own."""
    steps = [
        {"id": "a", "task": "t", "on_failure": "f", "compensate": "u"},
        {"id": "f", "task": "t"},
        {"id": "u", "task": "t"},
    ]
    found, _ = read_workflow({"name": "w", "steps": steps})
    assert found is not None

    drawn = mermaid(found)
    assert "s0 -. fails .-> s1" in drawn
    assert "s0 -. undone by .-> s2" in drawn
