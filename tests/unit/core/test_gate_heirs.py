"""The place of a run that goes on as another."""

from __future__ import annotations

from dagnats.core.entities import Demand, GateAsked, GateLeft
from dagnats.core.events import Event
from dagnats.core.gates.commands import GrantTicket
from dagnats.core.gates.gate import Gate

ONE = (Demand(kind="slots", limit=1),)


def test_the_successor_of_a_run_that_was_opened_again_has_its_place():
    """It asks with the ticket of a run that was not: it must not wait for the place that is kept for it."""
    gate = Gate("gate=workflow=w")
    facts = [
        GateAsked(run="a", ticket="!run/1", rank_ms=0, demands=ONE),
        GateLeft(run="a", ticket="!run/1", heir="b"),
        GateAsked(run="b", ticket="!run/0", rank_ms=0, demands=ONE),
    ]
    commands = [gate.fold(Event(seq, 1_000, fact)) for seq, fact in enumerate(facts, 1)]

    assert GrantTicket(gate.id, "b", "!run/0") in commands[-1]
