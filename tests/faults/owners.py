"""Who owns which partition, read from where schedulers write it."""

from __future__ import annotations

import msgspec

from dagnats import Client
from dagnats.wire import subjects
from tests.support.processes import Program

PARTITION = "partition."


async def owners(client: Client) -> dict[int, str]:
    """The owner of each partition, by the lease records; empty for nobody."""
    records = await client.outside.documents(subjects.LEASES).all()
    return {
        int(key.removeprefix(PARTITION)): msgspec.json.decode(value)["owner"]
        for key, (value, _) in records.items()
        if key.startswith(PARTITION)
    }


async def shares(client: Client) -> dict[str, int]:
    """How many partitions each owner has."""
    found = list((await owners(client)).values())
    return {name: found.count(name) for name in set(found)}


async def evenly_shared(client: Client, *programs: Program) -> bool:
    """Whether these schedulers, and nobody else, own everything, in equal parts."""
    total = client.outside.log.partitions
    return await shares(client) == {p.name: total // len(programs) for p in programs}


async def owned_by(client: Client, program: Program) -> bool:
    """Whether one scheduler owns everything."""
    return await evenly_shared(client, program)
