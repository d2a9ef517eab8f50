"""The simulation can fail: for every kind of step, a fault planted in it is noticed within a few worlds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dagnats.core import calls, fork, reopen, saga, settle
from dagnats.core.commands import TellParent
from dagnats.core.events import StepFailed, StepSucceeded
from dagnats.core.inputs import NULL
from dagnats.core.kinds import (
    KINDS,
    agent,
    agent_loop,
    approval,
    planner,
    respond,
    sleep,
    sub_workflow,
    task,
    wait_for_event,
    wait_for_signal,
)
from dagnats.core.kinds import map as map_kind
from dagnats.core.scope import completed
from dagnats.scheduler.effects import Before
from dagnats.scheduler.lookout import Lookout
from dagnats.scheduler.perform import Performer
from tests.simulation.kinds import KINDS as PLAYED
from tests.simulation.planting import worlds_until_noticed

_answered, _begun, _deeds = task.on_fact, saga.begun, Performer.deeds
_loop_config, _forked = agent_loop._config, fork._moved


def good_in_the_end(scope, fact):
    """A failure is as good as a value."""
    good = isinstance(fact, StepFailed)
    return _answered(scope, StepSucceeded(ticket=fact.ticket) if good else fact)


def one_more(scope):
    """A loop does not know its bound."""
    return replace(_loop_config(scope), max_iterations=99)


async def deaf(self, entry):
    """What happens is not told to those who wait."""


async def unnoted(self, waiters):
    """What happened before somebody waited is not looked for."""


def undone_in_order(draft, error, position):
    """The first step is undone first."""
    begun = _begun(draft, error, position)
    if begun:
        undoing = draft.run.saga
        draft.run = replace(draft.run, saga=replace(undoing, left=undoing.left[::-1]))
    return begun


async def beside_the_mark(self, run, command):
    """Messages to other runs are stored together with the mark that implies them."""
    return [d.append if isinstance(d, Before) else d for d in await _deeds(self, run, command)]


def forgotten(state, later):
    """A fork does not know what the run before it had done."""
    return replace(_forked(state, later), output=NULL)


def once(command):
    """A child that ends again, after it was opened again, does not tell its parent."""
    return f"{command.run}:child-{'started' if command.started else 'closed'}"


FAULTS = {
    "task": [(task, "on_fact", good_in_the_end)],
    "agent": [(agent, "on_fact", good_in_the_end)],
    "agent_loop": [(agent_loop, "_config", one_more)],
    "map": [(map_kind, "_tolerated", lambda step, count: count)],
    "planner": [(planner, "_last_outputs", lambda scope, own: NULL)],
    "approval": [(approval, "on_due", lambda scope: completed(scope, NULL))],
    "wait_for_signal": [
        (wait_for_signal, "on_signal", lambda scope, payload: completed(scope, NULL))
    ],
    "wait_for_event": [(wait_for_event, "on_due", lambda scope: completed(scope, NULL))],
    "wait_for_event, deaf": [(Lookout, "heard", deaf), (Lookout, "_read_back", unnoted)],
    "sleep": [(sleep, "_until_ms", lambda scope, config: scope.at_ms + 1)],
    "sub_workflow": [(sub_workflow, "_may_run_on", lambda state: False)],
    "respond": [(respond, "in_force", lambda scope: ())],
    "durable calls": [(calls, "recorded", lambda graph, state, n: None)],
    "compensation": [(saga, "begun", undone_in_order)],
    "failure paths": [(settle, "_bypasses", lambda parent: False)],
    "retry of a failed run": [(reopen, "_causes", lambda run, graph: set())],
    "retry of a child": [(TellParent, "id", property(once))],
    "forks": [(fork, "_moved", forgotten)],
    "continue-as-new": [(Performer, "deeds", beside_the_mark)],
}


def test_every_kind_has_its_fault():
    """A kind that is not played, or has no fault, would go unnoticed."""
    assert KINDS.keys() - {"control"} == PLAYED.keys()
    assert FAULTS.keys() >= PLAYED.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault):
    """An engine with this fault does not survive the simulation."""
    assert worlds_until_noticed(FAULTS[fault])
