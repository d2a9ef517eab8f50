"""In which order gates grant, and what they say: the stated rules, each by itself."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dagnats.core.commands import ArmTimer
from dagnats.core.entities import Demand, GateAsked, GateCharged, GateLeft
from dagnats.core.events import TimerFired
from dagnats.core.gates.commands import CancelHolder, CheckTicket, GrantTicket, RefuseTicket
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.stored import restore, save
from dagnats.limits import GATE_CHECK_MS, RATE_LATE_MAX_MS
from tests.support.gates import World


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_within_a_line_the_lowest_rank_goes_first(ranks):
    """And of equal ranks, who asked first."""
    world = World([{"kind": "slots", "limit": 1}])
    world.ask("first", 0, {}, 1)
    for number, rank in enumerate(ranks):
        world.ask(f"r{number}", rank, {}, 1)
    order = []
    while world.gate.holders:
        [(run, ticket)] = list(world.gate.holders)
        order.append(run)
        world.tell(GateLeft(run=run, ticket=ticket))

    expected = [f"r{number}" for _, number in sorted((rank, n) for n, rank in enumerate(ranks))]
    assert order == ["first", *expected]


@given(st.lists(st.sampled_from("abcd"), min_size=8, max_size=40), st.integers(1, 3))
def test_keys_take_turns(keys, limit):
    """While several keys wait, none is let through twice before another was once."""
    world = World(
        [{"kind": "slots", "limit": limit}, {"kind": "slots", "limit": 9, "path": "tenant"}]
    )
    for number in range(limit):
        world.ask(f"first{number}", 0, {"tenant": "z"}, 1)
    for number, key in enumerate(keys):
        world.ask(f"{key}{number}", 0, {"tenant": key}, 1)
    left, granted = Counter(keys), Counter()
    while world.gate.holders:
        run, ticket = next(iter(world.gate.holders))
        for each in world.tell(GateLeft(run=run, ticket=ticket)):
            if isinstance(each, GrantTicket):
                granted[each.run[0]] += 1
                waiting = [key for key in left if granted[key] < left[key]]
                assert (
                    granted[each.run[0]] <= min((granted[key] for key in waiting), default=99) + 1
                )

    assert granted == left


@given(st.lists(st.integers(1, 400), min_size=5, max_size=60))
def test_a_rate_is_kept(pauses):
    """In any time there are no more grants than the burst and what that time allows."""
    world = World([{"kind": "rate", "limit": 4, "period_ms": 1_000, "burst": 2}])
    at: list[int] = []
    for number, pause in enumerate(pauses):
        heard = len(world.said)
        world.ask(f"r{number}", 0, {}, 1)
        world.wait(pause)
        for event, said in zip(world.events[heard:], world.said[heard:], strict=True):
            at += [event.at_ms for each in said if isinstance(each, GrantTicket)]
    world.wait(60_000)

    for first in range(len(at)):
        for last in range(first, len(at)):
            assert last - first + 1 <= 2 + 1 + (at[last] - at[first]) * 4 / 1_000
    assert not world.gate.lines.waiting


def test_a_holder_is_asked_after_and_no_more_than_that():
    """A ticket that was let through long ago is asked after, again and again, and keeps its place meanwhile."""
    world = World([{"kind": "slots", "limit": 1}])
    world.ask("r1", 0, {}, 1)
    world.wait(3 * GATE_CHECK_MS)
    checks = [each for said in world.said for each in said if isinstance(each, CheckTicket)]

    assert [each.run for each in checks] == ["r1"] * 3
    assert list(world.gate.holders) == [("r1", "a/1/0")]


def test_of_two_that_would_replace_only_the_newest_begins():
    """The one that waits is refused, the one that holds is asked to end, and keeps its place until it has."""
    world = World([{"kind": "slots", "limit": 1, "mode": "replace"}])
    world.ask("r1", 0, {}, 1)
    [cancelled] = world.ask("r2", 0, {}, 1)
    [refused] = world.ask("r3", 0, {}, 1)

    assert isinstance(cancelled, CancelHolder)
    assert cancelled.run == "r1"
    assert isinstance(refused, RefuseTicket)
    assert refused.run == "r2"
    said = world.tell(GateLeft(run="r1", ticket="a/1/0"))
    assert [each.run for each in said if isinstance(each, GrantTicket)] == ["r3"]


def test_a_limit_that_is_raised_counts_for_those_who_wait():
    """The newest ask says what the limit is."""
    by_tenant = {"kind": "slots", "limit": 9, "path": "tenant"}
    world = World([{"kind": "slots", "limit": 1}, by_tenant])
    for run in ("a0", "a1", "a2", "b1", "b2"):
        world.ask(run, 0, {"tenant": run[0]}, 1)
    world.shape = [{"kind": "slots", "limit": 4}, by_tenant]
    said = world.ask("b3", 0, {"tenant": "b"}, 1)

    granted = [each.run for each in said if isinstance(each, GrantTicket)]
    assert granted == ["a1", "b1", "a2"]


def test_an_idle_gate_needs_no_timer_but_for_its_holders():
    """One uncontended ticket: a grant, and the timer that asks after it."""
    world = World([{"kind": "slots", "limit": 1}])

    assert [type(each) for each in world.ask("r1", 0, {}, 1)] == [GrantTicket, ArmTimer]
    assert world.tell(GateLeft(run="r1", ticket="a/1/0")) == []


def test_who_refuses_to_wait_is_told_who_has_the_place():
    """Also when that one waits for something else, and when it goes on as another run."""
    shape = [
        {"kind": "slots", "limit": 1, "path": "tenant", "mode": "refuse"},
        {"kind": "slots", "limit": 1},
    ]
    world = World(shape)
    world.ask("r1", 0, {"tenant": "a"}, 1)
    world.ask("r2", 0, {"tenant": "b"}, 1)
    for holder in ("r1", "r2"):
        [refused] = world.ask("r9", 0, {"tenant": "a" if holder == "r1" else "b"}, 1)
        assert isinstance(refused, RefuseTicket)
        assert f"run {holder} has the place" in refused.reason
    world.tell(GateLeft(run="r1", ticket="a/1/0", heir="r3"))
    [refused] = world.ask("r9", 0, {"tenant": "a"}, 1)
    assert "run r3 has the place" in refused.reason


def test_lines_take_turns_also_when_much_comes_free_at_once():
    """Four units at once, for two tenants with three tickets each of one unit."""
    by_tenant = {"kind": "slots", "limit": 9, "path": "tenant"}
    world = World([{"kind": "slots", "limit": 4}, by_tenant])
    demands = (Demand(kind="slots", limit=4, cost=4), Demand(**by_tenant, key="z"))
    world.tell(GateAsked(run="big", ticket="a/1/0", rank_ms=0, demands=demands))
    for run in ("a1", "a2", "a3", "b1", "b2", "b3"):
        world.ask(run, 0, {"tenant": run[0]}, 1)
    said = world.tell(GateLeft(run="big", ticket="a/1/0"))

    assert [each.run for each in said if isinstance(each, GrantTicket)] == ["a1", "b1", "a2", "b2"]


def test_a_gate_can_be_stored_at_any_moment():
    """Rates, pauses and lines that wait, stored after each fact of a long busy story."""
    shape = [
        {"kind": "rate", "limit": 3, "period_ms": 500, "path": "tenant"},
        {"kind": "slots", "limit": 2},
    ]
    chance = random.Random(7)
    world = World(shape)
    for number in range(60):
        world.ask(
            f"r{number}",
            chance.randrange(3),
            {"tenant": chance.choice("abc")},
            chance.randrange(1, 3),
        )
        for run, ticket in list(world.gate.holders)[: chance.randrange(3)]:
            world.tell(GateLeft(run=run, ticket=ticket, pause_ms=chance.choice([0, 0, 900])))
        world.wait(chance.choice([0, 60, 250]))
    assert sum(isinstance(each, GrantTicket) for said in world.said for each in said) > 20

    for cut in range(len(world.events)):
        stored = Gate("gate=task=x")
        for event in world.events[:cut]:
            stored.fold(event)
        again = restore(save(stored))
        assert again is not None
        assert [again.fold(event) for event in world.events[cut:]] == world.said[cut:]


def test_small_tickets_do_not_overtake_a_large_one():
    """One that needs two units waits for them; those that come later, of whatever line, wait behind it."""
    world = World([{"kind": "slots", "limit": 2}, {"kind": "slots", "limit": 2, "path": "tenant"}])
    world.ask("a1", 0, {"tenant": "a"}, 1)
    world.ask("b2", 0, {"tenant": "b"}, 2)
    assert world.ask("c1", 0, {"tenant": "c"}, 1) == []
    said = world.tell(GateLeft(run="a1", ticket="a/1/0"))
    assert [each.run for each in said if isinstance(each, GrantTicket)] == ["b2"]


def test_when_a_large_one_gives_up_those_behind_it_go_on():
    """Nobody waits for what nobody is short of."""
    world = World([{"kind": "slots", "limit": 2}, {"kind": "slots", "limit": 2, "path": "tenant"}])
    world.ask("a1", 0, {"tenant": "a"}, 1)
    world.ask("b2", 0, {"tenant": "b"}, 2)
    world.ask("c1", 0, {"tenant": "c"}, 1)
    said = world.tell(GateLeft(run="b2", ticket="a/1/0"))
    assert [each.run for each in said if isinstance(each, GrantTicket)] == ["c1"]


def test_a_rate_lets_through_at_the_first_millisecond_that_has_enough():
    """Not before, by rounding down, and not a millisecond late."""
    world = World([{"kind": "rate", "limit": 3, "period_ms": 1_000, "burst": 1}])
    for number in range(3):
        world.ask(f"r{number}", 0, {}, 1)
    world.wait(2_000)
    at = [
        event.at_ms - 1_000_000
        for event, said in zip(world.events, world.said, strict=True)
        for each in said
        if isinstance(each, GrantTicket)
    ]
    assert at == [0, 334, 668]


def late(world: World, ms: int) -> list[int]:
    """The armed timer fires so much later than it should; when it did, once for each grant."""
    world.now = max(world.now, world.gate.armed_ms) + ms
    said = world.tell(TimerFired(due_ms=world.gate.armed_ms))
    return [world.now for each in said if isinstance(each, GrantTicket)]


@given(st.lists(st.integers(0, 250), min_size=10, max_size=20))
def test_timers_that_are_late_do_not_slow_a_rate_down(delays):
    """What was due by then comes together; never more than the time since the first has allowed."""
    world = World([{"kind": "rate", "limit": 50, "period_ms": 1_000, "burst": 1}])
    began = world.now
    for number in range(320):
        world.ask(f"r{number}", 0, {}, 1)
    granted = 1
    for delay in delays:
        granted += len(late(world, delay))
        allowed = 1 + (world.now - began) * 50 // 1_000
        assert allowed - 1 <= granted <= allowed


def test_what_was_missed_for_long_is_not_made_up_for():
    """A scheduler that was away for an hour lets through what half a second allows."""
    world = World([{"kind": "rate", "limit": 50, "period_ms": 1_000, "burst": 1}])
    for number in range(1_000):
        world.ask(f"r{number}", 0, {}, 1)
    assert len(late(world, 3_600_000)) == 1 + RATE_LATE_MAX_MS * 50 // 1_000


def test_a_budget_that_is_used_to_the_last_lets_nobody_in():
    """All of it may be used, and nobody is stopped for that; who comes then waits until there is more."""
    world = World([{"kind": "tokens", "limit": 9}])
    world.ask("r1", 0, {}, 1)
    assert world.tell(GateCharged(run="r1", ticket="a/1/0", spent=(0, 9))) == []
    assert [type(each) for each in world.ask("r2", 0, {}, 1)] == []
    world.raise_("", 1)

    assert [each.run for each in world.said[-1] if isinstance(each, GrantTicket)] == ["r2"]
