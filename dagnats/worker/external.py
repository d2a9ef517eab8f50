"""Triggers of kinds that a worker owns: one function at work for each trigger, in one worker of all that have its kind.

Who that is, a document says that its holder renews; others take it when it has not changed for a while on *their*
clock. A holder that cannot renew it in time ends its functions first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from dagnats import convert
from dagnats.client import Client
from dagnats.clock import Clock
from dagnats.core.triggers.model import External, Trigger
from dagnats.errors import DagNatsError, OutsideError
from dagnats.limits import TYPE_LEASE_MS, TYPE_LOOK_MS
from dagnats.trigger_types import TriggerType, check_payload, register_type
from dagnats.wire import subjects

log = logging.getLogger("dagnats.worker")

_RESTART_S = (0.2, 1.0, 5.0, 30.0)


class ExternalTrigger:
    """What the function of a trigger type is given: one trigger, and the door to fire it."""

    def __init__(self, client: Client, kind: TriggerType, trigger: Trigger) -> None:
        self.id = trigger.id
        self.workflow = trigger.workflow
        self.config: Any = trigger.on.config if isinstance(trigger.on, External) else None
        self._client = client
        self._kind = kind
        self._trigger = trigger

    async def fire(self, data: Any = None, *, key: str) -> str:
        """Something happened: start a run; the same ``key`` again is the same fire. The run's id; "" if it is held.

        Raises:
            InvalidInput: the data do not fit the type's schema.
        """
        raw = convert.encode(data)
        check_payload(self._kind, raw)
        return await self._client.tell_external(self._trigger, key, raw)


Listen = Callable[[ExternalTrigger], Awaitable[None]]


class Owned(Struct, frozen=True):
    """A kind with the function that notices what its triggers wait for."""

    kind: TriggerType
    listen: Listen


class Beat(Struct, frozen=True):
    """Who has a kind's triggers; ``beat`` changes each time."""

    worker: str
    beat: int


class Kind:
    """The triggers of one kind, in one worker."""

    def __init__(self, owned: Owned, client: Client, worker: str, clock: Clock) -> None:
        self._owned = owned
        self._client = client
        self._worker = worker
        self._clock = clock
        self._documents = client.outside.documents(subjects.TRIGGER_TYPES)
        self._key = f"owner.{subjects.token(owned.kind.name)}"
        self._seen: tuple[int, float] = (-1, 0.0)
        self._revision = 0
        self._beat = 0
        self._valid_until = float("-inf")
        self._working: dict[str, tuple[Trigger, asyncio.Task[None]]] = {}

    async def look(self) -> None:
        """Renew or take the right to this kind, and have a function at work for each of its triggers."""
        try:
            if await self._mine():
                await self._follow()
        except (OutsideError, TimeoutError) as error:
            log.warning("triggers of type %s: %s", self._owned.kind.name, error)
        if self._clock.monotonic_ms() >= self._valid_until:
            await self.end()

    async def _mine(self) -> bool:
        asked = self._clock.monotonic_ms()
        found = await self._documents.get(self._key)
        revision = found[1] if found else 0
        if not (found and revision == self._revision) and self._held(found, revision, asked):
            return False
        self._beat += 1
        mine = msgspec.json.encode(Beat(self._worker, self._beat))
        stored = await self._documents.swap(self._key, mine, revision)
        if stored is None:
            return False
        self._revision = stored
        self._valid_until = asked + TYPE_LEASE_MS / 2
        return True

    def _held(self, found: tuple[bytes, int] | None, revision: int, asked: float) -> bool:
        """Whether another worker has it: its document has changed lately, as seen from here."""
        if found is None:
            return False
        if self._seen[0] != revision:
            self._seen = (revision, self._clock.monotonic_ms())
        return asked - self._seen[1] < TYPE_LEASE_MS

    async def _follow(self) -> None:
        name = self._owned.kind.name
        wanted = {
            each.id: each
            for each in await self._client.triggers()
            if each.enabled and isinstance(each.on, External) and each.on.kind == name
        }
        for trigger_id, (trigger, task) in list(self._working.items()):
            if wanted.get(trigger_id) != trigger:
                await self._end_one(trigger_id, task)
        for trigger_id, trigger in wanted.items():
            if trigger_id not in self._working:
                task = asyncio.get_running_loop().create_task(self._work(trigger))
                self._working[trigger_id] = (trigger, task)

    async def _work(self, trigger: Trigger) -> None:
        """The function, begun again when it raises; when it returns, there is nothing more to notice."""
        failures = 0
        while True:
            try:
                await self._owned.listen(ExternalTrigger(self._client, self._owned.kind, trigger))
            except Exception:
                log.exception("trigger %s begins again after an error", trigger.id)
            else:
                return
            await asyncio.sleep(_RESTART_S[min(failures, len(_RESTART_S) - 1)])
            failures += 1

    async def _end_one(self, trigger_id: str, task: asyncio.Task[None]) -> None:
        del self._working[trigger_id]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def end(self) -> None:
        """End every function."""
        for trigger_id, (_, task) in list(self._working.items()):
            await self._end_one(trigger_id, task)

    async def leave(self) -> None:
        """End, and let another have it at once."""
        await self.end()
        if self._clock.monotonic_ms() < self._valid_until:
            with suppress(DagNatsError, TimeoutError):
                await self._documents.delete(self._key)


async def keep_external(client: Client, owned: list[Owned], worker: str) -> None:
    """Register these kinds, and serve their triggers until cancelled.

    Raises:
        InvalidInput, RequestError: a kind cannot be registered as it is.
    """
    documents = client.outside.documents(subjects.TRIGGER_TYPES)
    for each in owned:
        await register_type(documents, each.kind, client.clock.wall_ms())
    kinds = [Kind(each, client, worker, client.clock) for each in owned]
    try:
        while kinds:
            for kind in kinds:
                await kind.look()
            await asyncio.sleep(TYPE_LOOK_MS / 1000)
    finally:
        for kind in kinds:
            await kind.leave()
