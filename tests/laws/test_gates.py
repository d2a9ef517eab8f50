"""The laws of gates: never over a limit, nothing leaks, nobody starves, grants follow the stated order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dagnats.core.entities import Demand, GateAsked, GateCharged, GateLeft, GateReleased
from dagnats.core.events import CancelRequested, TimerFired
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.stored import restore, save
from dagnats.limits import GATE_CHECK_MS
from tests.support.gates import World
from tests.support.strategies import EXAMPLES

# What a gate may hold together: slots and rates, with keys and without, for all modes.
SHAPES: list[list[dict[str, Any]]] = [
    [{"kind": "slots", "limit": 2}],
    [{"kind": "slots", "limit": 3}, {"kind": "slots", "limit": 1, "path": "tenant"}],
    [{"kind": "rate", "limit": 2, "period_ms": 1_000}],
    [{"kind": "rate", "limit": 3, "period_ms": 500, "path": "tenant"}, {"kind": "slots", "limit": 2}],
    [{"kind": "slots", "limit": 1, "path": "tenant", "mode": "refuse"}, {"kind": "slots", "limit": 2}],
    [{"kind": "slots", "limit": 1, "mode": "replace"}],
    [{"kind": "slots", "limit": 0, "path": "tenant"}],
    [{"kind": "slots", "limit": 5}, {"kind": "slots", "limit": 3, "path": "model"}],
    [{"kind": "tokens", "limit": 9, "path": "tenant", "period_ms": 1_500}, {"kind": "slots", "limit": 3}],
    [{"kind": "usd", "limit": 9, "period_ms": 700}, {"kind": "tokens", "limit": 5, "mode": "refuse"}],
    [{"kind": "tokens", "limit": 9, "path": "tenant"}],
]  # fmt: skip


many = settings(max_examples=5 * EXAMPLES)  # scripts of gates are short and cheap


asks = st.tuples(
    st.just("ask"), st.integers(0, 7), st.integers(0, 3), st.sampled_from("ab"), st.integers(1, 2)
)
moves = st.lists(
    st.one_of(
        asks,
        asks,
        st.tuples(st.just("leave"), st.integers(0, 7), st.sampled_from([0, 0, 0, 700])),
        st.tuples(st.just("heir"), st.integers(0, 7)),
        st.tuples(st.just("release"), st.integers(0, 7)),
        st.tuples(st.just("charge"), st.integers(0, 7), st.integers(0, 12)),
        st.tuples(st.just("raise"), st.sampled_from("ab"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 2_000)),
        st.tuples(st.just("wait"), st.just(GATE_CHECK_MS)),
        st.tuples(st.just("noise"), st.integers(0, 2)),
    ),
    min_size=5,
    max_size=50,
)


def play(shape: list[dict[str, Any]], script: list[Any]) -> World:
    """A world after a script."""
    world = World(shape)
    for move, *told in script:
        match move:
            case "ask":
                number, rank, key, cost = told
                world.ask(f"r{number}", rank, {"tenant": key, "model": key}, cost)
            case "leave":
                world.tell(GateLeft(run=f"r{told[0]}", ticket="a/1/0", pause_ms=told[1]))
            case "heir":
                heir = f"r{told[0] + 1}"
                world.tell(GateLeft(run=f"r{told[0]}", ticket="a/1/0", heir=heir))
            case "charge":
                spent = (told[1], told[1])
                world.tell(GateCharged(run=f"r{told[0]}", ticket="a/1/0", spent=spent))
            case "raise":
                world.raise_(*told)
            case "release":
                world.tell(GateReleased(run=f"r{told[0]}"))
            case "wait":
                world.wait(told[0])
            case _:
                odd = Demand(kind="rate", limit=0, cost=-1)
                noise = [
                    CancelRequested(),
                    GateAsked(run="r0", ticket="b/1/0", rank_ms=0, demands=(odd,)),
                    TimerFired(due_ms=5),
                ]
                world.tell(noise[told[0]])
    return world


@many
@given(st.sampled_from(SHAPES), moves)
def test_limits_hold_and_nothing_waits_for_nothing(shape, script):
    """After every fact: never over a limit, counts have owners, and who waits is short of something."""
    play(shape, script)


@many
@given(st.sampled_from(SHAPES), moves)
def test_nothing_leaks(shape, script):
    """When everybody has left, and time has passed, the gate is as if nobody had ever come."""
    world = play(shape, script)
    for run, ticket in [*world.gate.holders, *world.gate.lines.waiting]:
        world.tell(GateLeft(run=run, ticket=ticket))
    # A ticket that was let through while others left leaves, too.
    while world.gate.holders:
        for run, ticket in list(world.gate.holders):
            world.tell(GateLeft(run=run, ticket=ticket))
    world.wait(10 * GATE_CHECK_MS)
    world.tell(CancelRequested())  # a gate knows no time but that of its facts

    gate = world.gate
    assert not gate.holders
    assert not gate.lines.waiting
    assert not gate.meters.used
    assert not gate.claims.of
    assert not gate.waking
    assert save(gate)
    assert not gate.meters.buckets
    assert not gate.meters.paused
    assert all(not gate.meters.rules[meter[:2]].period_ms for meter in gate.meters.accounts)


@many
@given(st.sampled_from(SHAPES), moves)
def test_nobody_starves(shape, script):
    """As long as holders leave and time passes, everybody who waits is let through."""
    world = play(shape, script)
    rounds = len(world.gate.lines.waiting) + len(world.gate.holders) + 1
    for _ in range(rounds):
        for key in "ab":
            world.raise_(key, 1_000)  # a budget without a period comes back with this alone
        for run, ticket in list(world.gate.holders):
            world.tell(GateLeft(run=run, ticket=ticket))
        world.wait(2_000)

    assert not world.gate.lines.waiting


@many
@given(st.sampled_from(SHAPES), moves, st.floats(0, 1))
def test_a_snapshot_and_the_tail_are_the_log(shape, script, part):
    """Folding again says the same; so does a gate that was stored and read back anywhere."""
    world = play(shape, script)
    fresh = Gate("gate=task=x")
    assert [fresh.fold(event) for event in world.events] == world.said
    assert save(fresh) == save(world.gate)

    cut = int(part * len(world.events))
    stored = Gate("gate=task=x")
    for event in world.events[:cut]:
        stored.fold(event)
    again = restore(save(stored))
    assert again is not None
    assert [again.fold(event) for event in world.events[cut:]] == world.said[cut:]
    assert save(again) == save(world.gate)


@many
@given(st.sampled_from(SHAPES), moves)
def test_a_fact_folds_once(shape, script):
    """The same fact again changes nothing and commands nothing."""
    world = play(shape, script)
    before = save(world.gate)
    for event in world.events:
        assert world.gate.fold(event) == []
    assert save(world.gate) == before
