"""Planting faults, to see that the simulation notices them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from tests.simulation.simulation import Wrong
from tests.simulation.test_simulation import play

WORLDS_MAX = 300


def worlds_until_noticed(fault: Iterable[tuple[Any, str, Any]]) -> int:
    """How many worlds it takes until a fault (owner, name, and what stands there instead) is noticed; 0: it is not."""
    with ExitStack() as planted:
        for owner, name, code in fault:
            planted.enter_context(patch.object(owner, name, code))
        for seed in range(WORLDS_MAX):
            try:
                play(seed)
            except Wrong:  # anything else would be a fault of the planting
                return seed + 1
    return 0
