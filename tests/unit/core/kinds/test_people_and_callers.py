"""Approvals, responses, agents and the control plane at their edges."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dagnats.core.commands import AskApproval, AskControl, Respond
from dagnats.core.events import ApprovalDecided, ControlDecided, StepCalled, StepSucceeded
from dagnats.core.questions import came_too_late, expired
from dagnats.core.state import StepState
from tests.support.builders import raw
from tests.support.kind_histories import task, told

ASK = {"id": "ok", "type": "approval"}


def decided(approved=True, **more) -> ApprovalDecided:
    """An answer."""
    return ApprovalDecided(ticket="ok/1/0", approved=approved, **more)


def test_it_asks_once_and_the_first_answer_counts():
    """A second, and one to another ticket, change nothing."""
    story = told({**ASK, "config": {"timeout": "1h"}}, task("end", "ok"))
    assert [type(each) for each in story.commands if isinstance(each, AskApproval)] == [AskApproval]
    story.tell(ApprovalDecided(ticket="ok/2/0", approved=False))
    assert story.state("ok").status == "waiting"
    story.tell(decided(by="ada", comment="fine"))
    assert story.dispatched == ["end/1/0"]
    story.tell(decided(approved=False))

    assert story.state("ok").status == "completed"
    assert b'"by":"ada"' in bytes(story.state("ok").output)


@pytest.mark.parametrize("approved", [True, False])
def test_an_answer_at_the_end_of_the_time_is_too_late(approved):
    """At the same moment already, whether the timer has come or not; and whoever answered is told."""
    story = told({**ASK, "config": {"timeout": "1h"}})
    before = story.state("ok")
    story.wait(3_599_999)
    assert not came_too_late(
        before, told({**ASK, "config": {"timeout": "1h"}}).tell(decided(approved)).state("ok")
    )
    story.wait(1).tell(decided(approved))

    assert story.run.status == "failed"
    assert "approval timed out" in story.run.error.message
    assert came_too_late(before, story.state("ok"))


def test_a_quorum_is_of_different_people_with_names():
    """Nobody, and the same person again, are not one more; one no is enough."""
    config = {"timeout": "1h", "quorum": 2}
    story = told({**ASK, "config": config}).tell(decided(by="")).tell(decided(by="ada"))
    story.tell(decided(by="ada"))
    assert story.state("ok").votes == ("ada",)
    story.tell(decided(by="bob"))
    assert story.run.status == "completed"
    refused = told({**ASK, "config": config}).tell(decided(by="ada")).tell(decided(approved=False))
    assert refused.run.status == "failed"


def test_an_answer_that_does_not_fit_its_form():
    """It is none: the question stays."""
    story = told({**ASK, "config": {"timeout": "1h", "form": {"type": "integer"}}})
    story.tell(decided(answer=raw("many"))).tell(decided())
    assert story.state("ok").status == "waiting"
    story.tell(decided(answer=raw(3)))
    assert bytes(story.run.output) == b"3"


# -- responses -------------------------------------------------------------------------------------


def a_response(value, **config):
    """A run that answers with its input."""
    answer = {"id": "answer", "type": "respond", "input": {"$input": ""}, "config": config}
    return told(answer, task("end", "answer"), value=value)


def test_a_response_is_one_and_the_run_goes_on():
    """With a part of its input; also where it is nothing."""
    story = a_response({"a": {"b": None}}, body_from="a.b", status=201)
    assert [type(each) for each in story.commands if isinstance(each, Respond)] == [Respond]
    assert story.dispatched == ["end/1/0"]
    story.succeed("end", 1)
    assert not [each for each in story.commands[:-1] if not isinstance(each, Respond)]


def test_a_response_without_its_body():
    """The step fails with the path, and nothing is answered."""
    story = a_response({"a": 1}, body_from="a.b")

    assert story.run.status == "failed"
    assert 'step "answer"' in story.run.error.message
    assert not [each for each in story.all if isinstance(each, Respond)]


# -- agents ----------------------------------------------------------------------------------------


def test_an_agent_waits_in_a_queue_of_its_own_and_carries_its_configuration():
    """Unless its step says where; it may not plan, nor go on as a loop."""
    story = told({"id": "think", "type": "agent", "task": "gpt", "metadata": {"model": "m"}})
    [step] = story.graph.workflow.steps
    assert (step.group, step.metadata) == ("agent", {"model": "m"})
    assert story.dispatched == ["think/1/0"]
    story.carry_on("think", 1)
    assert story.run.status == "failed"
    assert "an agent answered Continue" in story.run.error.message


# -- the control plane -----------------------------------------------------------------------------


def test_the_control_plane_is_asked_once_and_answers_once():
    """As a durable call: what was refused is a failed call, and what comes later is nothing."""
    story = told(task("think"))
    step = raw({"type": "control", "config": {"action": "budget"}})
    story.tell(StepCalled(ticket="think/1/0", n=0, step=step))
    [asked] = [each for each in story.commands if isinstance(each, AskControl)]
    assert asked.ticket == "think#0.0/1/0"
    story.tell(StepSucceeded(ticket=asked.ticket, output=raw("forged")))
    assert story.state("think#0.0").status == "waiting"
    story.tell(ControlDecided(ticket=asked.ticket, kind="denied", error="nobody may"))
    assert story.state("think#0.0").error.failure == "denied"
    story.tell(ControlDecided(ticket=asked.ticket, output=raw(1)))
    assert story.state("think#0.0").status == "failed"
    story.succeed("think", 1)
    assert story.run.status == "completed"


def test_a_time_that_was_over_before_is_not_over_now():
    """A plan was not looked at in time; of the next one, the first of two people is not late."""
    before = StepState(status="waiting", attempt=2, error=expired())

    assert not came_too_late(before, replace(before, votes=("ada",)))
    assert came_too_late(replace(before, error=None), before)
