"""Dead letters in memory."""

import pytest

from dagnats.dead import DeadLetters
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from tests.unit.dead.letters import Runs


@pytest.fixture
def runs():
    """Runs that can all be opened again."""
    return Runs()


@pytest.fixture
def outside():
    """A process of a deployment in memory."""
    return Memory(World(VirtualClock()))


@pytest.fixture
def dead(outside, runs):
    """Its dead letters."""
    return DeadLetters(outside, VirtualClock(), runs.retry)
