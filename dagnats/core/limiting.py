"""Limits in workflow files, what can be wrong with them, and the names of the gates that keep them.

A task's limits hold over all runs of all workflows; a workflow's for its runs. The keys of the Go system
(``max_task_concurrency``, ``rate_limit``, ``keyed_rate_limit``, ``concurrency``, ``singleton``) are read, and written
as ``limits``, which can say all of it.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from dagnats.core import durations
from dagnats.core.amounts import NANO, nano_of, usd_of
from dagnats.core.model import LIMIT_MODES, SHARED_BUDGETS, Limit, Priority, Problem, Workflow
from dagnats.core.problems import count_problems, duration_problems, name_problems, path_problems
from dagnats.core.reader import Reader
from dagnats.limits import (
    BUDGET_PERIOD_MAX_MS,
    BUDGET_SOFT_DEFAULT,
    BUDGET_TOKENS_MAX,
    BUDGET_USD_MAX,
    LIMIT_MAX,
    LIMIT_PERIOD_MAX_MS,
    LIMITS_MAX,
    PRIORITY_OFFSET_MAX_S,
    PRIORITY_RULES_MAX,
)

LIMIT_KEYS: Final = (
    "concurrency", "rate", "usd", "tokens", "period", "burst", "key", "weight", "units", "soft", "on_limit",
)  # fmt: skip
SINGLETON_MODES: Final = {
    "skip": "refuse", "cancel": "replace", "cancel-newest": "refuse", "cancel-in-progress": "replace",
}  # fmt: skip
RUN_TICKET: Final = "!run/"  # with an epoch: the ticket of the run as a whole; no step can have it
PRIORITY_KEYS: Final = ("key", "rules", "default_offset")
_PLURALS: Final = {
    "slots": "concurrencies", "rate": "rates", "usd": "budgets in usd", "tokens": "budgets in tokens",
}  # fmt: skip
_READABLE_MAX: Final = 100


# -- names of gates --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4_096)
def gate_id(kind: str, name: str) -> str:
    """The gate of a "task" or a "workflow": ``gate=task=git=2Efetch``. No run has such an id."""
    plain = quote(name, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")
    if len(plain) > _READABLE_MAX:
        plain = "==" + hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"gate={kind}={plain}"


def gate_of(workflow: Workflow) -> str:
    """The gate that lets the runs of a workflow in: its own, or one that it shares with others."""
    return gate_id("shared", workflow.gate) if workflow.gate else gate_id("workflow", workflow.name)


def is_gate(entity: str) -> bool:
    """Whether facts under this id are a gate's, and not a run's."""
    return entity.startswith("gate=")


def gate_name(gate: str) -> tuple[str, str]:
    """The kind and the name of a gate by its id; a very long name is only a hash of it."""
    kind, _, plain = gate.removeprefix("gate=").partition("=")
    return kind, plain if plain.startswith("==") else unquote(plain.replace("=", "%"))


# -- in files --------------------------------------------------------------------------------------


def read_step_limits(reader: Reader, where: str, data: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits of a step's task."""
    limits = _read_limits(reader, where, data)
    most = reader.get(where, data, "max_task_concurrency", int, 0)
    if most:
        limits.append(Limit(kind="slots", limit=most))
    for key in ("rate_limit", "keyed_rate_limit"):
        if data.get(key) is None:
            continue
        place = f"{where}.{key}"
        rate = reader.members(
            place, data[key], "a rate is an object", 'write {"limit": 10, "period": "1s"}'
        )
        if rate is None:
            continue
        known = ("limit", "period") if key == "rate_limit" else ("limit", "period", "key", "units")
        reader.keys(place, rate, known)
        if key == "keyed_rate_limit" and not rate.get("key"):
            reader.problem(place, "the key is missing", 'write for example "key": "tenant"')
        limits.append(_rate(reader, place, {**rate, "rate": rate.get("limit")}, required="limit"))
    if data.get("rate_limit") is not None and data.get("keyed_rate_limit") is not None:
        reader.problem(where, 'both "rate_limit" and "keyed_rate_limit" are given', "keep one")
    return tuple(limits)


def read_run_limits(reader: Reader, data: Mapping[str, Any]) -> tuple[tuple[Limit, ...], int]:
    """The limits of a workflow's runs, and how many steps of one run may be under way."""
    limits = _read_limits(reader, "workflow", data)
    singleton = data.get("singleton")
    if singleton:
        place, cure = "workflow.singleton", 'write {"mode": "skip"}'
        given = reader.members(place, singleton, "a singleton is an object", cure)
        if given is not None:
            reader.keys(place, given, ("mode", "key"))
            mode = reader.get(place, given, "mode", str, "skip")
            if mode not in SINGLETON_MODES:
                cure = f"use one of {', '.join(SINGLETON_MODES)}"
                reader.problem(place, f'unknown mode "{mode}"', cure)
            key = reader.get(place, given, "key", str, "")
            limits.insert(
                0,
                Limit(kind="slots", limit=1, key=key, mode=SINGLETON_MODES.get(mode, "refuse")),  # type: ignore[arg-type]
            )
    bounds = reader.get("workflow", data, "concurrency", dict, {})
    reader.keys("workflow.concurrency", bounds, ("max_runs", "max_steps"))
    runs = reader.get("workflow.concurrency", bounds, "max_runs", int, 0)
    alone = any(limit.mode != "wait" and not limit.key for limit in limits)
    if runs and not (alone and runs > 0):  # a singleton is one run anyway
        limits.append(Limit(kind="slots", limit=runs))
    return tuple(limits), reader.get("workflow.concurrency", bounds, "max_steps", int, 0)


def _read_limits(reader: Reader, where: str, data: Mapping[str, Any]) -> list[Limit]:
    limits: list[Limit] = []
    for number, raw in enumerate(reader.get(where, data, "limits", list, [])):
        place = f"{where}.limits[{number}]"
        given = reader.members(place, raw, "a limit is an object", 'write {"concurrency": 5}')
        if given is None:
            continue
        reader.keys(place, given, LIMIT_KEYS)
        kinds = [key for key in _READERS if given.get(key) is not None]
        if len(kinds) != 1:
            what = f"both {' and '.join(kinds)}" if kinds else f"none of {', '.join(_READERS)}"
            reader.problem(place, f"it says {what}", 'give each by itself: {"concurrency": 5}')
        else:
            limits.append(_READERS[kinds[0]](reader, place, given))
    return limits


def _slots(reader: Reader, where: str, given: Mapping[str, Any]) -> Limit:
    for key in ("period", "burst", "units", "soft"):
        if given.get(key) is not None:
            whose = "budgets" if key == "soft" else "rates"
            reader.problem(
                where, f'"{key}" is for {whose}', 'remove it; a concurrency has "weight"'
            )
    cost, cost_from = _cost(reader, where, given, "weight")
    return Limit(
        kind="slots",
        limit=reader.get(where, given, "concurrency", int, 0),
        key=reader.get(where, given, "key", str, ""),
        cost=cost,
        cost_from=cost_from,
        mode=_mode(reader, where, given),
    )


def _rate(reader: Reader, where: str, given: Mapping[str, Any], required: str = "rate") -> Limit:
    if given.get("weight") is not None:
        reader.problem(where, '"weight" is for a concurrency', 'remove it; a rate has "units"')
    if given.get("soft") is not None:
        reader.problem(where, '"soft" is for budgets', 'remove it; a rate has "burst"')
    if given.get("period") is None:
        reader.problem(where, "the period is missing", 'write for example "period": "1s"')
    if given.get("rate") is None:
        reader.problem(where, f"the {required} is missing", f'write for example "{required}": 10')
    cost, cost_from = _cost(reader, where, given, "units")
    return Limit(
        kind="rate",
        limit=reader.get(where, given, "rate", int, 1),
        period_ms=reader.duration(where, given, "period") or 1_000,
        burst=reader.get(where, given, "burst", int, 0),
        key=reader.get(where, given, "key", str, ""),
        cost=cost,
        cost_from=cost_from,
        mode=_mode(reader, where, given),
    )


def _budget(reader: Reader, where: str, given: Mapping[str, Any]) -> Limit:
    for key in ("burst", "weight", "units"):
        if given.get(key) is not None:
            cure = "remove it; a budget counts what runs report"
            reader.problem(where, f'"{key}" is for a concurrency or a rate', cure)
    usd = given.get("usd") is not None
    return Limit(
        kind="usd" if usd else "tokens",
        limit=nano_of(reader.number(where, given, "usd", 0))
        if usd
        else reader.get(where, given, "tokens", int, 0),
        period_ms=reader.duration(where, given, "period"),
        key=reader.get(where, given, "key", str, ""),
        mode=_mode(reader, where, given),
        soft=reader.number(where, given, "soft", BUDGET_SOFT_DEFAULT),
    )


_READERS: Final = {"concurrency": _slots, "rate": _rate, "usd": _budget, "tokens": _budget}


def _cost(reader: Reader, where: str, given: Mapping[str, Any], key: str) -> tuple[int, str]:
    written = given.get(key)
    if isinstance(written, str):
        return 1, written
    return reader.get(where, given, key, int, 1), ""


def _mode(reader: Reader, where: str, given: Mapping[str, Any]) -> Any:
    mode = reader.get(where, given, "on_limit", str, "wait")
    if mode not in LIMIT_MODES:
        cure = f"use one of {', '.join(LIMIT_MODES)}"
        reader.problem(f"{where}.on_limit", f'unknown mode "{mode}"', cure)
        return "wait"
    return mode


def write_limits(limits: Sequence[Limit]) -> list[dict[str, Any]]:
    """The canonical form."""
    return [_write_limit(limit) for limit in limits]


def _write_limit(limit: Limit) -> dict[str, Any]:
    slots = limit.kind == "slots"
    amount = usd_of(limit.limit) if limit.kind == "usd" else limit.limit
    data: dict[str, Any] = {"concurrency" if slots else limit.kind: amount}
    if limit.period_ms:
        data["period"] = durations.text_of_ms(limit.period_ms)
    if limit.burst:
        data["burst"] = limit.burst
    if limit.key:
        data["key"] = limit.key
    if limit.cost_from or limit.cost != 1:
        data["weight" if slots else "units"] = limit.cost_from or limit.cost
    if limit.mode != "wait":
        data["on_limit"] = limit.mode
    if limit.soft != BUDGET_SOFT_DEFAULT:
        data["soft"] = limit.soft
    return data


def read_priority(reader: Reader, data: Mapping[str, Any]) -> Priority | None:
    """Which runs of a workflow go first."""
    if not data.get("priority"):
        return None
    where, cure = "workflow.priority", 'write {"key": "plan", "rules": {"paid": 60}}'
    given = reader.members(where, data["priority"], "a priority is an object", cure)
    if given is None:
        return None
    reader.keys(where, given, PRIORITY_KEYS)
    rules = reader.get(where, given, "rules", dict, {})
    return Priority(
        key=reader.get(where, given, "key", str, ""),
        rules={str(value): reader.get(f"{where}.rules", rules, value, int, 0) for value in rules},
        default_offset=reader.get(where, given, "default_offset", int, 0),
    )


def write_priority(priority: Priority) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"key": priority.key, "rules": priority.rules}
    if priority.default_offset:
        data["default_offset"] = priority.default_offset
    return data


# -- problems --------------------------------------------------------------------------------------


def limit_problems(where: str, limits: Sequence[Limit], *, of_runs: bool) -> Iterator[Problem]:
    """What is wrong with the limits of a task, or of a workflow's runs."""
    if len(limits) > LIMITS_MAX:
        yield Problem(where, f"{len(limits)} limits", f"give at most {LIMITS_MAX}")
    for (kind, key), count in Counter((limit.kind, limit.key) for limit in limits).items():
        if count > 1:
            what = _PLURALS[kind]
            of = f'with the key "{key}"' if key else "without a key"
            yield Problem(where, f"{count} {what} {of}", "keep one; the strictest would count")
    for limit in limits:
        yield from _problems(where, limit, of_runs=of_runs)


def gate_problems(workflow: Workflow) -> Iterator[Problem]:
    """What is wrong with the name of the gate that a workflow shares."""
    if not workflow.gate:
        return
    yield from name_problems("workflow.gate", workflow.gate)
    if not workflow.limits:
        cure = "give limits, or remove it"
        yield Problem("workflow.gate", "there are no limits for it to keep", cure)


def _budget_problems(where: str, limit: Limit, *, of_runs: bool) -> Iterator[Problem]:
    """What is wrong with a budget that runs share."""
    usd = limit.kind == "usd"
    least, most = (1, BUDGET_USD_MAX * NANO) if usd else (1, BUDGET_TOKENS_MAX)
    if not least <= limit.limit <= most:
        shown = f"{usd_of(limit.limit):g}" if usd else limit.limit
        bounds = f"an amount above 0, up to {BUDGET_USD_MAX}" if usd else f"1 … {most}"
        yield Problem(f"{where} {limit.kind}", f"{shown} is out of bounds", f"use {bounds}")
    yield from path_problems(f"{where} key", limit.key)
    yield from duration_problems(f"{where} period", limit.period_ms, BUDGET_PERIOD_MAX_MS)
    if not 0 < limit.soft <= 1:
        yield Problem(f"{where} soft", f"{limit.soft:g}", "use a part above 0, up to 1")
    if not of_runs:
        cure = "give it to the workflow; a rate with units bounds what a task may use"
        yield Problem(f"{where} {limit.kind}", "a budget is shared by runs, and not by steps", cure)
    if limit.mode == "replace":
        what = "what a run has used is used, whoever takes its place"
        yield Problem(f"{where} on_limit", what, 'use "wait" or "refuse"')


def _problems(where: str, limit: Limit, *, of_runs: bool) -> Iterator[Problem]:
    if limit.kind in SHARED_BUDGETS:
        yield from _budget_problems(where, limit, of_runs=of_runs)
        return
    slots = limit.kind == "slots"
    place = f"{where} {'concurrency' if slots else 'rate'}"
    least = 0 if slots and limit.key else 1  # a key alone says what can be paused
    yield from count_problems(place, limit.limit, least, LIMIT_MAX)
    yield from path_problems(f"{where} key", limit.key)
    yield from path_problems(f"{where} {'weight' if slots else 'units'}", limit.cost_from)
    if not limit.cost_from:
        most = max(1, (limit.burst or limit.limit) if not slots else limit.limit or 1)
        cost_place = f"{where} {'weight' if slots else 'units'}"
        yield from count_problems(cost_place, limit.cost, 1, most)
    if not slots:
        if not 1 <= limit.period_ms <= LIMIT_PERIOD_MAX_MS:
            most_text = durations.text_of_ms(LIMIT_PERIOD_MAX_MS)
            what = f"{durations.text_of_ms(limit.period_ms)} is out of bounds"
            yield Problem(f"{where} period", what, f"use 1ms … {most_text}")
        yield from count_problems(f"{where} burst", limit.burst, 0, LIMIT_MAX)
    if limit.mode == "replace" and not (of_runs and slots):
        what = '"replace" ends runs, so only the concurrency of a workflow can do it'
        yield Problem(f"{where} on_limit", what, 'use "wait" or "refuse"')


def priority_problems(priority: Priority) -> Iterator[Problem]:
    """What is wrong with a priority."""
    where = "workflow.priority"
    if not priority.key:
        yield Problem(f"{where}.key", "the key is missing", 'write for example "key": "plan"')
    yield from path_problems(f"{where}.key", priority.key)
    if not 1 <= len(priority.rules) <= PRIORITY_RULES_MAX:
        cure = f"give 1 … {PRIORITY_RULES_MAX}"
        yield Problem(f"{where}.rules", f"{len(priority.rules)} rules", cure)
    for value, offset in (*priority.rules.items(), ("default_offset", priority.default_offset)):
        if abs(offset) > PRIORITY_OFFSET_MAX_S:
            cure = f"use -{PRIORITY_OFFSET_MAX_S} … {PRIORITY_OFFSET_MAX_S} seconds"
            yield Problem(f"{where} {value}", f"{offset} is out of bounds", cure)
