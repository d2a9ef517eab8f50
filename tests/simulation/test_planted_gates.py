"""The simulation can fail: faults planted in limits are noticed within a few worlds."""

from __future__ import annotations

import pytest

from dagnats.core import admission
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.meters import Meters
from dagnats.gates import GateRead
from dagnats.scheduler import gates
from tests.simulation.planting import worlds_until_noticed


async def empty(outside, gate, seen=None):
    """A new owner takes a gate for one that nobody ever asked."""
    return GateRead(Gate(gate), 0)


FAULTS = {
    "slots are not counted": [
        (Meters, "give_back", lambda self, demands: []),
        (Meters, "short", lambda *_: False),
    ],
    "rates are not counted": [(Meters, "wait_ms", lambda self, meter, cost, now: 0)],
    "nobody is let through later": [(Gate, "_open", lambda self, meter: None)],
    "nobody asks": [(admission, "_ask", admission.granted)],
    "owners forget": [(gates, "read_gate", empty)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault):
    """Limits with this fault do not survive the simulation."""
    assert worlds_until_noticed(FAULTS[fault])
