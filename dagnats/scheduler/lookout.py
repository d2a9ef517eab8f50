"""Looking out for external events, for the waiting runs of one partition.

Who waits is kept in memory, and in a bucket for the next owner. An event that is published while a wait is
being noted is not missed: the wait is in memory before the inbox is read back, and events are heard all the
time. Hearing one twice is harmless, for the run waits no longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from dagnats.core.commands import AwaitEvent
from dagnats.core.events import EventReceived
from dagnats.core.matching import found_in
from dagnats.ports import Append, Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import Waiter

_waiter = msgspec.json.Decoder(Waiter)
_ANY = ""


class Lookout:
    """The waits of one partition. ``fence``: whether this process still writes for it."""

    def __init__(self, partition: int, outside: Outside, fence: Callable[[], bool]) -> None:
        self._partition = partition
        self._outside = outside
        self._fence = fence
        self._documents = outside.documents(subjects.WAITERS)
        # event → field of the event → value → (run, ticket) → since when
        self._index: defaultdict[str, dict[str, dict[str, dict[tuple[str, str], int]]]] = (
            defaultdict(dict)
        )
        self._known: dict[tuple[str, str], Waiter] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def load(self) -> None:
        """Take over: who waits, and what was published for them while nobody looked."""
        self._index.clear()
        self._known.clear()
        entries = await self._documents.all(f"{self._partition}.")
        for value, _ in entries.values():
            try:
                self._note(_waiter.decode(value))
            except msgspec.DecodeError:
                continue
        await self._read_back(list(self._known.values()))

    async def watch(self, watch: AwaitEvent) -> None:
        """Look out for one more."""
        waiter = Waiter(
            run=watch.run, ticket=watch.ticket, event=watch.event, left=watch.left,
            value=watch.value, since_ms=watch.since_ms,
        )  # fmt: skip
        if self._known.get((watch.run, watch.ticket)) == waiter:
            return
        self._note(waiter)
        await self._documents.put(self._key(watch.run, watch.ticket), encode(waiter))
        await self._read_back([waiter])

    async def forget(self, run: str, ticket: str) -> None:
        """Look out no longer."""
        if self._drop(run, ticket):
            await self._documents.delete(self._key(run, ticket))

    async def heard(self, entry: Entry) -> None:
        """An event was published: tell whoever waits for it."""
        facts = self._facts(entry, None)
        if facts:
            await self._outside.log.append(facts, self._fence)

    # -- inside ------------------------------------------------------------------------------------

    def _key(self, run: str, ticket: str) -> str:
        return f"{self._partition}.{run}.{ticket.encode().hex()}"

    def _note(self, waiter: Waiter) -> None:
        self._drop(waiter.run, waiter.ticket)
        place = (waiter.run, waiter.ticket)
        self._known[place] = waiter
        fields = self._index[waiter.event].setdefault(waiter.left, {})
        fields.setdefault(waiter.value, {})[place] = waiter.since_ms

    def _drop(self, run: str, ticket: str) -> bool:
        waiter = self._known.pop((run, ticket), None)
        if waiter is None:
            return False
        fields = self._index[waiter.event]
        values = fields[waiter.left]
        values[waiter.value].pop((run, ticket), None)
        if not values[waiter.value]:
            del values[waiter.value]
        if not values:
            del fields[waiter.left]
        if not fields:
            del self._index[waiter.event]
        return True

    async def _read_back(self, waiters: Iterable[Waiter]) -> None:
        """What was published since each of them counts."""
        since: dict[str, int] = {}
        only: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        for waiter in waiters:
            since[waiter.event] = min(waiter.since_ms, since.get(waiter.event, waiter.since_ms))
            only[waiter.event].add((waiter.run, waiter.ticket))
        for event, since_ms in since.items():
            for entry in await self._outside.inbox.since(event, since_ms):
                facts = self._facts(entry, only[event])
                if facts:
                    await self._outside.log.append(facts, self._fence)

    def _facts(self, entry: Entry, only: set[tuple[str, str]] | None) -> list[Append]:
        name = subjects.event_of(entry.subject)
        fields = self._index.get(name)
        if not fields:
            return []
        payload = msgspec.Raw(entry.payload) if _is_json(entry.payload) else msgspec.Raw(b"null")
        facts: list[Append] = []
        for left, values in fields.items():
            value = _ANY if left == _ANY else found_in(payload, left)
            for (run, ticket), since_ms in (
                values.get(value, {}).items() if value is not None else ()
            ):
                if entry.at_ms < since_ms or (only is not None and (run, ticket) not in only):
                    continue
                fact = EventReceived(ticket=ticket, name=name, payload=payload)
                subject = subjects.fact(self._partition, run, "scheduler")
                facts.append(Append(subject, encode(fact), f"{run}/{ticket}:event:{entry.seq}"))
        return facts


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
