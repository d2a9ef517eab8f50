"""Golden logs of triggers and scheduled starts: their facts as they are on the wire, and what came of each.

``python -m tests.support.entity_histories record [NAME…]`` writes those that are not there yet, and those named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from dagnats.core.events import (
    AUTHORS,
    ChildClosed,
    Event,
    Fact,
    StartCancelled,
    StartScheduled,
    TimerFired,
    TriggerFired,
    TriggerSet,
)
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


SCRIPTS: tuple[Callable[[], Facts], ...] = (
    trigger_schedule, trigger_queue, trigger_replaces, start_fires, start_cancelled,
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
    starts = name.startswith("start_")
    entity = "start=r" if starts else "trigger=t"
    state: Any = ScheduledStart(entity) if starts else TriggerState(entity=entity)
    said: Lines = [lines[0]]
    for seq, line in enumerate((each for each in lines[1:] if "fact" in each), 1):
        subject = subjects.fact(0, entity, line["author"])
        fact = decode_fact(subject, msgspec.json.encode(line["fact"]))
        event = Event(seq, line["at_ms"], fact)
        folding: Any = fold_start if starts else fold
        state, commands = folding(state, event)
        told = [{type(each).__name__: each} for each in commands]
        kept = {key: line[key] for key in ("at_ms", "author", "fact")}
        said.append({**kept, "commands": msgspec.json.decode(msgspec.json.encode(told))})
    return [*said, {"state": msgspec.json.decode(msgspec.json.encode(state))}]


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
