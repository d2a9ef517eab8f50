"""Faults in what folds limits, triggers and scheduled starts, and in who carries it out."""

from __future__ import annotations

from tests.mutants.faults import Fault

TRIGGER, TRIGGERS = "core/triggers/fold.py", "scheduler/triggers.py"
HELD = "core/triggers/held.py"
ACCOUNTS, METERS = "core/gates/accounts.py", "core/gates/meters.py"

ENTITY_FAULTS = (
    Fault(
        "what was told twice counts twice",
        ACCOUNTS,
        "    before = holding.spent\n",
        "    before = (0, 0)\n",
    ),
    Fault(
        "a child pays again for its parent",
        ACCOUNTS,
        "if demand.is_budget and demand.cost:",
        "if demand.is_budget:",
    ),
    Fault(
        "who spends too much is not stopped",
        ACCOUNTS,
        "        if any(meter_of(demand) == meter",
        "        if False and any(meter_of(demand) == meter",
    ),
    Fault(
        "a budget that is used up lets in",
        METERS,
        "return self.left(meter, now) <= 0",
        "return self.left(meter, now) < 0",
    ),
    Fault(
        "the next period brings nothing",
        METERS,
        "if account is None or account.since_ms != since_ms:",
        "if account is None:",
    ),
    Fault("more of a budget lets nobody in", ACCOUNTS, "    account.more += fact.more\n", ""),
    Fault(
        "more of a budget is not looked for",
        "core/gates/gate.py",
        "                if meter is not None:\n                    self._open(meter)\n",
        "                pass\n",
    ),
    Fault(
        "an answer before its time is over came too late",
        "core/questions.py",
        "after.error != before.error and after.error.failure",
        "after.error.failure",
    ),
    Fault("a timer of an older schedule fires", TRIGGER, " or due_ms != state.next_ms", ""),
    Fault("a message fires twice", TRIGGER, "if fact.seq <= state.heard:", "if False:"),
    Fault("a timer that was armed before lets go", TRIGGER, " or due_ms != held.armed_ms", ""),
    Fault(
        "the first event wins",
        HELD,
        "        group.events.append(data)\n",
        "        group.events.insert(0, data)\n",
    ),
    Fault(
        "a superseded event is kept",
        HELD,
        "        if not group.listed:\n            self._forget(group)\n",
        "",
    ),
    Fault(
        "a burst is held for ever",
        HELD,
        "hold.timeout_ms or DEBOUNCE_HOLD_MAX_MS",
        "DEBOUNCE_HOLD_MAX_MS",
    ),
    Fault(
        "a batch takes one too many",
        HELD,
        "len(group.events) >= hold.max_size:\n            return [",
        "len(group.events) > hold.max_size:\n            return [",
    ),
    Fault(
        "a list has no bound in bytes",
        HELD,
        "group.size + size + 2 > BATCH_SIZE_MAX_BYTES",
        "False",
    ),
    Fault(
        "an event without the key is held with others",
        TRIGGER,
        "if fact.path != trigger.hold.key:",
        "if False:",
    ),
    Fault(
        "what is to be held otherwise is mixed",
        TRIGGER,
        "        held.seal(state.seq)\n",
        "        held.keep_by(trigger.hold)\n",
    ),
    Fault(
        "what a pause drops is not noted",
        TRIGGER,
        "return replace(state, held=None), [SkipFire(before, dropped, what)]",
        "return replace(state, held=None), []",
    ),
    Fault(
        "the rest is not armed",
        TRIGGER,
        "    due_ms = held.arm()\n    return state, [*commands",
        "    due_ms = 0\n    return state, [*commands",
    ),
    Fault(
        "what is due too early is not put back",
        HELD,
        "            elif group.due_ms > wake_ms:",
        "            elif False:",
    ),
    Fault(
        "the timer of what is held is not armed again",
        TRIGGER,
        "    if state.held is not None and state.held.armed_ms:\n",
        "    if False:\n",
    ),
    Fault(
        "backfill has no bound",
        "core/triggers/schedule.py",
        "_between(cron, begin - 1, until_ms), BACKFILL_MAX",
        "_between(cron, begin - 1, until_ms)",
    ),
    Fault(
        "what a dead owner had begun of a fire is forgotten",
        TRIGGERS,
        "if event.seq >= since_seq:",
        "if False:",
    ),
    Fault(
        "a fire starts its run again",
        TRIGGERS,
        "if await self._outside.log.last(subject) is not None:",
        "if False:",
    ),
    Fault(
        "a schedule is not armed again",
        TRIGGERS,
        "        commands.extend((since_seq, each) for each in outstanding(state))\n",
        "",
    ),
    Fault(
        "messages that were heard are told again",
        "scheduler/watching.py",
        "        watch.heard = entry.seq\n",
        "",
    ),
    Fault(
        "a step that fails in its turn is not settled",
        "core/settle.py",
        "            if draft.worklist:  # one could not say what it asks of its gate\n                continue\n",
        "",
    ),
    Fault(
        "a step at its gate takes no room in its run",
        "core/admission.py",
        "        room -= draft[position].under_way\n",
        "        room -= draft[position].status == QUEUED\n",
    ),
    Fault(
        "a run that has ended keeps its place",
        "core/admission.py",
        "if before.asked and after.closed and before.graph is not None:",
        "if False:",
    ),
    Fault(
        "a start that was cancelled happens",
        "core/scheduled.py",
        "if isinstance(fact, StartCancelled):",
        "if False:",
    ),
)
