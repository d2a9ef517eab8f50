"""The short form of ``make chaos``."""

from __future__ import annotations

import secrets

import pytest

from tests.chaos.ordeal import Plan, endure

pytestmark = [pytest.mark.faults]


async def test_workers_killed_every_few_seconds(broker, tmp_path):
    """Long handlers, kills all the time: nothing lost, nothing doubled, taken over when the lease is over."""
    plan = Plan(seconds=15, every_s=3, longest_s=3, seed=secrets.randbelow(1_000_000))
    print(f"seed {plan.seed}")
    figures = await endure(broker, tmp_path, plan)
    print(figures.text())
    assert figures.kills >= 3
    assert figures.takeovers_s, "somebody has to die at work, or this test shows nothing"
    assert (figures.lost, figures.doubled, figures.unexplained) == (0, 0, 0)
    assert figures.effects >= 3 * figures.runs
