"""Workflows whose runs and tasks are under limits: families, whose members share the limits of tasks.

Nothing here changes how a run ends, but that a limit may refuse: what waits, waits.
"""

from __future__ import annotations

import functools
import random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.model import Limit, Priority, Step
from tests.simulation import flows, kinds

FAMILIES = 24
MEMBERS = 3
_GIVEN = {"of": {"$input": "n"}, "fixed": [1, "two"]}
_RANKS = Priority(key="n", rules={"1": 60, "2": 30, "3": -60})


class Profile(Struct, frozen=True):
    """The limits of a task, and those of runs."""

    of_tasks: tuple[Limit, ...]
    of_runs: tuple[Limit, ...]


def slots(limit: int, **more: Any) -> Limit:
    """So many at once."""
    return Limit(kind="slots", limit=limit, **more)


def rate(limit: int, period_ms: int, **more: Any) -> Limit:
    """So many in every period."""
    return Limit(kind="rate", limit=limit, period_ms=period_ms, **more)


OF_TASKS = (
    (slots(1),),
    (slots(2),),
    (slots(3, cost=2),),
    (slots(1, key="of"),),
    (rate(3, 5_000, burst=2),),
    (slots(2), rate(5, 2_000)),
    (slots(1, mode="refuse"),),
    (),
)
OF_RUNS = (
    (),
    (slots(1),),
    (slots(2), rate(4, 10_000)),
    (slots(1, key="n"), slots(3)),
    (slots(1, key="n", mode="refuse"),),
    (slots(1, mode="replace"),),
)


@functools.cache
def limited(family: int, member: int) -> flows.Flow:
    """One of a family's workflows."""
    rng = random.Random(f"family {family}")
    tasks, runs = OF_TASKS[family % len(OF_TASKS)], rng.choice(OF_RUNS)
    profile = Profile(tasks, runs if tasks else rng.choice(OF_RUNS[1:]))
    rng = random.Random(f"family {family} {member}")
    drawn = flows.drawn(rng, f"limited{family}-{member}", first_child=0)
    steps = tuple(_under(step, profile.of_tasks) for step in drawn.steps)
    return flows.compiled(
        replace(
            drawn,
            steps=steps,
            limits=profile.of_runs,
            priority=_RANKS if rng.random() < 0.3 else None,
            max_steps=rng.choice((0, 0, 1, 2)),
        )
    )


def _under(step: Step, limits: tuple[Limit, ...]) -> Step:
    """A step under limits, where its input can say for which key."""
    keyed = any(limit.key for limit in limits)
    if step.kind not in (*kinds.HANDLED, "planner", "map") or (keyed and not _keyed(step)):
        return step
    return replace(step, limits=limits, input=_GIVEN if keyed else step.input)


def _keyed(step: Step) -> bool:
    return step.kind != "map" and not step.id.startswith(("mend", "undo"))
