"""Watches: each run once, each step so often, whoever watches."""

import asyncio

import pytest

from dagnats.dead import DeadLetters
from dagnats.errors import BrokerUnavailable, InvalidInput
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.scheduler.letters import poison_letter
from tests.unit.dead.letters import stored, work


async def test_a_sweep_replays_each_run_once(outside, dead, runs):
    """By its newest letter; what is no work is left alone."""
    poison = poison_letter("dagnats.fact.0.r1.worker", "r3", b"{", 7, "not JSON")
    await stored(outside, work("r1", "a"), work("r2"), work("r1", "b"), poison)
    outcomes = await dead.sweep()

    assert [(o.run_id, o.step_id, o.outcome, o.replays) for o in outcomes] == [
        ("r1", "b", "replayed", 1),
        ("r2", "pay", "replayed", 1),
    ]
    assert sorted(runs.opened) == ["r1", "r2"]
    assert [row.failure for row in (await dead.list()).letters] == ["poison"]


async def test_a_letter_that_comes_back_counts(outside, dead, runs):
    """After so many replays of its step it is left for a person; another step has its own count."""
    for _ in range(4):
        await stored(outside, work("r1", "a#1"))
        last = await dead.sweep(max_replays=2)

    assert (last[0].outcome, last[0].replays) == ("given_up", 2)
    assert len(runs.opened) == 2
    assert (await dead.list()).returned == 2
    assert [o.outcome for o in await dead.sweep(max_replays=3)] == ["replayed"]

    await stored(outside, work("r1", "b"))

    assert [o.replays for o in await dead.sweep(max_replays=2)] == [1]


async def test_the_count_is_the_deployments(outside, dead, runs):
    """Another process that watches goes on with it."""
    other = DeadLetters(Memory(outside._link.world), VirtualClock(), runs.retry)
    await stored(outside, work())
    await dead.sweep(max_replays=1)
    await stored(outside, work())

    assert [o.outcome for o in await other.sweep(max_replays=1)] == ["given_up"]


async def test_what_is_refused_is_not_counted(outside, dead, runs):
    """A run that is not closed yet is tried again at the next look, in full."""
    await stored(outside, work())
    runs.refuse = "it is running"
    for _ in range(3):
        [refused] = await dead.sweep(max_replays=1)

        assert (refused.outcome, refused.replays) == ("refused", 0)
        assert "it is running" in refused.reason

    runs.refuse = ""

    assert [o.outcome for o in await dead.sweep(max_replays=1)] == ["replayed"]


async def test_a_sweep_of_one_run(outside, dead, runs):
    """Leaves the others alone."""
    await stored(outside, work("r1"), work("r2"))
    await dead.sweep(run="r2")

    assert runs.opened == ["r2"]


async def test_a_watch_tells_what_is_new(outside, dead, runs):
    """Each replay; what is refused or given up only once."""
    watching = dead.watch(interval=0.1, max_replays=1)
    await stored(outside, work())

    assert (await anext(watching)).outcome == "replayed"

    await stored(outside, work())

    assert (await anext(watching)).outcome == "given_up"

    nothing = asyncio.ensure_future(anext(watching))
    await asyncio.wait({nothing}, timeout=0.35)

    assert not nothing.done()

    await stored(outside, work("r2"))

    assert (await nothing).run_id == "r2"
    await watching.aclose()


async def test_a_watch_survives_an_outage(outside, dead, runs, monkeypatch):
    """It looks again later."""
    sweep, failures = dead.sweep, [BrokerUnavailable()]

    async def flaky(**given):
        if failures:
            raise failures.pop()
        return await sweep(**given)

    monkeypatch.setattr(dead, "sweep", flaky)
    await stored(outside, work())
    watching = dead.watch(interval=0.1)

    assert (await anext(watching)).outcome == "replayed"
    await watching.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"interval": 0},
        {"interval": -1},
        {"interval": float("nan")},
        {"max_replays": 0},
        {"run": "a b"},
    ],
)
async def test_a_watch_within_bounds(dead, options):
    """Others are refused at once."""
    with pytest.raises(InvalidInput):
        await anext(dead.watch(**options))
