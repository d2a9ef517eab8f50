"""Which tickets a worker has been told to leave alone."""

from __future__ import annotations

import pytest

from dagnats.wire.messages import TaskMessage
from dagnats.worker import tickets
from dagnats.worker.tickets import TakenBack


def ticket(run: str, epoch: int = 0) -> TaskMessage:
    """A ticket of a run, in an epoch of it."""
    return TaskMessage(
        ticket="a/1/0", run=run, step="a", task="t", workflow="w", answer_to="x", epoch=epoch
    )


def test_tickets_of_a_run_that_was_opened_again_are_not_taken_back():
    """A notice means an epoch and those before it; an old one that comes late changes nothing."""
    taken = TakenBack()
    assert not taken.holds(ticket("r"))

    taken.add("r", 1)
    taken.add("r", 0)
    assert [taken.holds(ticket("r", epoch)) for epoch in range(3)] == [True, True, False]
    assert not taken.holds(ticket("other"))


def test_the_newest_runs_are_remembered(monkeypatch: pytest.MonkeyPatch):
    """Older ones are looked up in the log, when it matters."""
    monkeypatch.setattr(tickets, "CLOSED_REMEMBERED_MAX", 2)
    taken = TakenBack()
    for run in "abc":
        taken.add(run, 0)

    assert [taken.holds(ticket(run)) for run in "abc"] == [False, True, True]
