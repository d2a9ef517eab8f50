"""Events that a trigger holds back: what starts when, with what, and what becomes of it when the trigger changes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from dagnats.core.events import Event, Fact, TimerFired, TriggerFired, TriggerSet
from dagnats.core.triggers import held as holding
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.fold import VERSION, ArmHeld, SkipFire, StartFired, TriggerState, fold
from dagnats.core.triggers.grouping import grouped
from dagnats.core.triggers.held import Held
from dagnats.core.triggers.model import Batch, Debounce, Fire, Subject, Trigger
from dagnats.core.triggers.stored import restore, save
from dagnats.limits import HELD_LET_GO_MAX

T0 = 1_800_000_000_000
QUIET = Debounce(period_ms=300, timeout_ms=1_000, key="id")
LISTS = Batch(max_size=3, timeout_ms=1_000)


def trigger(hold: Any, **settings: Any) -> Trigger:
    """One that waits for events."""
    return Trigger(id="t", workflow="w", on=Subject(event="e"), hold=hold, **settings)


class Log:
    """A trigger that holds events, what came of them, and a timer that comes when it is due."""

    def __init__(self, hold: Any) -> None:
        self.state = TriggerState(entity="trigger=t")
        self.facts: list[Event] = []
        self.now = T0
        self.armed = 0
        self.starts: list[tuple[int, Any]] = []
        self.skips: list[str] = []
        self.runs: set[str] = set()
        self.trigger = trigger(hold)
        self.set(self.trigger)

    def add(self, fact: Fact) -> list[Any]:
        """One more fact: what it causes."""
        event = Event(len(self.facts) + 1, self.now, fact)
        self.facts.append(event)
        self.state, commands = fold(self.state, event)
        for each in commands:
            if isinstance(each, StartFired):
                assert each.run not in self.runs
                self.runs.add(each.run)
                self.starts.append((self.now - T0, msgspec.json.decode(each.fire.data)))
            elif isinstance(each, SkipFire):
                self.skips.append(each.reason)
            elif isinstance(each, ArmHeld):
                self.armed = each.due_ms
        return commands

    def set(self, changed: Trigger | None) -> list[Any]:
        """Define the trigger, or remove it."""
        if changed is None:
            return self.add(TriggerSet())
        self.trigger = changed
        return self.add(TriggerSet(definition=Raw(msgspec.json.encode(write_trigger(changed)))))

    def event(self, data: Any) -> list[Any]:
        """One event arrives."""
        raw = Raw(msgspec.json.encode(data))
        fact = TriggerFired(key=f"e-{len(self.facts)}", kind="subject", data=raw)
        return self.add(grouped(fact, self.trigger, raw))

    def wait(self, ms: int) -> None:
        """Time passes, and the timer comes."""
        until = self.now + ms
        while self.armed and self.armed <= until:
            self.now, due = max(self.now, self.armed), self.armed
            self.armed = 0
            self.add(TimerFired(due_ms=due))
        self.now = until

    def again(self) -> TriggerState:
        """What its log folds to anew."""
        state = TriggerState(entity="trigger=t")
        for event in self.facts:
            state, _ = fold(state, event)
        return state


def test_the_last_of_a_burst_starts_one_run_of_each_key():
    """``abc`` three times and ``xyz`` once: two runs, when each has been quiet for the period."""
    log = Log(QUIET)
    for value in range(3):
        log.event({"id": "abc", "v": value})
        log.wait(200)
    log.event({"id": "xyz"})
    log.wait(5_000)

    assert log.starts == [(700, {"id": "abc", "v": 2}), (900, {"id": "xyz"})]
    assert log.state.held is None


def test_a_burst_that_does_not_end_is_held_no_longer_than_the_maximum():
    """A second after its first event; the next one begins anew."""
    log = Log(QUIET)
    for value in range(15):
        log.event({"id": 1, "v": value})
        log.wait(100)
    log.wait(5_000)

    assert log.starts == [(1_000, {"id": 1, "v": 9}), (1_700, {"id": 1, "v": 14})]


def test_a_timer_that_was_armed_before_does_nothing():
    """Neither one that was replaced, nor one that comes twice."""
    log = Log(QUIET)
    log.event({"id": 1})
    due = log.armed
    log.now += 300
    for stale in (due - 1, due + 1, 0):
        assert log.add(TimerFired(due_ms=stale)) == []

    log.add(TimerFired(due_ms=due))

    assert len(log.starts) == 1
    assert log.add(TimerFired(due_ms=due)) == []

    log.event({"id": 1})

    assert log.add(TimerFired(due_ms=due)) == []


def test_a_batch_is_closed_by_its_size_or_its_time_in_the_order_of_arrival():
    """Three, and then what there is after a second."""
    log = Log(LISTS)
    for value in range(4):
        log.event(value)
    log.wait(2_000)

    assert log.starts == [(0, [0, 1, 2]), (1_000, [3])]


def test_a_list_that_would_be_too_large_is_split(monkeypatch):
    """Exactly what fits is together; an event that is too large by itself is alone. What is stored elsewhere counts."""
    monkeypatch.setattr(holding, "BATCH_SIZE_MAX_BYTES", 20)
    log = Log(Batch(max_size=100, timeout_ms=1_000))
    for text in ("a" * 6, "b" * 7, "c", "d" * 50, "e"):
        log.event(text)
    log.add(TriggerFired(key="big", kind="subject", data=Raw(b"{}"), size=17))
    log.wait(1_000)

    assert [data for _, data in log.starts] == [["a" * 6, "b" * 7], ["c"], ["d" * 50], ["e"], [{}]]
    assert len(msgspec.json.encode(["a" * 6, "b" * 7])) == 20


@pytest.mark.parametrize("hold", [QUIET, Batch(max_size=3, timeout_ms=1_000, key="id")])
def test_an_event_without_the_key_is_held_with_nobody(hold):
    """It starts a run of its own at once, and what was missing is said; the others are held as ever."""
    log = Log(hold)
    log.event({"id": "abc"})
    for data in ({"name": 1, "other": 2}, {"id": "x" * 300}, 5):
        [started] = [each for each in log.event(data) if isinstance(each, StartFired)]

        assert started.fire.note.startswith("not held: ")
        assert "id" in started.fire.note

    assert "which has: name, other" in log_note(log, 1)
    assert len(log.starts) == 3

    log.wait(1_000)

    assert len(log.starts) == 4


def log_note(log: Log, number: int) -> str:
    """What was noted of an event of that log, counted from the definition on."""
    fact = log.facts[number + 1].fact
    assert isinstance(fact, TriggerFired)
    return fact.ungrouped


def test_an_event_that_was_told_before_the_key_was_another():
    """Whoever wrote it knew the trigger as it was: it is not held with those of the same value at the other key."""
    log = Log(QUIET)
    raw = Raw(b'{"id":1,"other":1}')
    late = grouped(TriggerFired(key="late", kind="subject", data=raw), log.trigger, raw)
    log.set(trigger(Debounce(period_ms=300, key="other")))
    log.event({"other": 1})
    [started] = log.add(late)

    assert started.fire.note == 'not held: was told before the key was "other"'


# -- a trigger that changes ------------------------------------------------------------------------


def test_other_terms_count_for_what_is_held():
    """A longer period holds longer, a shorter one less long, a smaller size closes with the next event."""
    log = Log(QUIET)
    log.event({"id": 1})
    log.set(trigger(Debounce(period_ms=800, key="id")))
    log.wait(500)

    assert not log.starts

    log.set(trigger(Debounce(period_ms=600, key="id")))
    log.wait(500)

    assert log.starts == [(600, {"id": 1})]

    log = Log(LISTS)
    log.event(1)
    log.event(2)
    log.set(trigger(Batch(max_size=2, timeout_ms=1_000)))
    log.event(3)
    log.wait(1_000)

    assert [data for _, data in log.starts] == [[1, 2], [3]]


@pytest.mark.parametrize("hold", [UNSET, LISTS, Debounce(period_ms=300, key="other")])
def test_what_is_to_be_held_otherwise_starts_at_once(hold):
    """Debounced no more, into batches, or by another key: nothing is lost, and nothing is mixed."""
    log = Log(QUIET)
    for number in range(3):
        log.event({"id": number, "other": 7})
    log.set(trigger(hold))
    log.event({"id": 9, "other": 0})
    log.wait(2_000)

    first = [data["id"] for at, data in log.starts if at == 0 and isinstance(data, dict)]
    assert sorted(first)[:3] == [0, 1, 2]
    assert len(log.starts) == 4
    assert log.state.held is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            trigger(QUIET, enabled=False),
            "the trigger was disabled; events that were held: 3, keys: 2",
        ),
        (None, "the trigger was deleted; events that were held: 3, keys: 2"),
    ],
)
def test_disabling_and_deleting_drops_what_is_held_and_says_so(change, words):
    """Nothing starts afterwards, not even by a timer that is under way."""
    log = Log(QUIET)
    for key in (1, 2, 1):
        log.event({"id": key})
    log.set(change)
    log.wait(5_000)

    [skip] = log.skips
    assert skip.startswith(words)
    assert not log.starts

    log.set(trigger(QUIET))
    log.event({"id": 1, "v": 2})
    log.wait(5_000)

    assert [data for _, data in log.starts] == [{"id": 1, "v": 2}]


# -- bounds ----------------------------------------------------------------------------------------


def test_beyond_its_bounds_the_one_due_first_is_let_go_early(monkeypatch):
    """Too many keys, or too many bytes: it starts sooner, and says why."""
    monkeypatch.setattr(holding, "HELD_KEYS_MAX", 2)
    log = Log(QUIET)
    for number in range(3):
        commands = log.event({"id": number})
        log.now += 1
    [early] = [each for each in commands if isinstance(each, StartFired)]

    assert early.fire.note == "let go early: 2 keys are held"
    assert [data["id"] for _, data in log.starts] == [0]

    monkeypatch.setattr(holding, "HELD_SIZE_MAX_BYTES", 300)
    log.event({"id": 2, "text": "x" * 200})
    commands = log.event({"id": 2, "text": "x" * 280})

    assert [each.fire.note for each in commands if isinstance(each, StartFired)] == [
        "let go early: 300 bytes are held"
    ]
    assert [data["id"] for _, data in log.starts] == [0, 1]

    log.wait(5_000)

    assert [data["id"] for _, data in log.starts] == [0, 1, 2]


def test_many_that_are_due_together_come_in_portions():
    """One timer starts so many; the next one follows at once."""
    log = Log(QUIET)
    for number in range(HELD_LET_GO_MAX + 1):
        log.event({"id": number})
    log.now += 300
    log.add(TimerFired(due_ms=log.armed))

    assert len(log.starts) == HELD_LET_GO_MAX
    assert log.armed <= log.now

    log.wait(0)

    assert len(log.starts) == HELD_LET_GO_MAX + 1


def test_memory_and_work_for_very_many_keys():
    """Two thousand bytes a key would be many; the heap has no more than a few entries for each."""
    held, keys = Held(), 20_000
    tracemalloc.start()
    try:
        for seq in range(5 * keys):
            held.pass_to(T0 + seq)
            fire = Fire(
                key="", kind="subject", at_ms=0, data=Raw(b"%d" % seq), group=str(seq % keys)
            )
            assert not held.add(Debounce(period_ms=10 * keys), fire, 5, seq)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used / keys < 2_000
    assert len(held.dues) <= 2 * keys + 100
    assert held.kept == len(held.groups) == keys
    assert held.events == 5 * keys


def test_batches_that_fill_up_leave_no_entries_behind():
    """Each would have had its time; none stays in the heap for it."""
    log = Log(Batch(max_size=1, timeout_ms=60_000))
    log.event(1)
    log = Log(Batch(max_size=2, timeout_ms=60_000))
    for number in range(2_001):
        log.event(number)
        log.now += 1

    assert log.state.held is not None
    assert len(log.state.held.dues) < 100
    assert len(log.starts) == 1_000


def test_a_state_is_saved_and_read_and_goes_on():
    """What is held is in the snapshot, in portions; the same facts give the same. Data may hold any white space."""
    log = Log(QUIET)
    for number in range(2_500):
        log.event({"id": number})
    log.event({"id": 1})
    raw = Raw(b'{"id":\n\t2}')
    log.add(grouped(TriggerFired(key="x", kind="subject", data=raw), log.trigger, raw))
    saved = save(log.state)

    assert save(log.again()) == saved

    states = list(restore(saved))

    assert len(states) == 4  # three portions
    log.state = states[-1]
    assert log.state.held is not None
    assert list(log.state.held.groups) == [str(number) for number in range(2_500)]

    log.wait(1_000)

    assert len(log.starts) == 2_500
    assert {data["id"] for _, data in log.starts} == set(range(2_500))


def test_a_state_that_cannot_be_used_is_none():
    """Torn, or of a later version: the log is folded instead. One that holds nothing is one piece."""
    log = Log(QUIET)

    assert list(restore(save(log.state))) == [log.state]

    log.event({"id": 1})
    saved = save(log.state)
    later = save(msgspec.structs.replace(log.state, version=VERSION + 1))

    assert [list(restore(each))[-1] for each in (saved[:-1], b"", later)] == [None, None, None]
