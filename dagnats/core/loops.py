"""The bounds of an agent loop as workflow files write them: in a loop's step, and in a map of loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dagnats.core import durations
from dagnats.core.budgets import budget_problems, read_budget, write_budget
from dagnats.core.model import LoopConfig, Problem
from dagnats.core.problems import duration_problems
from dagnats.core.reader import Reader
from dagnats.limits import DURATION_MAX_MS, ITERATIONS_MAX

LOOP_KEYS: Final = (
    "max_iterations", "max_duration", "loop_delay", "budget", "budget_warn_at", "budget_force_at",
)  # fmt: skip


def read_loop(reader: Reader, where: str, settings: Mapping[str, Any]) -> LoopConfig:
    """The bounds in a step's settings."""
    return LoopConfig(
        max_iterations=reader.get(where, settings, "max_iterations", int, 0),
        max_duration_ms=reader.duration(where, settings, "max_duration"),
        loop_delay_ms=reader.duration(where, settings, "loop_delay"),
        budget_warn_at=reader.get(where, settings, "budget_warn_at", int, 0),
        budget_force_at=reader.get(where, settings, "budget_force_at", int, 0),
        budget=read_budget(reader, where, settings),
    )


def write_loop(loop: LoopConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"max_iterations": loop.max_iterations}
    if loop.max_duration_ms:
        data["max_duration"] = durations.text_of_ms(loop.max_duration_ms)
    if loop.loop_delay_ms:
        data["loop_delay"] = durations.text_of_ms(loop.loop_delay_ms)
    for key in ("budget_warn_at", "budget_force_at"):
        if getattr(loop, key):
            data[key] = getattr(loop, key)
    if loop.budget:
        data["budget"] = write_budget(loop.budget)
    return data


def loop_problems(where: str, loop: LoopConfig | None) -> Iterator[Problem]:
    """What is wrong with a loop's bounds."""
    if loop is None or not 1 <= loop.max_iterations <= ITERATIONS_MAX:
        cure = f"set max_iterations to 1 … {ITERATIONS_MAX}"
        yield Problem(f"{where}.max_iterations", "an agent loop needs a bound", cure)
    if loop is not None:
        yield from duration_problems(f"{where}.max_duration", loop.max_duration_ms, DURATION_MAX_MS)
        yield from duration_problems(f"{where}.loop_delay", loop.loop_delay_ms, DURATION_MAX_MS)
        yield from budget_problems(f"{where}.budget", loop.budget)
