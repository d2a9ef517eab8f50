"""The simulation can fail: faults planted in triggers and scheduled starts are noticed within a few worlds."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from dagnats.core.triggers import fold
from dagnats.core.triggers.fold import StartFired
from dagnats.scheduler import starts
from dagnats.scheduler.triggers import Triggers
from dagnats.scheduler.watching import Watching
from tests.simulation.planting import worlds_until_noticed

EARLY_MS = 1_000
_numbers = itertools.count()
_next, _start, _load, _armed = fold._next, Triggers._start, Triggers._load, starts.armed


def every_other(cron, after_ms):
    """One instant in two is left out."""
    return _next(cron, _next(cron, after_ms))


async def not_again(self, entity, since_seq, commands):
    """Starts that facts caused which were not acknowledged are not made again."""
    found = []
    state = await _load(self, entity, since_seq, found)
    commands += [(seq, each) for seq, each in found if not isinstance(each, StartFired)]
    return state


async def anew(self, entity, command, seq):
    """Each time that somebody comes to a fire, it starts another run."""
    return await _start(self, entity, replace(command, run=f"{command.run}{next(_numbers)}"), seq)


async def deaf(self, stream, entry):
    """Messages are not told to triggers."""


def early(subject, partition, run, due_ms):
    """Scheduled starts have their time too soon."""
    return _armed(subject, partition, run, due_ms - EARLY_MS)


FAULTS = {
    "instants left out": [(fold, "_next", every_other)],
    "starts not made again": [(Triggers, "_load", not_again)],
    "a run for each look": [(Triggers, "_start", anew)],
    "messages not heard": [(Watching, "heard", deaf)],
    "early starts": [(starts, "armed", early)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault):
    """Triggers with this fault do not survive the simulation."""
    assert worlds_until_noticed(FAULTS[fault])
