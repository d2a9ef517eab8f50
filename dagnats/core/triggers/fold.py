"""A trigger's facts into starts: which instants are due, and what becomes of a fire while others run.

Pure and total, like the engine of runs. ``_admit`` is the one place where a fire becomes a start.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from dagnats.core.entities import TriggerFired, TriggerSet
from dagnats.core.events import ChildClosed, Event, TimerFired
from dagnats.core.inputs import NULL
from dagnats.core.reader import Reader
from dagnats.core.triggers import schedule
from dagnats.core.triggers.file import read_trigger
from dagnats.core.triggers.held import Held
from dagnats.core.triggers.model import Batch, Cron, Fire, Subject, Trigger, fired_run_id
from dagnats.limits import CRON_LATE_MS, FIRES_QUEUED_MAX

VERSION: Final = 2  # a state of version 1 is one of version 2 that holds nothing


class TriggerState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trigger as its log has it.

    ``next_ms`` is the instant that is armed (0: none); messages count from ``since_ms`` on, after sequence ``heard``.
    ``running`` are keys of fires and their runs, ``waiting`` fires that wait for those to end. ``held`` is what is held
    back; it is changed in place, so a state is folded on once.
    """

    entity: str
    version: int = VERSION
    seq: int = 0
    facts: int = 0
    trigger: Trigger | None = None
    next_ms: int = 0
    since_ms: int = 0
    heard: int = 0
    running: tuple[tuple[str, str], ...] = ()
    waiting: tuple[Fire, ...] = ()
    held: Held | None = None


class ArmCron(Struct, frozen=True):
    """Arm the schedule, in place of whatever was armed."""

    trigger: str
    due_ms: int


class ArmHeld(Struct, frozen=True):
    """Arm the timer of what is held, in place of whatever was armed."""

    trigger: str
    due_ms: int


class StartFired(Struct, frozen=True):
    """Start the run of a fire; ``tracked`` runs tell the trigger when they have ended."""

    trigger: Trigger
    fire: Fire
    run: str
    tracked: bool


class SkipFire(Struct, frozen=True):
    """Note that a fire started nothing, and why."""

    trigger: Trigger
    fire: Fire
    reason: str


class CancelFired(Struct, frozen=True):
    """Ask for a run to be cancelled: the next fire is to have its place."""

    run: str
    reason: str


TriggerCommand = ArmCron | ArmHeld | StartFired | SkipFire | CancelFired
Folded = tuple[TriggerState, list[TriggerCommand]]


def fold(state: TriggerState, event: Event) -> Folded:
    """The trigger after a fact, and what that causes. A fact folds once."""
    if event.seq <= state.seq:
        return state, []
    state = replace(state, seq=event.seq, facts=state.facts + 1)
    match event.fact:
        case TriggerSet():
            return _set(state, event.fact.definition, event.at_ms)
        case TimerFired():
            state, commands = _due(state, event.fact.due_ms, event.at_ms)
            state, let_go = _held_due(state, event.fact.due_ms, event.at_ms)
            return state, [*commands, *let_go]
        case TriggerFired():
            return _fired(state, event.fact, event.at_ms)
        case ChildClosed():
            return _closed(state, event.fact.ticket)
        case _:
            return state, []


def outstanding(state: TriggerState) -> list[TriggerCommand]:
    """What must be in force, whoever did it before."""
    if state.trigger is None:
        return []
    commands: list[TriggerCommand] = []
    if state.next_ms:
        commands.append(ArmCron(state.trigger.id, state.next_ms))
    if state.held is not None and state.held.armed_ms:
        commands.append(ArmHeld(state.trigger.id, state.held.armed_ms))
    return commands


# -- being defined ---------------------------------------------------------------------------------


def decode_trigger(definition: Raw) -> Trigger | None:
    """A stored definition; None when there is none, or it cannot be read."""
    try:
        return read_trigger(Reader(), "trigger", msgspec.json.decode(definition))
    except msgspec.DecodeError:
        return None


def _set(state: TriggerState, definition: Raw, at_ms: int) -> Folded:
    before, trigger = state.trigger, decode_trigger(definition)
    if trigger == before:
        return state, []
    live = trigger is not None and trigger.enabled
    dropped = () if live else state.waiting
    state = replace(
        state, trigger=trigger, waiting=state.waiting if live else (),
        next_ms=_next_when_set(state, trigger, at_ms) if live else 0,
        running=state.running if trigger else (),
    )  # fmt: skip
    if not _same_messages(before, trigger):
        state = replace(state, since_ms=at_ms, heard=0)
    owner = trigger or before
    reason = "the trigger was disabled" if trigger else "the trigger was deleted"
    skipped = [SkipFire(owner, fire, reason) for fire in dropped] if owner else []
    state, dropped_held = _held_when_set(state, before, reason, at_ms)
    return state, [*skipped, *dropped_held, *outstanding(state)]


def _held_when_set(state: TriggerState, before: Trigger | None, reason: str, at_ms: int) -> Folded:
    """What is held stays, by the new terms. It starts at once if it is to be held otherwise; else it is dropped."""
    held, trigger = state.held, state.trigger
    if held is None or before is None:
        return state, []
    if trigger is None or not trigger.enabled:
        what = f"{reason}; events that were held: {held.events}, keys: {len(held.groups)}"
        dropped = Fire(
            key=f"dropped-{state.seq}", kind=before.kind, at_ms=at_ms, events=held.events
        )
        return replace(state, held=None), [SkipFire(before, dropped, what)]
    held.pass_to(at_ms)
    if type(trigger.hold) is type(before.hold) and _key(trigger) == _key(before):
        held.keep_by(trigger.hold)  # type: ignore[arg-type]  (it is one, as what is held shows)
    else:
        held.seal(state.seq)
    held.arm()  # which is outstanding then
    return state, []


def _key(trigger: Trigger) -> str:
    return "" if trigger.hold is UNSET else trigger.hold.key


def _next_when_set(state: TriggerState, trigger: Trigger | None, at_ms: int) -> int:
    """The next instant; a schedule that stays as it was keeps the one that is armed."""
    if trigger is None or not isinstance(trigger.on, Cron):
        return 0
    before = state.trigger.on if state.trigger and state.trigger.enabled else None
    if isinstance(before, Cron) and state.next_ms and _when(before) == _when(trigger.on):
        return state.next_ms
    return _next(trigger.on, at_ms)


def _when(cron: Cron) -> tuple[str, str]:
    return cron.expression, cron.timezone


def _next(cron: Cron, after_ms: int) -> int:
    try:
        return schedule.next_ms(cron, after_ms)
    except ValueError:
        return 0


def _same_messages(before: Trigger | None, trigger: Trigger | None) -> bool:
    """Whether what was published before counts as it did."""
    if before is None or trigger is None or not (before.enabled and trigger.enabled):
        return False
    same = before.on == trigger.on and before.filter == trigger.filter
    return same and isinstance(trigger.on, Subject)


# -- being fired -----------------------------------------------------------------------------------


def _due(state: TriggerState, due_ms: int, at_ms: int) -> Folded:
    """The armed instant has come: it, and those that passed while nothing could fire."""
    trigger = state.trigger
    if trigger is None or not isinstance(trigger.on, Cron) or due_ms != state.next_ms:
        return state, []
    now_ms = max(at_ms, due_ms)
    instants, older = schedule.due(trigger.on, due_ms, now_ms)
    late = [] if trigger.on.backfill else [i for i in instants if now_ms - i > CRON_LATE_MS]
    commands: list[TriggerCommand] = []
    if late:
        reason = "the instant was missed, and perhaps others before it; backfill is off"
        commands.append(SkipFire(trigger, _instant(late[-1]), reason))
    elif older:
        reason = "older instants were missed; only the newest are made up for"
        commands.append(SkipFire(trigger, _instant(due_ms), reason))
    for instant in instants[len(late) :]:
        state, caused = _admit(state, trigger, _instant(instant))
        commands += caused
    state = replace(state, next_ms=_next(trigger.on, now_ms))
    return state, [*commands, *outstanding(state)]


def _instant(ms: int) -> Fire:
    return Fire(key=f"at-{ms}", kind="cron", at_ms=ms)


def _fired(state: TriggerState, fact: TriggerFired, at_ms: int) -> Folded:
    trigger = state.trigger
    if fact.seq:
        if fact.seq <= state.heard:
            return state, []
        state = replace(state, heard=fact.seq)
    if trigger is None:
        return state, []
    fire = Fire(key=fact.key, kind=fact.kind, at_ms=at_ms, data=fact.data)
    problem = fact.problem or ("" if trigger.enabled else "the trigger is disabled")
    if problem:
        return state, [SkipFire(trigger, fire, problem)]
    if trigger.hold is UNSET:
        return _admit(state, trigger, fire)
    if fact.path != trigger.hold.key:  # held with others, it could be lost to them
        note = fact.ungrouped or f'was told before the key was "{trigger.hold.key}"'
        return _admit(
            state,
            trigger,
            _alone(fire, state.seq, f"not held: {note}", listed=isinstance(trigger.hold, Batch)),
        )
    held = state.held or Held()
    held.pass_to(at_ms)
    fires = held.add(
        trigger.hold, replace(fire, group=fact.group), fact.size or len(bytes(fact.data)), state.seq
    )
    return _let_go(replace(state, held=held), trigger, held, fires)


def _alone(fire: Fire, seq: int, note: str, *, listed: bool) -> Fire:
    data = Raw(b"[" + bytes(fire.data or NULL) + b"]") if listed else fire.data
    return replace(fire, key=f"held-{seq}", data=data, events=1, note=note)


def _held_due(state: TriggerState, due_ms: int, at_ms: int) -> Folded:
    """The timer of what is held has come; one that was armed before it does nothing."""
    held, trigger = state.held, state.trigger
    if held is None or trigger is None or due_ms != held.armed_ms:
        return state, []
    held.armed_ms = 0
    held.pass_to(max(at_ms, due_ms))
    return _let_go(state, trigger, held, held.due())


def _let_go(state: TriggerState, trigger: Trigger, held: Held, fires: list[Fire]) -> Folded:
    """Start what is held no more, and arm the timer for the rest."""
    commands: list[TriggerCommand] = []
    for fire in fires:
        state, caused = _admit(state, trigger, fire)
        commands += caused
    if not held.groups:
        return replace(state, held=None), commands
    due_ms = held.arm()
    return state, [*commands, ArmHeld(trigger.id, due_ms)] if due_ms else commands


def _admit(state: TriggerState, trigger: Trigger, fire: Fire) -> Folded:
    """Start, hold back or leave out, by the overlap policy."""
    if trigger.overlap == "allow":
        return _start(state, trigger, fire)
    known = {key for key, _ in state.running} | {each.key for each in state.waiting}
    if fire.key in known:
        return state, []
    if not state.running:
        return _start(state, trigger, fire)
    if trigger.overlap == "skip":
        return state, [SkipFire(trigger, fire, f"run {state.running[0][1]} is still running")]
    if trigger.overlap == "queue":
        if len(state.waiting) >= FIRES_QUEUED_MAX:
            return state, [SkipFire(trigger, fire, f"{FIRES_QUEUED_MAX} fires wait already")]
        return replace(state, waiting=(*state.waiting, fire)), []
    reason = f"trigger {trigger.id} fired again"
    cancels: list[TriggerCommand] = [CancelFired(run, reason) for _, run in state.running]
    state, started = _start(replace(state, running=()), trigger, fire)
    return state, [*cancels, *started]


def _start(state: TriggerState, trigger: Trigger, fire: Fire) -> Folded:
    run = fired_run_id(trigger.id, fire.key)
    tracked = trigger.overlap != "allow"
    if tracked:
        state = replace(state, running=(*state.running, (fire.key, run)))
    return state, [StartFired(trigger, fire, run, tracked)]


def _closed(state: TriggerState, key: str) -> Folded:
    """A run has ended, or could not be started: the next one that waits has its place."""
    state = replace(state, running=tuple(each for each in state.running if each[0] != key))
    if state.trigger is None or state.running or not state.waiting:
        return state, []
    first, *rest = state.waiting
    return _start(replace(state, waiting=tuple(rest)), state.trigger, first)
