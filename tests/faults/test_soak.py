"""The short form of ``make soak``: what grows with the number of tasks is the log alone."""

from __future__ import annotations

import pytest

from tests.chaos.soak import soak

pytestmark = [pytest.mark.faults, pytest.mark.slow]

TASKS = 10_000
GROWTH_MAX = 1.25  # of a process, from the second quarter to the last


async def test_nothing_is_left_behind(broker, tmp_path):
    """10,000 tasks: no ticket, timer, consumer or file more than before, and memory stays."""
    parts, before, after = await soak(broker, tmp_path, TASKS)
    for part in parts:
        print(part.text())
    assert after == before
    for name, used in parts[-1].memory_mb.items():
        assert used <= parts[1].memory_mb[name] * GROWTH_MAX, f"memory of the {name}"
        assert parts[-1].files[name] <= parts[1].files[name] + 2, f"open files of the {name}"
