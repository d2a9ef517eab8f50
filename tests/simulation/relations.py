"""What must hold between runs, and between a run and who spoke to it."""

from __future__ import annotations

from dagnats.core.commands import child_run_id
from dagnats.core.events import ChildClosed, RunContinued
from dagnats.core.state import CANCELLED, COMPLETED, CONTINUED, step_of_ticket, ticket_text
from tests.simulation.simulation import Simulation
from tests.simulation.story import Story
from tests.simulation.told import decoded

GRACE_MS = 60_000  # longer than nobody schedules


def look(story: Story, stories: dict[str, Story], simulation: Simulation) -> None:
    """Children, successors, signals, responses and questions of a run."""
    _look_at_children(story, stories)
    _look_at_successor(story, stories)
    for name, heard in story.heard.items():
        if heard != story.sent[name][: len(heard)]:
            story.problem(f"heard the signals {name} {heard}, and was sent {story.sent[name]}")
    for step, state in story.states():
        if step.kind == "respond" and not story.refused:
            given = [decoded(each.body) for each in story.responses[ticket_text(step.id, state)]]
            wanted = [decoded(state.output)] if state.status == COMPLETED else []
            if given != wanted:
                story.problem(f"{step.id} responded {given}, and must have {wanted}")
    for step, since_ms, due_ms in story.unheard:
        given = decoded(story.run.input)
        known = not step.config.match or (isinstance(given, dict) and given.get("n") in range(10))
        if known and since_ms < simulation.calm_ms < due_ms - GRACE_MS:
            story.problem(f"{step.id} did not hear of {step.config.event}, which happened")
    if len(set(story.questions)) != len(story.questions):
        story.problem(f"asked twice: {story.questions}")


def _look_at_children(story: Story, stories: dict[str, Story]) -> None:
    parent = stories.get(story.started.parent)
    if parent and not story.started.detached and story.run.status != CONTINUED:
        told = parent.tidings[story.id]
        if told[-1:] != story.endings[-1:]:
            story.problem(f"ended as {story.endings}, and its parent was told {told}")
    for ticket, fact in story.told.children.items():
        if not isinstance(fact, ChildClosed) or not fact.child:
            continue
        child = stories[fact.child]
        told = fact.status, decoded(fact.output)
        if told not in child.endings or child.started.parent_ticket != ticket:
            story.problem(f"{ticket} was told {told} of its child, which ended as {child.endings}")
    for step, state in story.states():
        if step.kind != "sub_workflow" or step.config.detach:
            continue
        last = ticket_text(step.id, state)
        given_up = [ticket for ticket in story.told.late if step_of_ticket(ticket) == step.id]
        for ticket in [*given_up, *([last] if state.status == CANCELLED else [])]:
            child = stories.get(child_run_id(story.id, ticket))
            if not child or child.cancel_asked or child.reopened:
                continue
            if child.closed_ms > story.closed_ms + GRACE_MS:
                story.problem(f"gave {ticket} up, and its child {child.id} went on")


def _look_at_successor(story: Story, stories: dict[str, Story]) -> None:
    [asked, *_] = [f for f in story.told.answers.values() if isinstance(f, RunContinued)] or [None]
    if (asked is not None) != (story.run.status == CONTINUED):
        story.problem(f"is {story.run.status}, and its handlers said {asked}")
    if asked is None or not story.marks:
        return
    successor = stories.get(story.marks[-1].successor)
    if successor is None:
        story.problem("continued as nobody")
    elif bytes(successor.started.input) != bytes(asked.input):
        story.problem(f"continued with {successor.started.input!r}, and asked for {asked.input!r}")
