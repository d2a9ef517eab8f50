"""Faults in what folds triggers and scheduled starts, and in who carries it out."""

from __future__ import annotations

from tests.mutants.faults import Fault

TRIGGER, TRIGGERS = "core/triggers/fold.py", "scheduler/triggers.py"

ENTITY_FAULTS = (
    Fault("a timer of an older schedule fires", TRIGGER, " or due_ms != state.next_ms", ""),
    Fault("a message fires twice", TRIGGER, "if fact.seq <= state.heard:", "if False:"),
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
        "        commands.extend(outstanding(state))\n",
        "",
    ),
    Fault(
        "messages that were heard are told again",
        "scheduler/watching.py",
        "        watch.heard = entry.seq\n",
        "",
    ),
    Fault(
        "a start that was cancelled happens",
        "core/scheduled.py",
        "if isinstance(fact, StartCancelled):",
        "if False:",
    ),
)
