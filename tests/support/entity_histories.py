"""Golden logs of gates, triggers and scheduled starts: their facts as they are on the wire, and what came of each.

``python -m tests.support.entity_histories record [NAME…]`` writes those that are not there yet, and those named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from dagnats.core.entities import (
    Demand,
    GateAsked,
    GateCharged,
    GateLeft,
    GateRaised,
    GateReleased,
    StartCancelled,
    StartScheduled,
    TriggerFired,
    TriggerSet,
)
from dagnats.core.events import AUTHORS, ChildClosed, Event, Fact, TimerFired
from dagnats.core.gates import stored
from dagnats.core.gates.gate import Gate
from dagnats.core.scheduled import ScheduledStart, fold_start
from dagnats.core.triggers.fold import TriggerState, fold
from dagnats.wire import subjects
from dagnats.wire.codec import decode_fact, encode

FOLDER = Path(__file__).parents[1] / "histories" / "entities"
HOUR = 3_600_000
T0 = 1_800_000_000_000
Facts = Iterator[tuple[int, Fact]]  # with the time of each
Lines = list[dict[str, Any]]


def _set(**trigger: Any) -> TriggerSet:
    body = {"id": "t", "workflow_id": "w", **trigger}
    return TriggerSet(definition=Raw(msgspec.json.encode(body)))


def trigger_schedule() -> Facts:
    """A schedule that is late, catches up, is changed, disabled and deleted."""
    yield T0, _set(cron={"expression": "0 * * * *", "timezone": "Europe/Berlin", "backfill": True})
    yield T0 + HOUR, TimerFired(due_ms=T0)
    yield T0 + 4 * HOUR, TimerFired(due_ms=T0 + HOUR - T0 % HOUR)
    yield T0 + 4 * HOUR, _set(cron="@every 30m", overlap="queue")
    yield T0 + 5 * HOUR, TimerFired(due_ms=T0 + 4 * HOUR + HOUR // 2)
    yield T0 + 5 * HOUR, _set(cron="@every 30m", overlap="queue", enabled=False)
    yield T0 + 6 * HOUR, TriggerSet()


def trigger_queue() -> Facts:
    """Messages that wait for the run before, one that comes twice, one that is no JSON."""
    yield T0, _set(subject="files.*", overlap="queue", filter="size > 1", input={"$input": "data"})
    for seq in (7, 8, 8, 9):
        fired = TriggerFired(key=f"H-{seq}", kind="subject", data=Raw(b'{"size":2}'), seq=seq)
        yield T0 + seq, fired
    yield (
        T0 + 20,
        TriggerFired(key="H-10", kind="subject", seq=10, problem="the message is not JSON"),
    )
    yield T0 + 30, ChildClosed(ticket="H-7", child="fired-x", status="failed", error="down")
    yield T0 + 40, ChildClosed(ticket="H-8", status="completed")
    yield T0 + 50, TriggerFired(key="manual-1", kind="manual")


def trigger_replaces() -> Facts:
    """Each fire cancels the run of the one before."""
    yield T0, _set(webhook={"path": "in"}, overlap="cancel-running")
    for number in range(3):
        yield T0 + number, TriggerFired(key=f"n-{number}", kind="webhook")


def _event(number: int, value: str, **more: Any) -> TriggerFired:
    data = Raw(msgspec.json.encode({"id": value, "n": number} if value else {"n": number}))
    told = {"path": "id", "group": value, "size": len(bytes(data)), **more}
    return TriggerFired(key=f"D-{number}", kind="subject", data=data, seq=number, **told)


def trigger_debounced() -> Facts:
    """Two keys, one held to the maximum; a timer of before; an event without the key; dropped by a pause."""
    how = {"period": "300ms", "timeout": "500ms", "key": "id"}
    yield T0, _set(event="e", debounce=how)
    yield T0 + 10, _event(1, "a")
    yield T0 + 20, _event(2, "b")
    yield T0 + 250, _event(3, "a")
    yield T0 + 300, _event(4, "", path="", ungrouped='key "id" is not in the data, which has: n')
    yield T0 + 305, TimerFired(due_ms=T0)
    yield T0 + 310, TimerFired(due_ms=T0 + 310)
    yield T0 + 320, TimerFired(due_ms=T0 + 320)
    yield T0 + 500, _event(5, "a")
    yield T0 + 515, TimerFired(due_ms=T0 + 510)
    yield T0 + 600, _event(6, "c")
    yield T0 + 610, _set(event="e", debounce=how, enabled=False)
    yield T0 + 900, TimerFired(due_ms=T0 + 900)


def trigger_batched() -> Facts:
    """Closed by size, by time, by one that is stored elsewhere and too large, and because it is to be debounced now."""
    how = {"max_size": 2, "timeout": "1s", "key": "id"}
    yield T0, _set(event="e", batch=how)
    for number, group in enumerate("abaab", 1):
        yield T0 + number, _event(number, group)
    yield T0 + 1_001, TimerFired(due_ms=T0 + 1_001)
    yield T0 + 1_004, TimerFired(due_ms=T0 + 1_004)
    yield T0 + 2_000, _event(6, "a")
    yield T0 + 2_010, _event(7, "a", size=11_000_000)
    yield T0 + 2_020, _event(8, "b")
    yield T0 + 2_030, _set(event="e", debounce="1s")
    yield T0 + 2_031, _event(9, "b", path="", group="")
    yield T0 + 2_040, TimerFired(due_ms=T0 + 2_030)
    yield T0 + 3_031, TimerFired(due_ms=T0 + 3_031)


def start_fires() -> Facts:
    """A start whose time comes; what is asked afterwards changes nothing."""
    yield (
        T0,
        StartScheduled(
            workflow="w", definition="d", run_at_ms=T0 + HOUR, input=Raw(b"7"), tags=("x",)
        ),
    )
    yield T0 + 1, StartScheduled(workflow="w", definition="d", run_at_ms=T0 + 2 * HOUR)
    yield T0 + HOUR, TimerFired(due_ms=T0 + HOUR)
    yield T0 + HOUR + 1, StartCancelled(request="late")


def start_cancelled() -> Facts:
    """A start that is cancelled before its time."""
    yield T0, StartScheduled(workflow="w", definition="d", run_at_ms=T0 + HOUR)
    yield T0 + 1, StartCancelled(reason="not needed", request="r")
    yield T0 + HOUR, TimerFired(due_ms=T0 + HOUR)


def _asks(run: str, rank_ms: int, *demands: Demand) -> GateAsked:
    return GateAsked(run=run, ticket="a/1/0", rank_ms=rank_ms, demands=demands)


def gate_slots() -> Facts:
    """Two limits at once, and a weight: a tenant that is full does not hold up others."""

    def of(tenant: str, cost: int = 1) -> tuple[Demand, Demand]:
        each = Demand(kind="slots", limit=1, path="input.tenant", key=tenant)
        return each, Demand(kind="slots", limit=3, cost=cost)

    for number, (run, tenant, cost) in enumerate(
        [("r1", "a", 1), ("r2", "a", 1), ("r3", "b", 2), ("r4", "c", 2), ("r5", "d", 1)]
    ):
        yield T0 + number, _asks(run, T0 + number, *of(tenant, cost))
    yield T0 + 10, GateLeft(run="r3", ticket="a/1/0")
    yield T0 + 20, GateLeft(run="r2", ticket="a/1/0")  # it was cancelled while it waited
    yield T0 + 30, GateReleased(run="r1", reason="stuck")
    yield T0 + 40, GateLeft(run="r4", ticket="a/1/0")
    yield T0 + 50, GateLeft(run="r5", ticket="a/1/0")


def gate_rate() -> Facts:
    """Two in a second, the third waits for the clock; a key rests after an answer that said so."""
    rate = Demand(kind="rate", limit=2, period_ms=1_000, burst=2, path="input.tenant", key="a")
    for number in range(4):
        yield T0 + number, _asks(f"r{number}", T0 + number, rate)
    yield T0 + 600, TimerFired(due_ms=T0 + 500)
    yield T0 + 700, GateLeft(run="r0", ticket="a/1/0", pause_ms=5_000)
    yield T0 + 1_100, TimerFired(due_ms=T0 + 1_000)
    yield T0 + 5_700, TimerFired(due_ms=T0 + 5_700)


def gate_singleton() -> Facts:
    """A newer run takes the place of the one in progress; one that may not wait is refused."""
    for number, (run, mode) in enumerate([("r1", "replace"), ("r2", "replace"), ("r3", "refuse")]):
        yield T0 + number, _asks(run, T0 + number, Demand(kind="slots", limit=1, mode=mode))
    yield T0 + 10, GateLeft(run="r1", ticket="a/1/0")
    yield T0 + 20, GateLeft(run="r2", ticket="a/1/0", heir="r2-next")


def gate_budget() -> Facts:
    """A tenant uses up what it shares; one of another does not; more comes from a person, and with the next period."""

    def of(tenant: str, pays: int = 1) -> tuple[Demand, Demand]:
        each = Demand(
            kind="tokens", limit=100, period_ms=60_000, path="input.tenant", key=tenant, cost=pays
        )
        return each, Demand(kind="usd", limit=1_000, cost=pays)

    start = T0 - T0 % 60_000 + 1_000
    for number, (run, tenant, pays) in enumerate(
        [("r1", "a", 1), ("r2", "a", 1), ("r3", "b", 1), ("r4", "a", 0)]
    ):
        yield start + number, _asks(run, start + number, *of(tenant, pays))
    yield start + 10, GateCharged(run="r1", ticket="a/1/0", spent=(300, 60))
    yield start + 11, GateCharged(run="r1", ticket="a/1/0", spent=(300, 60))
    yield start + 12, GateCharged(run="r4", ticket="a/1/0", spent=(900, 90))  # its parent pays
    yield start + 13, GateCharged(run="r2", ticket="a/1/0", spent=(100, 41))
    yield start + 20, GateLeft(run="r1", ticket="a/1/0", spent=(350, 70))
    yield start + 21, _asks("r5", start + 21, *of("a"))
    yield start + 22, _asks("r6", start + 22, *of("b"))
    yield start + 30, GateRaised(kind="tokens", path="input.tenant", key="a", more=20, by="ada")
    yield start + 31, _asks("r7", start + 31, *of("a"))
    yield start + 40, GateCharged(run="r5", ticket="a/1/0", spent=(0, 30))
    yield start + 41, _asks("r8", start + 41, *of("a"))
    yield start + 59_010, TimerFired(due_ms=start + 59_000)
    yield start + 59_020, GateLeft(run="r5", ticket="a/1/0", heir="r5-next", spent=(0, 40))


SCRIPTS: tuple[Callable[[], Facts], ...] = (
    trigger_schedule, trigger_queue, trigger_replaces, trigger_debounced, trigger_batched, start_fires, start_cancelled,
    gate_slots, gate_rate, gate_singleton, gate_budget,
)  # fmt: skip


def recorded(script: Callable[[], Facts]) -> Lines:
    """The lines of a script's history, as they would be written now."""
    lines = [
        {"about": script.__doc__},
        *(
            {
                "at_ms": at_ms,
                "author": AUTHORS[type(fact)],
                "fact": msgspec.json.decode(encode(fact)),
            }
            for at_ms, fact in script()
        ),
    ]
    return replayed(script.__name__, lines)


def replayed(name: str, lines: Lines) -> Lines:
    """The same history with what the engine makes of it today."""
    entity, state, folding, shown = _begun(name.partition("_")[0])
    said: Lines = [lines[0]]
    for seq, line in enumerate((each for each in lines[1:] if "fact" in each), 1):
        subject = subjects.fact(0, entity, line["author"])
        fact = decode_fact(subject, msgspec.json.encode(line["fact"]))
        event = Event(seq, line["at_ms"], fact)
        state, commands = folding(state, event)
        told = [{type(each).__name__: each} for each in commands]
        kept = {key: line[key] for key in ("at_ms", "author", "fact")}
        said.append({**kept, "commands": msgspec.json.decode(msgspec.json.encode(told))})
    return [*said, {"state": msgspec.json.decode(shown(state))}]


def _begun(kind: str) -> tuple[str, Any, Callable[[Any, Event], Any], Callable[[Any], bytes]]:
    """An entity without facts: its id, its state, what folds one more fact, and how its state is written."""
    if kind == "gate":
        return (
            "gate=task=t",
            Gate("gate=task=t"),
            lambda gate, event: (gate, gate.fold(event)),
            stored.save,
        )
    if kind == "start":
        return "start=r", ScheduledStart("start=r"), fold_start, msgspec.json.encode
    return "trigger=t", TriggerState(entity="trigger=t"), fold, msgspec.json.encode


def read(path: Path) -> Lines:
    """A history's lines."""
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def main() -> None:
    """Record."""
    FOLDER.mkdir(exist_ok=True)
    for script in SCRIPTS:
        path = FOLDER / f"{script.__name__}.jsonl"
        if not path.exists() or script.__name__ in sys.argv[2:]:
            body = b"\n".join(msgspec.json.encode(line) for line in recorded(script))
            path.write_bytes(body + b"\n")


if __name__ == "__main__" and sys.argv[1:2] == ["record"]:
    main()
