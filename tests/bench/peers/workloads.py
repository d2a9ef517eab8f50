"""The workloads, whatever the engine. An engine says how it does each; this says how often, and what is measured.

* W1: a workflow of 10 no-op steps, one run at a time: milliseconds a step.
* W2: runs of a chain of 5 no-ops, started as fast as it goes: steps a second, from the first start to the last end.
* W3: one run over 1,000 items: items a second.
* W4: a run of 100 iterations that each keep 8 KB: milliseconds an iteration.
* W5: from the call to the first line of the first step: milliseconds.

No engine is imported here, so that each can run in an environment of its own.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Protocol

PAYLOAD = "x" * 256
STATE = "x" * 8192
ITEMS, TURNS = 1_000, 100


class Engine(Protocol):
    """What is measured."""

    def chain(self, steps: int) -> Callable[[], object]:
        """Start a run of so many steps; calling what this gives waits for its end."""
        ...

    def items(self, count: int) -> None:
        """One run over so many items."""
        ...

    def turns(self, count: int) -> None:
        """One run of so many iterations."""
        ...

    def clock(self) -> float:
        """When the first line of a run's first step ran."""
        ...


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(engine: Engine, runs: int) -> None:
    """Do all of it, and print the figures as JSON."""
    engine.chain(2)()

    def alone() -> None:
        engine.chain(10)()

    hops = [_seconds(alone) for _ in range(30)]

    def many() -> None:
        for wait in [engine.chain(5) for _ in range(runs)]:
            wait()

    begins: list[float] = []
    for _ in range(60):
        began = time.time()
        begins.append((engine.clock() - began) * 1000)
    cuts = statistics.quantiles(begins[10:], n=100)
    print(
        json.dumps(
            {
                "w1_ms": statistics.median(hops) * 100,
                "w2_steps_per_s": runs * 5 / _seconds(many),
                "w3_items_per_s": ITEMS / _seconds(lambda: engine.items(ITEMS)),
                "w4_ms": _seconds(lambda: engine.turns(TURNS)) * 1000 / TURNS,
                "w5_ms_p50": cuts[49],
                "w5_ms_p99": cuts[98],
            }
        )
    )
