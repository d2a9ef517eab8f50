"""What tests of limits share: a ledger of who is inside, and what runs say they wait for."""

import asyncio
from collections import Counter


class Ledger:
    """What handlers did: who is inside now, the most that ever were, and in which order they came."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list = []
        self.gates: dict = {}

    def gate(self, name) -> asyncio.Event:
        """What a handler waits for, by name."""
        return self.gates.setdefault(name, asyncio.Event())

    async def visit(self, name, key="all") -> None:
        """Come in, wait for the gate of that name to be opened, leave."""
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        self.order.append(name)
        try:
            await self.gate(name).wait()
        finally:
            self.inside[key] -= 1

    async def pass_by(self, name, key="all", seconds=0.02) -> None:
        """Come in, stay for a moment, leave."""
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        self.order.append(name)
        await asyncio.sleep(seconds)
        self.inside[key] -= 1


async def status_of(handle) -> str:
    """The run's status."""
    return (await handle.status()).status


async def reason_of(handle, cause):
    """The first reason of a kind that the run is waiting for; None while there is none."""
    return next((each for each in await handle.explain() if each.cause == cause), None)


async def empty(client, kind, name) -> bool:
    """Whether nobody has anything of a gate, and nobody waits."""
    gate = await client.gate(kind, name)
    return gate.holding == gate.waiting == sum(limit.used for limit in gate.limits) == 0
