"""Asking about triggers: define, list, fire, look back. Their logs are folded with the scheduler's own engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from dagnats import archive, beginnings, convert, payloads
from dagnats.core.entities import TriggerFired, TriggerSet
from dagnats.core.events import Event
from dagnats.core.model import Workflow
from dagnats.core.triggers import fold as folding
from dagnats.core.triggers.envelope import lets_through
from dagnats.core.triggers.file import KINDS, write_hold, write_trigger
from dagnats.core.triggers.fold import TriggerCommand, TriggerState
from dagnats.core.triggers.grouping import grouped
from dagnats.core.triggers.model import (
    Cron,
    External,
    Http,
    Subject,
    Trigger,
    Webhook,
    entity_of,
    fired_run_id,
)
from dagnats.core.views import text_of_time
from dagnats.errors import (
    CodecError,
    InvalidInput,
    NotPermitted,
    RequestError,
    TriggerNotFound,
)
from dagnats.holding import HeldView, held_view
from dagnats.ids import new_run_id
from dagnats.limits import FIRES_LISTED_MAX
from dagnats.ports import Append, Entry, Outside
from dagnats.registry import Registry
from dagnats.trigger_checks import check_trigger
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact, run_of
from dagnats.wire.messages import ClosedMark, FiredMark

__all__ = [
    "Cron", "External", "FireView", "Http", "Subject", "Trigger", "TriggerRequests", "TriggerView", "Webhook",
    "read_trigger_state",
]  # fmt: skip
_mark = msgspec.json.Decoder(FiredMark)
_closed = msgspec.json.Decoder(ClosedMark)
_NEEDS_EVENT: Final = (Subject, Http)
_LOOKS: Final = 100
_AT_ONCE: Final = 1_000  # facts that are folded without a pause
_PAUSE_S: Final = 0.05


class TriggerView(Struct, frozen=True, kw_only=True):
    """A trigger as people see it. ``next_at`` is when its schedule is due, ``running`` what overlap looks at.

    ``hold`` says how it holds events back (``{"debounce": …}``, ``{"batch": …}``), ``held`` what it holds now.
    """

    id: str
    workflow: str
    kind: str
    on: dict[str, Any]
    enabled: bool
    source: str
    overlap: str
    next_at: str
    running: tuple[str, ...]
    waiting: int
    hold: dict[str, Any] = {}
    held: HeldView = HeldView()


class FireView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fire. ``fired_at`` is its instant; ``skip_reason`` why it started nothing.

    It may stand for several ``events`` that were held back, ``key`` is what they shared; ``note``: what was unusual.
    """

    trigger_id: str
    workflow_id: str
    run_id: str = ""
    source: str
    fired_at: str
    skipped: bool = False
    skip_reason: str = ""
    status: str = ""
    duration_ms: int | None = None
    events: int = 0
    key: str = ""
    note: str = ""


async def read_trigger_state(
    outside: Outside,
    entity: str,
    seen: Callable[[Event, list[TriggerCommand]], None] | None = None,
) -> TriggerState:
    """A trigger by its entity; ``seen`` is called with each fact after its snapshot, and what that caused.

    Raises:
        CodecError: only a newer version can read it.
    """
    state, entries = await beginnings.read(outside, entity, beginnings.TRIGGERS)
    for number, entry in enumerate(entries):
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
        if not is_fact(entry):
            continue
        try:
            event = event_of(entry)
        except CodecError:
            continue  # it was dead-lettered when it was delivered
        state, caused = folding.fold(state, event)
        if seen is not None:
            seen(event, caused)
    return state


class TriggerRequests:
    """What can be asked of triggers. ``Client`` brings the connection."""

    outside: Outside
    registry: Registry

    async def triggers(self) -> list[Trigger]:
        """Every trigger, by id."""
        entries = await self.outside.documents(subjects.TRIGGERS).all()
        found = [folding.decode_trigger(Raw(value)) for value, _ in entries.values()]
        return sorted((each for each in found if each is not None), key=lambda each: each.id)

    async def trigger(self, trigger_id: str) -> Trigger:
        """One trigger.

        Raises:
            TriggerNotFound.
        """
        found = await self.outside.documents(subjects.TRIGGERS).get(entity_of(trigger_id))
        trigger = folding.decode_trigger(Raw(found[0])) if found else None
        if trigger is None:
            text = f'no trigger "{trigger_id}"; `dagnats trigger list` shows those there are'
            raise TriggerNotFound(text, trigger=trigger_id)
        return trigger

    async def view_trigger(self, trigger: Trigger) -> TriggerView:
        """A trigger with what its log says: when it is due next, what runs, how many wait."""
        state = await read_trigger_state(self.outside, entity_of(trigger.id))
        kind, settings = next(
            (key, value)
            for key, value in write_trigger(trigger, secrets=False).items()
            if isinstance(value, dict) and key in KINDS
        )
        due_ms = state.next_ms if state.trigger == trigger else 0
        return TriggerView(
            id=trigger.id, workflow=trigger.workflow, kind=kind, on=settings, enabled=trigger.enabled,
            source=trigger.source, overlap=trigger.overlap, next_at=text_of_time(due_ms),
            running=tuple(run for _, run in state.running), waiting=len(state.waiting),
            hold={} if trigger.hold is UNSET else write_hold(trigger.hold), held=held_view(state.held),
        )  # fmt: skip

    async def set_trigger(self, trigger: Trigger) -> bool:
        """Define a trigger, or change it; False when it is so already.

        Raises:
            DefinitionError: with every problem.
            WorkflowNotFound.
            RequestError: another trigger has its path, or there are too many.
            BrokerUnsuitable: its subject cannot be captured.
        """
        others = {each.id: each for each in await self.triggers()}
        if others.pop(trigger.id, None) == trigger:
            state = await read_trigger_state(self.outside, entity_of(trigger.id))
            if state.trigger == trigger:  # the list may be behind the log
                return False
        await check_trigger(self.outside, self.registry, trigger, list(others.values()))
        body = msgspec.json.encode(write_trigger(trigger))
        await self._tell(trigger.id, TriggerSet(definition=Raw(body)), f"set:{new_run_id()}")
        await self.outside.documents(subjects.TRIGGERS).put(entity_of(trigger.id), body)
        return True

    async def check_triggers(
        self,
        source: str,
        triggers: Sequence[Trigger],
        workflows: Mapping[str, Workflow] | None = None,
    ) -> None:
        """Whether a source could have all these; ``workflows`` are about to be registered. Nothing changes.

        Raises:
            DefinitionError, WorkflowNotFound, RequestError, BrokerUnsuitable: as ``set_trigger``.
        """
        ids = {trigger.id for trigger in triggers}
        others: list[Trigger] = []
        for each in await self.triggers():
            if each.source != source and each.id in ids:
                keeper = each.source or "the command line"
                text = f'trigger "{each.id}" is kept by {keeper}; give this one another id'
                raise RequestError(text, trigger=each.id)
            if each.source != source:
                others.append(each)
        for trigger in triggers:
            await check_trigger(self.outside, self.registry, trigger, others, workflows or {})
            others.append(trigger)

    async def enable_trigger(self, trigger_id: str, *, enabled: bool = True) -> bool:
        """Let a trigger fire, or (``enabled=False``) pause it; False when it is so already.

        Raises:
            TriggerNotFound.
        """
        return await self.set_trigger(replace(await self.trigger(trigger_id), enabled=enabled))

    async def delete_trigger(self, trigger_id: str) -> None:
        """Remove a trigger. Its history stays, and so do the runs that it started.

        Raises:
            TriggerNotFound.
        """
        trigger = await self.trigger(trigger_id)
        await self._tell(trigger_id, TriggerSet(), f"set:{new_run_id()}")
        await self.outside.documents(subjects.TRIGGERS).delete(entity_of(trigger_id))
        if isinstance(trigger.on, Subject) and trigger.on.subject:
            rest = [each.on for each in await self.triggers()]
            needed = [on.subject for on in rest if isinstance(on, Subject) and on.subject]
            with suppress(NotPermitted):  # what goes on being stored is for nobody, and ages out
                await self.outside.inbox.release(needed)

    async def keep_triggers(
        self, source: str, workflows: Sequence[str] | None, triggers: Sequence[Trigger]
    ) -> list[str]:
        """Have a source's triggers of these workflows (None: of any) be exactly these; the ids of those that changed.

        One that an operator has disabled stays so.

        Raises:
            DefinitionError, WorkflowNotFound, RequestError, BrokerUnsuitable: as ``set_trigger``.
        """
        await self.check_triggers(source, triggers)
        known = {each.id: each for each in await self.triggers()}
        changed: list[str] = []
        kept = {trigger.id for trigger in triggers}
        for gone in known.values():  # first: others may have their paths
            ours = gone.source == source and (workflows is None or gone.workflow in workflows)
            if ours and gone.id not in kept:
                await self.delete_trigger(gone.id)
                changed.append(gone.id)
        for trigger in triggers:
            before = known.get(trigger.id)
            enabled = trigger.enabled and (before is None or before.enabled)
            if await self.set_trigger(replace(trigger, source=source, enabled=enabled)):
                changed.append(trigger.id)
        return changed

    # -- firing ------------------------------------------------------------------------------------

    async def fire_trigger(self, trigger_id: str, data: Any = None) -> FireView:
        """Fire a schedule, a webhook or an external trigger by hand, and wait until it is known what came of it.

        One that holds events back (debounce, batch) holds this one too: ``status`` is "held".

        Raises:
            TriggerNotFound.
            RequestError: it is disabled, or of a kind that only what it waits for can fire.
            InvalidInput: its filter does not let the data through.
        """
        trigger = await self.trigger(trigger_id)
        if isinstance(trigger.on, _NEEDS_EVENT):
            what = f"its {trigger.kind}: send a request"
            if isinstance(trigger.on, Subject):
                name = trigger.on.event
                what = f"event {name}: publish one" if name else "its subject: publish a message"
            text = f'trigger "{trigger_id}" waits for {what} instead'
            raise RequestError(text, trigger=trigger_id)
        key = f"manual-{new_run_id()}"
        return await self.tell_fired(trigger, key, "manual", data)

    async def tell_fired(self, trigger: Trigger, key: str, kind: str, data: Any) -> FireView:
        """Fire a trigger; the same ``key`` again is the same fire.

        Raises:
            RequestError, InvalidInput: as ``fire_trigger``.
        """
        if not trigger.enabled:
            text = f'trigger "{trigger.id}" is disabled; `dagnats trigger enable {trigger.id}`'
            raise RequestError(text, trigger=trigger.id)
        raw = data if isinstance(data, Raw) else convert.encode(data)
        payloads.refuse_forged(raw, "the data")
        if not lets_through(trigger, raw):
            text = (
                f'the filter of trigger "{trigger.id}" does not let this through: {trigger.filter}'
            )
            raise InvalidInput(text)
        seq = await self._fire(trigger, key, kind, raw)
        if trigger.hold is not UNSET:
            return FireView(
                trigger_id=trigger.id, workflow_id=trigger.workflow, source=kind, fired_at="", status="held",
            )  # fmt: skip
        for _ in range(_LOOKS):
            for view in await self.trigger_history(trigger.id, limit=_LOOKS, since_seq=seq):
                if view[0] == key:
                    return view[1]
            await asyncio.sleep(_PAUSE_S)
        return FireView(
            trigger_id=trigger.id, workflow_id=trigger.workflow, source=kind, fired_at="",
            run_id=fired_run_id(trigger.id, key), status="pending",
        )  # fmt: skip

    async def tell_external(self, trigger: Trigger, key: str, data: Raw) -> str:
        """Fire a trigger for the worker that owns its kind, if its filter lets the data through.

        The run's id; empty when the trigger holds events back: which run that will be is not known yet.
        """
        if lets_through(trigger, data):
            payloads.refuse_forged(data, "the data")
            await self._fire(trigger, f"ext-{key}", trigger.kind, data)
        if trigger.hold is not UNSET:
            return ""
        return fired_run_id(trigger.id, f"ext-{key}")

    async def _fire(self, trigger: Trigger, key: str, kind: str, data: Raw) -> int:
        kept = await payloads.offload(self.outside.blobs, data, "the data")
        fact = grouped(TriggerFired(key=key, kind=kind, data=kept), trigger, data)
        return await self._tell(trigger.id, fact, key)

    async def fires(self, trigger_id: str, limit: int = 10) -> list[FireView]:
        """The newest fires of a trigger, and what became of their runs.

        Raises:
            InvalidInput: the limit is out of bounds.
        """
        if not 1 <= limit <= FIRES_LISTED_MAX:
            raise InvalidInput(f"a history has 1 to {FIRES_LISTED_MAX} entries, not {limit}")
        return [view for _, view in await self.trigger_history(trigger_id, limit=limit)]

    async def trigger_history(
        self, trigger_id: str, *, limit: int, since_seq: int = 0
    ) -> list[tuple[str, FireView]]:
        """The newest fires with their keys."""
        log, entity = self.outside.log, entity_of(trigger_id)
        subject = subjects.fires(subjects.partition_of(entity, log.partitions), entity)
        marks: dict[str, FiredMark] = {}
        async with aclosing(log.newest(subject)) as pages:
            async for page in pages:
                for entry in page:
                    if entry.seq > since_seq and len(marks) < limit:
                        mark = _mark.decode(entry.payload)
                        marks.setdefault(mark.key, mark)
                if len(marks) >= limit or (page and page[-1].seq <= since_seq):
                    break
        ended = await _ended(self.outside, [mark.run_id for mark in marks.values() if mark.run_id])
        return [(key, _view(trigger_id, mark, ended)) for key, mark in marks.items()]

    async def _tell(self, trigger_id: str, fact: TriggerSet | TriggerFired, what: str) -> int:
        log, entity = self.outside.log, entity_of(trigger_id)
        place = subjects.partition_of(entity, log.partitions)
        subject = subjects.fact(place, entity, "trigger")
        [stored] = await log.append([Append(subject, encode(fact), f"{entity}/{what}")])
        return stored.seq


def _view(trigger_id: str, mark: FiredMark, ended: dict[str, Entry]) -> FireView:
    view = FireView(
        trigger_id=trigger_id, workflow_id=mark.workflow, run_id=mark.run_id, source=mark.kind,
        fired_at=text_of_time(mark.at_ms), skipped=not mark.run_id, skip_reason=mark.reason,
        events=mark.events, key=mark.group, note=mark.note,
    )  # fmt: skip
    if not mark.run_id:
        return view
    entry = ended.get(mark.run_id)
    closed = _closed.decode(entry.payload) if entry else None
    if closed is None or not closed.closed_ms:
        return replace(view, status="running")
    spent = closed.closed_ms - closed.started_ms
    return replace(view, status=closed.status, duration_ms=spent)


async def _ended(outside: Outside, runs: Sequence[str]) -> dict[str, Entry]:
    total = outside.log.partitions
    places = [subjects.mark(subjects.partition_of(run, total), run, "closed") for run in runs]
    return {run_of(entry.subject): entry for entry in await archive.last_of(outside, places)}
