"""The simulation can fail: faults planted in the scheduler are noticed within a few worlds."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from dagnats.core.commands import ArmTimer
from dagnats.core.machine import outstanding
from dagnats.memory.log import MemoryFeed
from dagnats.memory.stream import Stream
from dagnats.ports import Append
from dagnats.scheduler.loading import Loaded, Loader
from dagnats.scheduler.ownership import Ownership
from dagnats.scheduler.partition import Partition
from dagnats.scheduler.perform import Performer
from tests.simulation.hands import SlowDocuments, SlowFeed, breathe
from tests.simulation.planting import worlds_until_noticed
from tests.simulation.processes import Pump

_numbers = itertools.count()
_load, _message, _forget = Loader.load, Performer.deeds, Partition.forget
_take, _collect, _swap = MemoryFeed.next, Partition._collect, SlowDocuments.swap


async def acknowledged_early(self):
    """Acknowledge what was folded, whether what it caused is stored or not."""
    acknowledged = 0
    while True:
        for batch, _ in self._batches:
            if batch.last.seq > acknowledged:
                acknowledged = batch.last.seq
                await self._feed.acknowledge(batch.last)
        if self._batches and self._batches[0][1].done():
            await self._partition.acknowledge(self._batches.popleft()[0], self._feed)
        await breathe()


async def nothing_outstanding(self, run_id):
    """What a loaded run still owes is not done again."""
    loaded = await _load(self, run_id)
    return loaded and replace(loaded, missing=[])


async def everything_outstanding(self, run_id):
    """What was stored already is done again."""
    loaded = await _load(self, run_id)
    return loaded and Loaded(loaded.run, outstanding(loaded.run), loaded.saved_facts)


async def timers_left_alone(self, run_id):
    """Timers of a loaded run are not armed again."""
    loaded = await _load(self, run_id)
    missing = loaded and [each for each in loaded.missing if not isinstance(each, ArmTimer)]
    return loaded and replace(loaded, missing=missing)


async def nameless(self, run, command):
    """Message ids that say nothing."""
    deeds = await _message(self, run, command)
    return [
        replace(deed, msg_id=f"id{next(_numbers)}") if isinstance(deed, Append) else deed
        for deed in deeds
    ]


async def remembering(self):
    """The runs in memory outlive a failure."""
    self._horizon = await self._outside.log.last_seq()


async def no_horizon(self):
    """Every first delivery of a start is taken for a new run."""
    await _forget(self)
    self._horizon = 0


async def unaware(self, limit):
    """Facts that somebody else was handed are not missed."""
    self._handed = self._cursor.handed  # as if there had been none
    return await _take(self, limit)


async def no_rewind(self):
    """What the owner before held comes when it comes."""
    self._feed._handed = self._feed._cursor.handed


async def careless(self, slot, commands, batch):
    """Runs are let go of while their messages are on the way."""
    await _collect(self, slot, commands, batch)
    slot.uncommitted = 0


async def no_comparison(self, key, value, revision):
    """Whoever comes last owns a partition."""
    found = await self._documents.get(key)
    return await _swap(self, key, value, found[1] if found else 0)


FAULTS = {
    "acknowledged before stored": [(Pump, "_settle", acknowledged_early)],
    "outstanding not done again": [(Loader, "load", nothing_outstanding)],
    "stored ids ignored, window over": [
        (Loader, "load", everything_outstanding),
        (Stream, "known", lambda self, message, now_ms: None),
    ],
    "nonce not looked at": [(Loader, "authentic", lambda self, run_id, event: True)],
    "fence always true": [(Ownership, "fence", lambda self, partition: lambda: True)],
    "timers not armed again": [(Loader, "load", timers_left_alone)],
    "ids without meaning": [(Performer, "deeds", nameless)],
    "memory outlives a failure": [(Partition, "forget", remembering)],
    "starts taken for new": [(Partition, "forget", no_horizon)],
    "stolen facts not missed": [(MemoryFeed, "next", unaware)],
    "no rewind": [(SlowFeed, "rewind", no_rewind)],
    "parked with messages on the way": [(Partition, "_collect", careless)],
    "claims without comparison": [(SlowDocuments, "swap", no_comparison)],
}

SLOW = (
    "memory outlives a failure",
    "outstanding not done again",
    "parked with messages on the way",
    "stolen facts not missed",
    "timers not armed again",
)


QUICK = [fault for fault in FAULTS if fault not in SLOW]


@pytest.mark.parametrize(
    "fault", [*QUICK, *(pytest.param(fault, marks=pytest.mark.slow) for fault in SLOW)]
)
def test_planted_faults_are_noticed(fault):
    """A scheduler with this fault does not survive the simulation."""
    assert worlds_until_noticed(FAULTS[fault])
