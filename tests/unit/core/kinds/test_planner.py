"""Planners that show their plans."""

from __future__ import annotations

from dagnats.core.events import ApprovalDecided
from dagnats.core.model import ApprovalConfig, PlannerConfig
from dagnats.core.state import WAITING
from tests.support.builders import Story, a_step, retries


def test_an_answer_before_there_is_a_plan_is_none():
    """A planner that waits for its next attempt has asked nobody."""
    config = PlannerConfig(preview=ApprovalConfig())
    story = Story(a_step("p", kind="planner", config=config, retry=retries(1))).fail("p")
    before = story.state("p")

    story.tell(ApprovalDecided(ticket="p/1/0", approved=True))

    assert before.status == WAITING
    assert story.state("p") == before
