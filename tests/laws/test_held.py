"""The laws of events held back: each in exactly one run, in order, in time, and never too many together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.events import Event, Fact, TimerFired, TriggerFired, TriggerSet
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.fold import ArmHeld, StartFired, TriggerState, fold
from dagnats.core.triggers.grouping import grouped
from dagnats.core.triggers.model import Batch, Debounce, Hold, Subject, Trigger
from dagnats.core.triggers.stored import restore, save
from tests.support.strategies import EXAMPLES

T0 = 1_800_000_000_000
many = settings(max_examples=4 * EXAMPLES)
keys = st.sampled_from(["", "id"])
debounces = st.builds(
    lambda period, more, key: Debounce(period, period + more if more else 0, key),
    st.integers(1, 400), st.sampled_from([0, 1, 100, 900]), keys,
)  # fmt: skip
batches = st.builds(Batch, st.integers(1, 5), st.integers(1, 500), keys)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.sampled_from(["a", "b", "c", None])),
        st.tuples(st.just("event"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("wait"), st.integers(0, 300)),
        st.tuples(st.just("stale"), st.integers(-500, 500)),
        st.tuples(st.just("back"), st.integers(0, 50)),
    ),
    max_size=60,
)


class World:
    """A trigger under a script: when each event came, and when which run was started with which of them."""

    def __init__(self, hold: Hold) -> None:
        self.trigger = Trigger(id="t", workflow="w", on=Subject(event="e"), hold=hold)
        self.state = TriggerState(entity="trigger=t")
        self.facts: list[Event] = []
        self.now = self.clock = T0
        self.armed = 0
        self.came: list[tuple[int, Any]] = []
        self.runs: list[tuple[int, list[int], bool]] = []
        self.ids: list[str] = []
        self.set(self.trigger)

    def set(self, trigger: Trigger) -> None:
        """Define the trigger."""
        self.tell(TriggerSet(definition=Raw(msgspec.json.encode(write_trigger(trigger)))))

    def tell(self, fact: Fact) -> list[Any]:
        """One more fact; the log's clock may be a little behind."""
        event = Event(len(self.facts) + 1, self.clock, fact)
        self.facts.append(event)
        self.state, commands = fold(self.state, event)
        for each in commands:
            if isinstance(each, ArmHeld):
                self.armed = each.due_ms
            elif isinstance(each, StartFired):
                data = msgspec.json.decode(each.fire.data)
                listed = data if isinstance(data, list) else [data]
                self.runs.append((self.now, [one["n"] for one in listed], bool(each.fire.note)))
                self.ids.append(each.run)
        return commands

    def event(self, key: str | None) -> None:
        """An event arrives."""
        number = len(self.came)
        data = Raw(msgspec.json.encode({"n": number, **({} if key is None else {"id": key})}))
        self.came.append((self.now, key))
        fact = TriggerFired(key=f"e-{number}", kind="subject", data=data)
        self.tell(grouped(fact, self.trigger, data))

    def wait(self, ms: int) -> None:
        """Time passes, and the timer comes when it is due."""
        until = self.now + ms
        while self.armed and self.armed <= until:
            self.now, due, self.armed = max(self.now, self.armed), self.armed, 0
            self.clock = self.now
            self.tell(TimerFired(due_ms=due))
        self.now = self.clock = until

    def play(self, script: list[Any]) -> None:
        """Do as the script says, and then wait until nothing is held."""
        for move, told in script:
            match move:
                case "event":
                    self.event(told)
                case "wait":
                    self.wait(told)
                case "back":
                    self.clock = self.now - told
                case _:
                    if self.now + told != self.armed:
                        assert self.tell(TimerFired(due_ms=self.now + told)) == []
        self.wait(8 * 24 * 3_600_000)

    def line(self, number: int) -> object:
        """With which others an event could be held."""
        key = self.came[number][1]
        hold = self.trigger.hold
        assert isinstance(hold, Debounce | Batch)
        return key if hold.key else ""


@many
@given(batches, moves)
def test_every_event_is_in_exactly_one_batch_in_order_and_in_time(hold, script):
    """None has too many, or two keys; each key's events come in their order; none waits longer than the time-out."""
    world = World(hold)
    world.play(script)
    inside = [number for _, numbers, _ in world.runs for number in numbers]

    assert sorted(inside) == list(range(len(world.came)))
    assert world.state.held is None
    by_line: dict[object, list[int]] = defaultdict(list)
    for at, numbers, noted in world.runs:
        assert 1 <= len(numbers) <= hold.max_size
        assert len({world.line(number) for number in numbers}) == 1
        assert noted == (world.line(numbers[0]) is None)
        assert at - world.came[numbers[0]][0] <= hold.timeout_ms
        by_line[world.line(numbers[0])] += numbers
    assert all(numbers == sorted(numbers) for numbers in by_line.values())
    assert len(set(world.ids)) == len(world.ids)


@many
@given(debounces, moves)
def test_the_last_event_wins_and_none_is_held_too_long(hold, script):
    """A run starts when its key was quiet for the period, with the last event; or at the maximum after the first."""
    world = World(hold)
    world.play([move for move in script if move[0] != "back"])
    longest = hold.timeout_ms or 7 * 24 * 3_600_000

    assert world.state.held is None
    covered: dict[object, int] = defaultdict(lambda: -1)
    for at, [last], noted in sorted(world.runs):
        line = world.line(last)
        if line is None:
            assert noted
            assert at == world.came[last][0]
            continue
        mine = [n for n in range(len(world.came)) if world.line(n) == line]
        new = [n for n in mine if covered[line] < n <= last]
        first_at, last_at = world.came[new[0]][0], world.came[last][0]

        assert at == min(last_at + hold.period_ms, first_at + longest)
        after = [world.came[n][0] for n in mine if n > last]
        assert not after or after[0] >= at  # nothing came that should have won
        covered[line] = last
    for number in range(len(world.came)):
        line = world.line(number)
        assert line is None or number <= covered[line]
    assert len(set(world.ids)) == len(world.ids)


@many
@given(st.one_of(debounces, batches), st.one_of(debounces, batches), moves, moves)
def test_folding_again_gives_the_same(hold, other, script, rest):
    """From the log, and from a state that was saved in between; also when the trigger was changed."""
    world = World(hold)
    for move, told in script:
        if move == "event":
            world.event(told)
        elif move == "wait":
            world.wait(told)
    saved = save(world.state)
    at = len(world.facts)
    world.trigger = msgspec.structs.replace(world.trigger, hold=other)
    world.set(world.trigger)
    said = len(world.ids)
    world.play(rest)
    inside = sorted(number for _, numbers, _ in world.runs for number in numbers)

    assert len(inside) == len(set(inside))
    if isinstance(hold, Batch) and isinstance(other, Batch):
        assert inside == list(range(len(world.came)))

    for begin, facts in (
        (list(restore(saved))[-1], world.facts[at:]),
        (TriggerState(entity="trigger=t"), world.facts),
    ):
        state, ids = begin, list[str]()
        for event in facts:
            state, commands = fold(state, event)
            ids += [each.run for each in commands if isinstance(each, StartFired)]

        assert save(state) == save(world.state)
        assert world.ids[-len(ids) :] == ids or not ids
        assert len(ids) in (len(world.ids), len(world.ids) - said_before(world, at))
    assert said <= len(world.ids)


def said_before(world: World, at: int) -> int:
    """How many runs had been started by the first facts of a world."""
    state, count = TriggerState(entity="trigger=t"), 0
    for event in world.facts[:at]:
        state, commands = fold(state, event)
        count += sum(isinstance(each, StartFired) for each in commands)
    return count
