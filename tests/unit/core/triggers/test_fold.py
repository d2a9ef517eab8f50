"""A trigger's log: which instants are due, each once, and what becomes of fires."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.entities import TriggerFired, TriggerSet
from dagnats.core.events import ChildClosed, Event, Fact, TimerFired
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.fold import ArmCron, SkipFire, StartFired, TriggerState, fold
from dagnats.core.triggers.model import Cron, Overlap, Subject, Trigger

MINUTE = 60_000
NOON = 1_800_000_000_000 // MINUTE * MINUTE + 30_000  # half past a minute


class Log:
    """A trigger and what its facts cause."""

    def __init__(self, trigger: Trigger | None = None, at_ms: int = NOON) -> None:
        self.state = TriggerState(entity="trigger=t")
        self.seq = 0
        if trigger is not None:
            self.first = self.set(trigger, at_ms)

    def add(self, fact: Fact, at_ms: int) -> list[Any]:
        """One more fact: what it causes."""
        self.seq += 1
        self.state, commands = fold(self.state, Event(self.seq, at_ms, fact))
        return commands

    def set(self, trigger: Trigger | None, at_ms: int) -> list[Any]:
        """Define the trigger, or remove it."""
        if trigger is None:
            return self.add(TriggerSet(), at_ms)
        body = Raw(msgspec.json.encode(write_trigger(trigger)))
        return self.add(TriggerSet(definition=body), at_ms)

    def due(self, at_ms: int) -> list[Any]:
        """The armed timer comes, at that time."""
        return self.add(TimerFired(due_ms=self.state.next_ms), at_ms)


def cron(expression: str = "* * * * *", overlap: Overlap = "allow", **options: Any) -> Trigger:
    """A schedule."""
    return Trigger(id="t", workflow="w", on=Cron(expression, **options), overlap=overlap)


def starts(commands: list[Any]) -> list[int]:
    """The instants that start runs, in order."""
    return [each.fire.at_ms for each in commands if isinstance(each, StartFired)]


def test_registering_arms_and_fires_nothing():
    """At half past, with a schedule of full hours: the next full hour is armed."""
    at = int(datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC).timestamp() * 1000)
    log = Log(cron("0 * * * *"), at)

    assert log.first == [ArmCron("t", at - 30_000 + 3_600_000)]


def test_one_of_both_days_is_enough():
    """``0 9 1 * 1`` is due on the first of a month, and on Mondays."""
    log = Log(cron("0 9 1 * 1"), int(datetime(2026, 9, 29, tzinfo=UTC).timestamp() * 1000))
    days = []
    for _ in range(3):
        [instant] = starts(log.due(log.state.next_ms))
        days.append(datetime.fromtimestamp(instant / 1000, UTC).strftime("%a %d"))

    assert days == ["Thu 01", "Mon 05", "Mon 12"]


def test_missed_instants_are_made_up_for_oldest_first_and_bounded():
    """Of 500 the newest 100 start; that older ones were left out is noted."""
    log = Log(cron(backfill=True))
    first = log.state.next_ms
    commands = log.due(first + 499 * MINUTE)
    instants = starts(commands)

    assert instants == [first + n * MINUTE for n in range(400, 500)]
    assert [c.reason for c in commands if isinstance(c, SkipFire)] == [
        "older instants were missed; only the newest are made up for"
    ]
    assert commands[-1] == ArmCron("t", first + 500 * MINUTE)


def test_without_backfill_only_what_is_not_late_starts():
    """An instant that is seen within a minute is on time; those before are noted as missed."""
    log = Log(cron())
    first = log.state.next_ms
    commands = log.due(first + 10 * MINUTE + 1_000)

    assert starts(commands) == [first + 10 * MINUTE]
    assert any(isinstance(c, SkipFire) and "missed" in c.reason for c in commands)


def test_a_timer_of_an_older_schedule_means_nothing():
    """It was armed before the schedule changed."""
    log = Log(cron())
    old = log.state.next_ms
    log.set(cron("0 0 1 1 *"), NOON + 1)

    assert log.add(TimerFired(due_ms=old), old) == []


def test_a_timer_that_comes_twice_starts_one_run():
    """The server may deliver it again; the log has it twice."""
    log = Log(cron())
    due = log.state.next_ms

    assert starts(log.add(TimerFired(due_ms=due), due)) == [due]
    assert log.add(TimerFired(due_ms=due), due + 5) == []


def test_defining_the_same_again_changes_nothing():
    """Nor does a change of anything but the schedule move the instant that is armed."""
    log = Log(cron("*/10 * * * *"))
    due = log.state.next_ms

    assert log.set(cron("*/10 * * * *"), NOON + 1_000) == []
    assert log.set(cron("*/10 * * * *", "skip"), due + 1) == [ArmCron("t", due)]


def test_messages_count_once_and_in_order():
    """What was heard before is not heard again, whoever writes it."""
    log = Log(Trigger(id="t", workflow="w", on=Subject(event="e")))
    found = [
        log.add(TriggerFired(key=f"k{n}", kind="subject", seq=n), NOON + n) for n in (1, 2, 1, 2, 3)
    ]

    assert [len(commands) for commands in found] == [1, 1, 0, 0, 1]


def test_what_waits_starts_when_the_run_before_has_ended():
    """Each in its turn; news of a run that nobody waits for changes nothing."""
    log = Log(cron(overlap="queue"))
    keys = []
    for _ in range(3):
        keys += [
            each.fire.key for each in log.due(log.state.next_ms) if isinstance(each, StartFired)
        ]

    assert len(keys) == 1
    assert len(log.state.waiting) == 2

    [second] = starts(log.add(ChildClosed(ticket=keys[0], status="completed"), NOON))

    assert log.add(ChildClosed(ticket=keys[0], status="completed"), NOON) == []
    assert second == NOON + 30_000 + MINUTE


@given(
    lateness=st.lists(st.integers(0, 400 * MINUTE), max_size=30),
    backfill=st.booleans(),
    overlap=st.sampled_from(["allow", "skip", "queue", "cancel-running"]),
    expression=st.sampled_from(["* * * * *", "*/7 3-9 * * *", "@every 17s", "0 2 * * *"]),
)
def test_every_instant_starts_at_most_once_and_in_order(lateness, backfill, overlap, expression):
    """However late timers come, and however often; and there is always a next instant armed in the future."""
    log = Log(cron(expression, overlap, timezone="Europe/Berlin", backfill=backfill))
    found: list[int] = []
    for late in lateness:
        due, at = log.state.next_ms, log.state.next_ms + late
        found += starts(log.due(at))
        found += starts(log.add(TimerFired(due_ms=due), at))

        assert log.state.next_ms > at

    assert found == sorted(set(found))
