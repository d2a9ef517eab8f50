"""Faults in what folds limits, triggers and scheduled starts, and in who carries it out."""

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
