"""Which partitions this scheduler may write for: a lease of its own, and a record for each partition.

A scheduler renews one document; others take it for dead when that has not changed for the lease's time
on *their* clock. The lease here runs from *before* the renewal was sent, so it always ends first.
Partition records change hands by compare-and-swap. After a lapse nothing is held until it has been
claimed again, so whoever was presumed dead meanwhile finds out before writing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from dagnats.clock import Clock
from dagnats.core.ownership import moves
from dagnats.limits import LEASE_MARGIN_MS, LEASE_TTL_MS
from dagnats.ports import Documents

log = logging.getLogger("dagnats.scheduler")

_SCHEDULER = "scheduler."
_PARTITION = "partition."
_FORGET_AFTER_MS = 60_000


class Renewal(Struct, frozen=True):
    """A scheduler's lease document; ``beat`` changes each time."""

    beat: int


class Owner(Struct, frozen=True):
    """A partition's record; an empty owner means nobody."""

    owner: str


class Seen(Struct):
    """When another scheduler's document last changed, on this machine's clock."""

    revision: int
    at_ms: float


_owner = msgspec.json.Decoder(Owner)


def _owner_of(value: bytes) -> str:
    """Who a record names; a record that cannot be read names nobody, and can be claimed."""
    try:
        return _owner.decode(value).owner
    except msgspec.DecodeError:
        return ""


class Ownership:
    """One scheduler's view of who owns what, renewed by calling ``renew`` every LEASE_RENEW_MS."""

    def __init__(
        self,
        me: str,
        documents: Documents,
        partitions: int,
        clock: Clock,
        *,
        most: int = 0,
        ttl_ms: float = LEASE_TTL_MS,
    ) -> None:
        self.me = me
        self.held: dict[int, int] = {}  # partition → the revision of the claim
        self._documents = documents
        self._partitions = partitions
        self._clock = clock
        self._most = most
        self._ttl_ms = ttl_ms
        self._valid_until_ms = float("-inf")
        self._beat = 0
        self._seen: dict[str, Seen] = {}

    def valid(self) -> bool:
        """Whether the lease still runs."""
        return self._clock.monotonic_ms() < self._valid_until_ms

    def fence(self, partition: int) -> Callable[[], bool]:
        """The question to ask right before writing for a partition.

        It is about this claim: after a lapse, or when the partition went to somebody else and came
        back, it says no for ever, for what is in memory has missed facts.
        """
        claim = self.held.get(partition)
        return lambda: claim is not None and self.held.get(partition) == claim and self.valid()

    async def renew(self) -> list[int]:
        """Renew the lease, look around, claim what is free; return the partitions to let go.

        The caller stops folding those and calls ``release`` for each.
        """
        sent = self._clock.monotonic_ms()
        self._beat += 1
        await self._documents.put(_SCHEDULER + self.me, msgspec.json.encode(Renewal(self._beat)))
        asked = self._clock.monotonic_ms()
        entries = await self._documents.all()
        # Asked only now: until the beat above was stored, the others could take this one for dead.
        if self.held and not self.valid():
            log.warning("the scheduler's lease ran out; everything it held must be claimed again")
            self.held.clear()
        records = self._records(entries)
        self.held = {
            p: claim for p, claim in self.held.items() if records.get(p) == (self.me, claim)
        }
        owners = {p: owner for p, (owner, _) in records.items()}
        alive = self._alive(self._others(entries, owners.values()), asked)
        plan = moves(self.me, self.held.keys(), alive, owners, self._partitions, self._most)
        await self._claim(plan.claim, records)
        self._valid_until_ms = sent + self._ttl_ms - LEASE_MARGIN_MS
        await self._sweep(asked, owners.values())
        return list(plan.release)

    async def _claim(self, wanted: Iterable[int], records: dict[int, tuple[str, int]]) -> None:
        """Take what is wanted, and give up what is ours by its record alone: nobody else could take it."""
        for partition in wanted:
            claim = await self._write(partition, self.me, records.get(partition, ("", 0))[1])
            if claim is not None:
                self.held[partition] = claim
        for partition, (owner, revision) in records.items():
            if owner == self.me and partition not in self.held:
                await self._write(partition, "", revision)

    def _alive(self, revisions: dict[str, int], asked: float) -> set[str]:
        """Who may hold a lease. A new beat counts from when it was seen, an old one until it was asked for."""
        now = self._clock.monotonic_ms()
        alive: set[str] = set()
        for name, revision in revisions.items():
            seen = self._seen.get(name)
            if seen is None or seen.revision != revision:
                self._seen[name] = Seen(revision, now)
                alive.add(name)
            elif asked - seen.at_ms < self._ttl_ms:
                alive.add(name)
        return alive

    def _others(
        self, entries: dict[str, tuple[bytes, int]], owners: Iterable[str]
    ) -> dict[str, int]:
        """The beats of other schedulers; 0 for an owner without one: it may have been swept too early."""
        beats = dict.fromkeys(owners, 0)
        for key, (_, revision) in entries.items():
            if key.startswith(_SCHEDULER):
                beats[key.removeprefix(_SCHEDULER)] = revision
        return {name: beat for name, beat in beats.items() if name not in ("", self.me)}

    def _records(self, entries: dict[str, tuple[bytes, int]]) -> dict[int, tuple[str, int]]:
        records: dict[int, tuple[str, int]] = {}
        for key, (value, revision) in entries.items():
            number = key.removeprefix(_PARTITION)
            if number != key and number.isdecimal():
                records[int(number)] = (_owner_of(value), revision)
        return records

    async def _write(self, partition: int, owner: str, revision: int) -> int | None:
        body = msgspec.json.encode(Owner(owner))
        return await self._documents.swap(f"{_PARTITION}{partition}", body, revision)

    async def _sweep(self, asked: float, owners: Iterable[str]) -> None:
        """Remove the documents of schedulers that died long ago and own nothing."""
        for name, seen in list(self._seen.items()):
            if asked - seen.at_ms > _FORGET_AFTER_MS and name not in owners:
                await self._documents.delete(_SCHEDULER + name)
                del self._seen[name]

    async def release(self, partition: int) -> None:
        """Give a partition up; what was not acknowledged comes to the next owner."""
        self.held.pop(partition, None)
        found = await self._documents.get(f"{_PARTITION}{partition}")
        if found is not None and _owner_of(found[0]) == self.me:
            await self._write(partition, "", found[1])

    async def leave(self) -> None:
        """Give everything up, so that others need not wait for the lease to run out."""
        for partition in sorted(self.held):
            await self.release(partition)
        self._valid_until_ms = float("-inf")
        await self._documents.delete(_SCHEDULER + self.me)
