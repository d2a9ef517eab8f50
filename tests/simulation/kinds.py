"""The kinds of steps that the simulation plays: for each, how a random one looks, and what it must come to.

``draw`` makes the fields of a random step; ``play`` says, from what the run was told, what the step gives, or raises
``Missing`` (it is given up) or ``Unknown`` (it is not over). Nothing here knows the engine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from dagnats.core.events import ChildStarted, StepContinued, StepPlanned, StepSucceeded
from dagnats.core.model import (
    AGENT_GROUP,
    ApprovalConfig,
    ChildConfig,
    EventConfig,
    EventMatch,
    LoopConfig,
    MapConfig,
    PlannerConfig,
    RespondConfig,
    SignalConfig,
    SleepConfig,
    Step,
)
from dagnats.limits import DEPTH_MAX
from tests.simulation.told import Missing, Unknown, decoded

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

TASK = "plain"
LOOP = "loop"
CHILDREN = 5  # workflows that are started as children; each starts only later ones
SIGNALS = ("go", "stop")
EVENTS = ("paid", "sent")
PEOPLE = ("", "ada", "bob", "eve")
PLAN_STEPS_MAX = 3


class Kind(Struct, frozen=True):
    """How often a kind is drawn, how, and what it comes to."""

    weight: int
    draw: Callable[[random.Random, tuple[str, ...]], dict[str, Any]]
    play: Callable[[Oracle, Step], Any]


# -- handlers --------------------------------------------------------------------------------------


def _task(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"task": TASK}


def _agent(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"task": TASK, "group": AGENT_GROUP, "metadata": {"model": "m"}}


def _loop(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"task": LOOP, "config": loop(rng)}


def loop(rng: random.Random) -> LoopConfig:
    """Bounds that a loop may reach."""
    return LoopConfig(
        max_iterations=rng.randint(1, 5),
        loop_delay_ms=rng.choice((0, 0, 300, 2_000)),
        max_duration_ms=rng.choice((0, 0, 0, 20_000)),
    )


def in_chapters(oracle: Oracle, step: Step, play: Callable[[Oracle, Step, int, int], Any]) -> Any:
    """What a step comes to that is begun anew, with all its attempts, when its run is opened again."""
    *earlier, last = oracle.told.chapters(step.id)
    for turn, spent in earlier:
        try:
            return play(oracle, step, turn, spent)
        except (Missing, Unknown):
            continue
    return play(oracle, step, *last)


def handled(oracle: Oracle, step: Step) -> Any:
    """What a handler gives in the end."""
    return in_chapters(oracle, step, _handled)


def _handled(oracle: Oracle, step: Step, first: int, spent: int) -> Any:
    for turn in range(first, step.loop.max_iterations if step.loop else 1):
        for attempt in oracle.attempts(step, spent if turn == first else 0):
            got = oracle.told.answer(f"{step.id}/{attempt}/{turn}")
            if isinstance(got, StepSucceeded):
                return decoded(got.output)
            if isinstance(got, StepContinued):
                break
            _unless_final(got)
        else:
            raise Missing
    raise Missing


def _unless_final(got: Any) -> None:
    if getattr(got, "failure", "") == "non_retriable":
        raise Missing


# -- maps and planners -----------------------------------------------------------------------------


def _map(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    loops = rng.random() < 0.2
    items = [rng.choice((n, {"$input": "n"})) for n in range(rng.choice((0, 1, 2, 3, 4)))]
    config = MapConfig(
        max_items=3 if rng.random() < 0.1 else 10,
        concurrency=rng.choice((0, 0, 1, 2)),
        tolerate=rng.choice((0, 0, 1, 2)),
        loop=loop(rng) if loops else None,
    )
    given = items if rng.random() < 0.95 else {"$input": "n"}
    return {"task": LOOP if loops else TASK, "config": config, "input": given}


def _gathered(oracle: Oracle, step: Step) -> Any:
    config, given = step.config, oracle.given(step)
    if not isinstance(given, list) or len(given) > config.max_items:
        raise Missing
    outputs, lost, unknown = [], 0, False
    for number in range(len(given)):
        item = Step(id=f"{step.id}#{number}", retry=step.retry, config=config.loop)
        try:
            outputs.append(handled(oracle, item))
        except Missing:
            lost += 1
            outputs.append(None)
        except Unknown:
            unknown = True
    if lost > config.tolerate:
        raise Missing
    if unknown:
        raise Unknown
    return outputs


def _planner(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    preview = _question(rng) if rng.random() < 0.3 else None
    config = PlannerConfig(max_steps=PLAN_STEPS_MAX, allowed_tasks=(TASK,), preview=preview)
    return {"task": TASK, "config": config}


def _planned(oracle: Oracle, step: Step) -> Any:
    return in_chapters(oracle, step, _planned_once)


def _planned_once(oracle: Oracle, step: Step, turn: int, spent: int) -> Any:
    for attempt in oracle.attempts(step, spent):
        ticket = f"{step.id}/{attempt}/0"
        got = oracle.told.answer(ticket)
        _unless_final(got)
        if not isinstance(got, StepPlanned) or not sound(plan := decoded(got.plan)["steps"]):
            continue
        if step.config.preview:
            try:
                oracle.told.approved(ticket, step.config.preview.quorum)
            except Missing:
                continue
        return _carried_out(oracle, step, plan, decoded(got.plan))
    raise Missing


def sound(plan: list[dict[str, Any]]) -> bool:
    """Whether a script's plan can be carried out."""
    names = {each["id"] for each in plan}
    return len(plan) <= PLAN_STEPS_MAX and all(
        each["task"] == TASK and names.issuperset(each["depends_on"]) for each in plan
    )


def _carried_out(oracle: Oracle, planner: Step, plan: list[dict[str, Any]], whole: Any) -> Any:
    """A plan's steps are played like a workflow's; one that fails fails the planner."""
    done: dict[str, Any] = {}
    unknown = False
    for each in plan:
        parents = tuple(f"{planner.id}.{up}" for up in each["depends_on"])
        oracle.generated[f"{planner.id}.{each['id']}"] = (parents, whole)
    for each in plan:
        name = f"{planner.id}.{each['id']}"
        if not done.keys() >= set(each["depends_on"]):
            unknown = True
            continue
        try:
            value = handled(oracle, Step(id=name))
        except Unknown:
            unknown = True
            continue
        done[each["id"]] = oracle.ending.values[name] = value
    if unknown:
        raise Unknown
    needed = {up for each in plan for up in each["depends_on"]}
    last = {name: value for name, value in done.items() if name not in needed}
    return next(iter(last.values())) if len(last) == 1 else last


# -- people, signals, events, time -----------------------------------------------------------------


def _question(rng: random.Random) -> ApprovalConfig:
    return ApprovalConfig(
        timeout_ms=rng.choice((5_000, 60_000, 3_600_000)), quorum=rng.choice((1, 1, 2))
    )


def _approval(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"config": _question(rng)}


def _decided(oracle: Oracle, step: Step) -> Any:
    return oracle.told.approved(oracle.told.question(step.id), step.config.quorum)


def _signal(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    limit = rng.choice((5_000, 60_000, 3_600_000))
    return {"config": SignalConfig(name=rng.choice(SIGNALS), timeout_ms=limit)}


def _signalled(oracle: Oracle, step: Step) -> Any:
    return oracle.told.payload(oracle.told.question(step.id))


def _event(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    match = EventMatch("id", {"$input": "n"}) if rng.random() < 0.6 else None
    limit = rng.choice((5_000, 60_000, 3_600_000))
    return {"config": EventConfig(event=rng.choice(EVENTS), match=match, timeout_ms=limit)}


def _happened(oracle: Oracle, step: Step) -> Any:
    if step.config.match:
        oracle.render(step.config.match.right)
    try:
        return oracle.told.payload(oracle.told.question(step.id))
    except Missing:
        return {"timeout": True}


def _sleep(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"config": SleepConfig(duration_ms=rng.choice((1, 700, 20_000, 600_000)))}


def _slept(oracle: Oracle, step: Step) -> Any:
    return None  # how long it took is for the checks


# -- other runs, and callers -----------------------------------------------------------------------


def _child(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    number = rng.randrange(CHILDREN + 1)  # one more than there are
    config = ChildConfig(workflow=f"child{number}", detach=rng.random() < 0.2)
    return {"config": config, "timeout_ms": rng.choice((0, 0, 10_000, 100_000))}


def _ended(oracle: Oracle, step: Step) -> Any:
    if oracle.told.depth >= DEPTH_MAX:
        raise Missing
    return in_chapters(oracle, step, _child_ended)


def _child_ended(oracle: Oracle, step: Step, turn: int, spent: int) -> Any:
    for attempt in oracle.attempts(step, spent):
        ticket = f"{step.id}/{attempt}/0"
        fact = oracle.told.children.get(ticket)
        if isinstance(fact, ChildStarted):
            return {"child_run_id": fact.child}
        if fact is None:
            if ticket not in oracle.told.late:
                raise Unknown
        elif fact.status == "completed":
            return decoded(fact.output)
    raise Missing


def _respond(rng: random.Random, parents: tuple[str, ...]) -> dict[str, Any]:
    return {"config": RespondConfig(body_from="n" if rng.random() < 0.1 else "")}


def _responded(oracle: Oracle, step: Step) -> Any:
    given, path = oracle.given(step), step.config.body_from
    if path and not (isinstance(given, dict) and path in given):
        raise Missing
    return given[path] if path else given


KINDS = {
    "task": Kind(12, _task, handled),
    "agent": Kind(2, _agent, handled),
    "agent_loop": Kind(5, _loop, handled),
    "map": Kind(3, _map, _gathered),
    "planner": Kind(3, _planner, _planned),
    "approval": Kind(2, _approval, _decided),
    "wait_for_signal": Kind(2, _signal, _signalled),
    "wait_for_event": Kind(2, _event, _happened),
    "sleep": Kind(2, _sleep, _slept),
    "sub_workflow": Kind(2, _child, _ended),
    "respond": Kind(1, _respond, _responded),
}
QUEUES = ((TASK, ""), (LOOP, ""), (TASK, AGENT_GROUP))
HANDLED = ("task", "agent", "agent_loop")


def draw(rng: random.Random) -> str:
    """A kind, by weight."""
    return rng.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]


def plan(rng: random.Random) -> msgspec.Raw:
    """What a planner may answer, sound or not."""
    names = ["a", "b", "c", "d"][: rng.choice((0, 1, 2, 3, 3, 4))]
    steps = [
        {"id": name, "task": TASK, "depends_on": sorted(rng.sample(names[:at], min(at, rng.randint(0, 2))))}
        for at, name in enumerate(names)
    ]  # fmt: skip
    if steps and rng.random() < 0.15:
        steps[0]["task"] = "forbidden"
    if steps and rng.random() < 0.1:
        steps[-1]["depends_on"] = ["ghost"]
    return msgspec.Raw(msgspec.json.encode({"steps": steps}))


def attempts(step: Step, usual: int, spent: int) -> Iterator[int]:
    """The numbers of a step's attempts, after those that are spent."""
    yield from range(spent + 1, spent + (step.retry.attempts if step.retry else usual) + 1)
