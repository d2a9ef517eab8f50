"""Looking out for events: who waits is found, whatever number of others wait for the same."""

from __future__ import annotations

import msgspec

from dagnats.core.commands import AwaitEvent
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Entry
from dagnats.scheduler.lookout import Lookout
from dagnats.wire import subjects

MANY = 2_000


def event(order: object) -> Entry:
    """An event that was published later than every wait began."""
    return Entry(1, 10, "dagnats.event.paid", msgspec.json.encode({"order": order}))


class Counted(dict):
    """A table that counts how often it is gone through as a whole."""

    walks = 0

    def items(self):
        """All of it."""
        Counted.walks += len(self)
        return super().items()


async def test_one_of_very_many_is_told():
    """Only it; and nobody goes through the others to find it."""
    world = World(VirtualClock(), 1)
    lookout = Lookout(0, Memory(world), lambda: True)
    for number in range(MANY):
        await lookout.watch(AwaitEvent(f"r{number}", "paid/1/0", "paid", "order", str(number), 1))
    values = lookout._index["paid"]["order"]
    lookout._index["paid"]["order"] = Counted(values)
    await lookout.heard(event(7))
    await lookout.heard(event("nobody"))

    told = world.streams[subjects.EVENTS].matching("dagnats.fact.0.*.scheduler")
    assert [entry.subject.split(".")[3] for entry in told] == ["r7"]
    assert Counted.walks == 0
    await lookout.forget("r7", "paid/1/0")
    await lookout.heard(event(7))
    assert len(world.streams[subjects.EVENTS].matching("dagnats.fact.0.*.scheduler")) == 1
    assert len(lookout) == MANY - 1
