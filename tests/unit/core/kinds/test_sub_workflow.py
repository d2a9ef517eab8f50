"""Children of later attempts."""

from __future__ import annotations

from dagnats.core.commands import CancelChild
from dagnats.core.events import CancelRequested, ChildClosed, Event, RunStarted, TimerFired
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.model import ChildConfig, Step
from tests.support.builders import T0, a_workflow, retries


def test_a_child_of_a_later_attempt_is_cancelled_with_its_run():
    """That the child before it ended by itself says nothing of this one."""
    config = ChildConfig(workflow="other")
    step = Step(id="sub", kind="sub_workflow", config=config, retry=retries(1))
    run = new_run("parent", compile_graph(a_workflow(step), "digest"))
    facts = [
        RunStarted(workflow="flow", definition="digest"),
        ChildClosed(ticket="sub/1/0", child="first", status="failed", error="no"),
        TimerFired(due_ms=T0 + 2_000),
        CancelRequested(),
    ]
    commands = []
    for number, fact in enumerate(facts):
        run, commands = advance(run, Event(number + 1, T0 + 1_000 * number, fact))

    assert CancelChild("parent", "sub/2/0") in commands
