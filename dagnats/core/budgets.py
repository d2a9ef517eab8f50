"""Budgets: how files write them, what can be wrong with them, and what is left of them.

A run has one (its workflow's, or what its start says), and so may each agent loop in it. A child run is bounded by
what was left to its parent, and what it uses counts there, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core import durations
from dagnats.core.amounts import NANO, nano_of, usd_of
from dagnats.core.graph import NOWHERE, Graph
from dagnats.core.inputs import States
from dagnats.core.model import (
    NOTHING_USED,
    SHARED_BUDGETS,
    Budget,
    Limit,
    Problem,
    Step,
    Usage,
)
from dagnats.core.problems import count_problems, duration_problems
from dagnats.core.reader import Reader
from dagnats.core.run import Run
from dagnats.limits import (
    BUDGET_ITERATIONS_MAX,
    BUDGET_SOFT_DEFAULT,
    BUDGET_TOKENS_MAX,
    BUDGET_USD_MAX,
    DURATION_MAX_MS,
)

BUDGET_KEYS: Final = ("usd", "tokens", "wall", "iterations", "soft")
_FIELDS: Final = ("usd_nano", "tokens", "wall_ms", "iterations")


# -- in files --------------------------------------------------------------------------------------


def read_budget(reader: Reader, where: str, data: Mapping[str, Any]) -> Budget | None:
    """The budget under the key ``budget``; None without one."""
    if data.get("budget") is None:
        return None
    where = f"{where}.budget"
    cure = 'write {"usd": 2, "tokens": 200000}'
    given = reader.members(where, data["budget"], "a budget is an object", cure)
    if given is None:
        return None
    reader.keys(where, given, BUDGET_KEYS)
    return Budget(
        usd_nano=nano_of(reader.number(where, given, "usd", 0)),
        tokens=reader.get(where, given, "tokens", int, 0),
        wall_ms=reader.duration(where, given, "wall"),
        iterations=reader.get(where, given, "iterations", int, 0),
        soft=reader.number(where, given, "soft", BUDGET_SOFT_DEFAULT),
    )


def write_budget(budget: Budget) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {}
    if budget.usd_nano:
        data["usd"] = usd_of(budget.usd_nano)
    if budget.tokens:
        data["tokens"] = budget.tokens
    if budget.wall_ms:
        data["wall"] = durations.text_of_ms(budget.wall_ms)
    if budget.iterations:
        data["iterations"] = budget.iterations
    if budget.soft != BUDGET_SOFT_DEFAULT:
        data["soft"] = budget.soft
    return data


def budget_problems(where: str, budget: Budget | None) -> Iterator[Problem]:
    """What is wrong with a budget."""
    if budget is None:
        return
    if not any(getattr(budget, name) for name in _FIELDS):
        cure = "give usd, tokens, wall or iterations"
        yield Problem(where, "the budget bounds nothing", cure)
    if not 0 <= budget.usd_nano <= BUDGET_USD_MAX * NANO:
        what = f"{usd_of(budget.usd_nano):g} is out of bounds"
        yield Problem(f"{where}.usd", what, f"use 0 … {BUDGET_USD_MAX}")
    yield from count_problems(f"{where}.tokens", budget.tokens, 0, BUDGET_TOKENS_MAX)
    yield from duration_problems(f"{where}.wall", budget.wall_ms, DURATION_MAX_MS)
    yield from count_problems(f"{where}.iterations", budget.iterations, 0, BUDGET_ITERATIONS_MAX)
    if not 0 < budget.soft <= 1:
        yield Problem(f"{where}.soft", f"{budget.soft:g}", "use a part above 0, up to 1")


# -- arithmetic ------------------------------------------------------------------------------------


def replaced(budget: Budget | None, given: Budget | None) -> Budget | None:
    """A budget, where what is given takes the place of what it says."""
    if budget is None or given is None:
        return given or budget
    said = {name: getattr(given, name) for name in _FIELDS if getattr(given, name)}
    return replace(budget, **said, soft=given.soft)


def tightened(budget: Budget | None, cap: Budget | None) -> Budget | None:
    """The smaller of two budgets in each respect."""
    if budget is None or cap is None:
        return budget or cap
    least = {
        name: min(a, b) if a and b else a or b
        for name in _FIELDS
        for a, b in [(getattr(budget, name), getattr(cap, name))]
    }
    return replace(budget, **least)


def raised_by(budget: Budget, more: Budget | None) -> Budget:
    """A budget with more in each respect; what it does not bound stays so."""
    if more is None:
        return budget
    sums = {
        name: getattr(budget, name) + getattr(more, name)
        for name in _FIELDS
        if getattr(budget, name)
    }
    return replace(budget, **sums)


def together(first: Budget | None, more: Budget) -> Budget:
    """What was added to a budget in all."""
    if first is None:
        return more
    return replace(first, **{name: getattr(first, name) + getattr(more, name) for name in _FIELDS})


# -- of runs ---------------------------------------------------------------------------------------


class Allowance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget as it stands: of the loop at ``step``, or of the run; ``used`` of it, its time over at ``until_ms``.

    ``hint``: it is another run's, or a gate's, as it stood when this one began; those keep it.
    """

    budget: Budget
    used: Usage = NOTHING_USED
    until_ms: int = 0
    step: str = ""
    hint: bool = False


def loop_budget(step: Step, raised: Mapping[str, Budget]) -> Budget | None:
    """The budget of an agent loop, with what was added to it."""
    own = step.loop.budget if step.loop else None
    return raised_by(own, raised.get(step.id)) if own else None


def allowances(
    run: Run, graph: Graph, states: States, position: int, *, hints: bool = False
) -> list[Allowance]:
    """The budgets that count what a step uses: of its loops, of the run; as hints those of the parent and the gate."""
    found: list[Allowance] = []
    while position != NOWHERE:
        node, state = graph.nodes[position], states[position]
        own = loop_budget(node.step, run.raised)
        if own is not None:
            found.append(
                Allowance(
                    budget=own, used=state.usage, until_ms=state.wall_due_ms, step=node.step.id
                )
            )
        position = node.owner
    if run.budget is not None:
        own = raised_by(run.budget, run.raised.get(""))
        found.append(Allowance(budget=own, used=run.spent, until_ms=run.wall_due_ms))
    if hints and run.cap is not None:
        until = run.started_ms + run.cap.wall_ms if run.cap.wall_ms else 0
        found.append(Allowance(budget=run.cap, used=run.spent, until_ms=until, hint=True))
    if hints:
        found.extend(map(_shared, shared_budgets(run), run.ceilings, repeat(run.spent)))
    return found


def shared_budgets(run: Run) -> list[Limit]:
    """The budgets that a run shares with others at its gate."""
    limits = run.graph.workflow.limits if run.graph else ()
    return [limit for limit in limits if limit.kind in SHARED_BUDGETS]


def _shared(limit: Limit, ceiling: int, spent: Usage) -> Allowance:
    """A budget that is shared: what this run could not use is what others had used."""
    others = limit.limit - ceiling
    if limit.kind == "usd":
        budget, used = Budget(usd_nano=limit.limit, soft=limit.soft), Usage(usd_nano=others)
    else:
        budget, used = Budget(tokens=limit.limit, soft=limit.soft), Usage(input_tokens=others)
    return Allowance(budget=budget, used=spent + used, hint=True)


def exceeded(budget: Budget, used: Usage) -> str:
    """In which respect more was used than there may be; empty for none."""
    for name in ("usd_nano", "tokens", "iterations"):
        most = getattr(budget, name)
        if most and getattr(used, name) > most:
            return name
    return ""


def low(allowance: Allowance, used: Usage, now_ms: float) -> bool:
    """Whether more than the soft part of something is used."""
    budget = allowance.budget
    if any(
        getattr(used, name) > getattr(budget, name) * budget.soft
        for name in ("usd_nano", "tokens", "iterations")
        if getattr(budget, name)
    ):
        return True
    return bool(allowance.until_ms) and allowance.until_ms - now_ms < budget.wall_ms * (
        1 - budget.soft
    )


def left(allowance: Allowance, at_ms: int) -> Budget:
    """What is left of a budget; at least one of each that it bounds, since 0 would be no bound."""
    budget, used = allowance.budget, allowance.used
    rest = {
        name: max(1, getattr(budget, name) - getattr(used, name))
        for name in ("usd_nano", "tokens", "iterations")
        if getattr(budget, name)
    }
    wall = max(1, allowance.until_ms - at_ms) if allowance.until_ms else budget.wall_ms
    return replace(budget, **rest, wall_ms=wall)


def cap_of(run: Run, graph: Graph, position: int, at_ms: int) -> Budget | None:
    """What a run may use that a step starts: the least that is left to it in each respect."""
    cap: Budget | None = None
    for allowance in allowances(run, graph, run.steps, position, hints=True):
        cap = tightened(cap, left(allowance, at_ms))
    return cap


def carried(run: Run) -> tuple[Budget | None, dict[str, Usage]]:
    """What the successor of a run goes on with: its budget, with the time that is left, and what was used."""
    used = {"": run.spent} if run.spent != NOTHING_USED else {}
    for node, state in zip(run.graph.nodes if run.graph else (), run.steps, strict=False):
        if node.step.loop and node.step.loop.budget and state.usage != NOTHING_USED:
            used[node.step.id] = state.usage
    budget = run.budget
    if budget is not None and run.wall_due_ms:
        budget = replace(budget, wall_ms=max(1, run.wall_due_ms - run.closed_ms))
    return budget, used
