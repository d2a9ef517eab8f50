"""What must hold of triggers and scheduled starts: an instant, a message, a start begins one run, whatever dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from dagnats.core.durations import parse_ms
from dagnats.core.entities import StartCancelled, StartScheduled
from dagnats.core.events import RunStarted
from dagnats.core.scheduled import is_start
from dagnats.core.triggers.model import Cron, entity_of, fired_run_id
from dagnats.ports import Entry
from dagnats.wire import subjects
from dagnats.wire.messages import FiredMark
from tests.simulation.simulation import Simulation
from tests.simulation.story import Story, fact_of
from tests.simulation.triggers import Set

_mark = msgspec.json.Decoder(FiredMark)


def problems(simulation: Simulation, stories: dict[str, Story]) -> Iterator[str]:
    """Everything that does not hold."""
    for each in simulation.triggers.set:
        fired = {
            run
            for run, story in stories.items()
            if story.started.metadata.get("dagnats.trigger") == each.trigger.id
            and not story.started.previous
            and story.started.depth == 0
        }
        wanted = _instants if isinstance(each.trigger.on, Cron) else _messages
        yield from wanted(simulation, each, fired)
    for (_, owner), log in simulation.world._histories.items():
        if is_start(owner):
            yield from _scheduled(simulation, owner, log)


def _marks(simulation: Simulation, each: Set) -> dict[str, FiredMark]:
    history = simulation.world.history(entity_of(each.trigger.id), 0)
    found = [_mark.decode(entry.payload) for entry in history if entry.subject.endswith(".fired")]
    return {mark.key: mark for mark in found}


def _instants(simulation: Simulation, each: Set, fired: set[str]) -> Iterator[str]:
    """Each instant has its run, or a note why it has none; one note may stand for all that were missed."""
    marks = _marks(simulation, each)
    period = parse_ms(each.trigger.on.expression.removeprefix("@every "))
    begun = {mark.run_id for mark in marks.values() if mark.run_id}
    if begun != fired:
        yield f"{each.trigger.id} notes the runs {begun - fired}, and there are {fired - begun}"
    for mark in marks.values():
        if mark.at_ms % period or mark.at_ms <= each.since_ms:
            yield f"{each.trigger} fired at {mark.at_ms}"
        if mark.run_id and mark.run_id != fired_run_id(each.trigger.id, f"at-{mark.at_ms}"):
            yield f"{each.trigger} noted {mark}"
    missed = max((m.at_ms for m in marks.values() if "missed" in m.reason), default=0)
    last = max((mark.at_ms for mark in marks.values()), default=0)
    first = (each.since_ms // period + 1) * period
    for instant in range(first, last + 1, period):
        if f"at-{instant}" not in marks and (each.trigger.on.backfill or instant > missed):
            yield f"{each.trigger} did not fire at {instant}"
    if max(last, each.since_ms) < each.until_ms - period - 60_000:
        yield f"{each.trigger} fired last at {last}, and ended at {each.until_ms}"


def _messages(simulation: Simulation, each: Set, fired: set[str]) -> Iterator[str]:
    published = simulation.world.streams[subjects.INBOX].matching(
        subjects.inbox(each.trigger.on.event)
    )
    wanted = {
        fired_run_id(each.trigger.id, f"{subjects.INBOX}-{entry.seq}")
        for entry in published
        if each.since_ms <= entry.at_ms < each.until_ms
    }
    if wanted != fired:
        yield f"{each.trigger} started {len(fired)} runs for {len(wanted)} messages"


def _scheduled(simulation: Simulation, entity: str, log: list[Entry]) -> Iterator[str]:
    """It began once, and not too early; or it was taken back, and somebody was told."""
    facts = [fact for fact in map(fact_of, log) if fact is not None]
    asked = [fact for fact in facts if isinstance(fact, StartScheduled)]
    taken_back = any(isinstance(fact, StartCancelled) for fact in facts)
    run = entity.removeprefix("start=")
    found = Counter[str]()
    for entry in simulation.world.history(run, 0):
        if isinstance(fact_of(entry), RunStarted):
            found["started"] += 1
            if asked and entry.at_ms < asked[0].run_at_ms:
                yield f"{run} began at {entry.at_ms}, before {asked[0].run_at_ms}"
        elif entry.subject.endswith(".closed"):
            found["closed"] = 1  # and as often again as somebody opened it
    wanted = [(1, 1), *([(0, 1)] if taken_back else [])] if asked else [(0, 0)]
    if (found["started"], found["closed"]) not in wanted:
        yield f"{run} was {facts}, and is {dict(found)}"
