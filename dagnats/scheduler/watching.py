"""The messages that triggers of one partition wait for: events of the inbox, and captured subjects.

A message becomes a fact of each trigger that waits for it, in the order of its stream; the trigger's log says how far
that has come. So the next owner goes on from there, and whoever writes a message's fact a second time changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from dagnats import payloads
from dagnats.core.entities import TriggerFired
from dagnats.core.model import ABSENT
from dagnats.core.triggers.envelope import lets_through
from dagnats.core.triggers.fold import TriggerState
from dagnats.core.triggers.grouping import grouped
from dagnats.core.triggers.model import Subject, Trigger
from dagnats.errors import InvalidInput
from dagnats.ports import Append, Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode


class Watch(Struct):
    """A trigger that waits for messages: of which subject of which stream, after which of them."""

    trigger: Trigger
    stream: str
    subject: str
    since_ms: int
    heard: int


class Watching:
    """Who waits for which messages. ``fence``: whether this process still writes for the partition."""

    def __init__(self, number: int, outside: Outside, fence: Callable[[], bool]) -> None:
        self._number = number
        self._outside = outside
        self._fence = fence
        self._turn = asyncio.Lock()  # messages become facts in the order of their stream
        self._watches: dict[str, Watch] = {}

    def clear(self) -> None:
        """Nobody waits."""
        self._watches.clear()

    async def watch(self, state: TriggerState) -> None:
        """Look out for a trigger's messages as it is now, also for those that are there already."""
        self._watches.pop(state.entity, None)
        trigger = state.trigger
        if trigger is None or not trigger.enabled or not isinstance(trigger.on, Subject):
            return
        on = trigger.on
        stream = subjects.INBOX if on.event else subjects.HOOKS
        subject = subjects.inbox(on.event) if on.event else on.subject
        if on.subject:
            await self._outside.inbox.capture(on.subject)
        watch = Watch(trigger, stream, subject, state.since_ms, state.heard)
        async with self._turn:
            inbox = self._outside.inbox
            for entry in await inbox.messages(stream, subject, watch.heard, watch.since_ms):
                await self._tell(state.entity, watch, entry)
            self._watches[state.entity] = watch  # not before: newer ones must not overtake these

    async def heard(self, stream: str, entry: Entry) -> None:
        """A message was published: a fact of each trigger that waits for it."""
        async with self._turn:
            for entity, watch in list(self._watches.items()):
                if watch.stream == stream and subjects.covers(watch.subject, entry.subject):
                    await self._tell(entity, watch, entry)

    async def _tell(self, entity: str, watch: Watch, entry: Entry) -> None:
        if entry.at_ms < watch.since_ms or entry.seq <= watch.heard:
            return
        fact = await self._fact_of(watch, entry)
        if fact is not None:
            append = Append(
                subjects.fact(self._number, entity, "trigger"), encode(fact), f"{entity}/{fact.key}"
            )
            await self._outside.log.append([append], self._fence)
        watch.heard = entry.seq

    async def _fact_of(self, watch: Watch, entry: Entry) -> TriggerFired | None:
        whole = data = Raw(entry.payload or b"null")
        problem = ""
        try:
            msgspec.json.decode(data)
            payloads.refuse_forged(data, "the message")
            if not lets_through(watch.trigger, data):
                return None
            data = await payloads.offload(self._outside.blobs, data, "the message")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            data, problem = ABSENT, "the message is not JSON"
        except InvalidInput as error:
            data, problem = ABSENT, error.message
        key = f"{watch.stream}-{entry.seq}"
        fact = TriggerFired(key=key, kind="subject", data=data, seq=entry.seq, problem=problem)
        return grouped(fact, watch.trigger, whole)
