"""Every subject, stream, bucket, consumer and header name, in one place.

Names of tasks, groups and steps become one subject token each by percent-encoding, so that different
names never share a queue. Run ids need no encoding: ``ids.checked_run_id`` admits only token characters.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from dagnats.limits import ARCHIVE_PLACES

# -- streams ---------------------------------------------------------------------------------------
EVENTS: Final = "DAGNATS_EVENTS"
TASKS: Final = "DAGNATS_TASKS"
TIMERS: Final = "DAGNATS_TIMERS"
STREAMS: Final = "DAGNATS_STREAMS"
DEAD: Final = "DAGNATS_DEAD"
INBOX: Final = "DAGNATS_INBOX"
HOOKS: Final = "DAGNATS_HOOKS"
ARCHIVE: Final = "DAGNATS_ARCHIVE"
ARCHIVED: Final = "DAGNATS_ARCHIVED"

# -- buckets ---------------------------------------------------------------------------------------
DEFINITIONS: Final = "dagnats_definitions"
TASK_CATALOGUE: Final = "dagnats_tasks"
SNAPSHOTS: Final = "dagnats_snapshots"
CHECKPOINTS: Final = "dagnats_checkpoints"
WORKERS: Final = "dagnats_workers"
TRIGGERS: Final = "dagnats_triggers"
SCHEDULED: Final = "dagnats_scheduled"
BEGINNINGS: Final = "dagnats_beginnings"
TRIGGER_TYPES: Final = "dagnats_trigger_types"
LEASES: Final = "dagnats_leases"
SECRETS: Final = "dagnats_secrets"
DISCARDED: Final = "dagnats_discarded"
REPLAYS: Final = "dagnats_replays"
BLOBS: Final = "dagnats_blobs"
WAITERS: Final = "dagnats_waiters"
CONTROL: Final = "dagnats_control"

TREE_PREFIX: Final = "tree."  # keys of that bucket: what a tree of runs has used up, by its root

# -- headers ---------------------------------------------------------------------------------------
MSG_ID: Final = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
SCHEDULE_TTL: Final = "Nats-Schedule-TTL"
DLQ_PREFIX: Final = "Dagnats-Dlq-"

# -- failures of dead letters that are no work --------------------------------------------------------
POISON: Final = "poison"  # a message that could not be folded
TOO_LARGE: Final = "too_large"  # the beginning of a message that the server did not take

# -- wildcards -------------------------------------------------------------------------------------
DISPATCHES: Final = "dagnats.task."
EVENTS_SUBJECTS: Final = ("dagnats.fact.>", "dagnats.task.>", "dagnats.mark.>")
TIMERS_SUBJECTS: Final = ("dagnats.timer.>", "dagnats.cron.>", "dagnats.due.>")
STREAMS_SUBJECTS: Final = ("dagnats.stream.>",)
DEAD_PREFIX: Final = "dagnats.dead."
DEAD_SUBJECTS: Final = ("dagnats.dead.>",)
INBOX_SUBJECTS: Final = ("dagnats.event.>",)
HOOKS_SUBJECTS: Final = ("dagnats.hook.>",)  # and what triggers wait for
ARCHIVE_SUBJECTS: Final = ("dagnats.archive.>",)  # histories
ARCHIVED_SUBJECTS: Final = ("dagnats.archived.>",)  # a record of each
DUE_SOURCE: Final = ("dagnats.due.*.*", "dagnats.fact.{{wildcard(1)}}.{{wildcard(2)}}.timer")
QUEUE_SOURCE: Final = (
    "dagnats.task.*.*.*.*",
    "dagnats.queue.{{wildcard(3)}}.{{wildcard(4)}}.{{wildcard(2)}}",
)
STARTS: Final = "dagnats.fact.*.*.client"
GATES: Final = "dagnats.fact.*.*.gate"
CANCELLED: Final = "dagnats.live.cancelled"
ASK: Final = "dagnats.ask.*"
DESK: Final = "dagnats.desk"  # where workers that may not read the log ask schedulers

APPROVALS: Final = "dagnats.live.approval"  # where questions go that name no subject
EVENTS_INBOX: Final = "dagnats.event.>"
EVERYTHING: Final = ">"

DEFAULT_GROUP: Final = "_"

_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


@functools.lru_cache(maxsize=4_096)
def token(name: str) -> str:
    """A name as one subject token; injective. ``git.fetch`` is ``git%2Efetch``, ``ä`` is ``%C3%A4``."""
    if _PLAIN.match(name):
        return name if name != DEFAULT_GROUP else "%5F"
    return "".join(
        char
        if char.isascii() and (char.isalnum() or char in "_-")
        else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in name
    )


def name_of(text: str) -> str:
    """The name that a token stands for."""
    if "%" not in text:
        return text
    raw = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return raw.decode()


def group_token(group: str) -> str:
    """The token of a worker group; the empty group is ``_``, which no named group can be."""
    return token(group) if group else DEFAULT_GROUP


@functools.lru_cache(maxsize=8_192)
def partition_of(run: str, partitions: int) -> int:
    """``fnv1a32(run) % partitions``: the same as the server's ``partition()`` mapping.

    Source: Fowler, Noll and Vo, FNV-1a, 32 bits.
    """
    value = 0x811C9DC5
    for byte in run.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % partitions


def covers(wider: str, narrower: str) -> bool:
    """Whether every subject that the second filter takes is taken by the first one."""
    wide, narrow = wider.split("."), narrower.split(".")
    for position, wanted in enumerate(wide):
        if wanted == ">":
            return len(narrow) > position
        if position >= len(narrow) or narrow[position] == ">":
            return False
        if wanted not in ("*", narrow[position]):
            return False
    return len(wide) == len(narrow)


# -- the log ---------------------------------------------------------------------------------------


def fact(partition: int, run: str, author: str) -> str:
    """Where an author's facts about a run go."""
    return f"dagnats.fact.{partition}.{run}.{author}"


def facts_of_partition(partition: int) -> str:
    """All facts that the owner of a partition folds."""
    return f"dagnats.fact.{partition}.>"


def task(partition: int, run: str, name: str, group: str) -> str:
    """Where a dispatch goes; the server copies it into the work queue."""
    return f"dagnats.task.{partition}.{run}.{token(name)}.{group_token(group)}"


def mark(partition: int, run: str, what: str) -> str:
    """Where a decision worth keeping goes."""
    return f"dagnats.mark.{partition}.{run}.{what}"


def asked(run: str) -> str:
    """The marks of questions of a run; ``*`` for all runs."""
    return f"dagnats.mark.*.{run}.asked"


def marks_of_run(partition: int, run: str) -> str:
    """All marks of a run, for waiters (core NATS)."""
    return f"dagnats.mark.{partition}.{run}.>"


def facts_of_run(partition: int, run: str) -> str:
    """All facts of a run, whoever tells them."""
    return f"dagnats.fact.{partition}.{run}.>"


def history(partition: int, run: str) -> str:
    """A run's whole history: facts, dispatches and marks."""
    return f"dagnats.*.{partition}.{run}.>"


def fires(partition: str | int, entity: str) -> str:
    """The marks of what became of a trigger's fires."""
    return f"dagnats.mark.{partition}.{entity}.fired"


# -- beside the log --------------------------------------------------------------------------------


def timer(partition: int, run: str) -> str:
    """The run's one timer."""
    return f"dagnats.timer.{partition}.{run}"


def due(partition: int, run: str) -> str:
    """Where the server puts the timer when it is due."""
    return f"dagnats.due.{partition}.{run}"


def cron(trigger: str) -> str:
    """The next instant of a trigger's schedule."""
    return f"dagnats.cron.{token(trigger)}"


def queue(name: str, group: str) -> str:
    """The part of the work queue that workers of a task and group pull from."""
    return f"dagnats.queue.{token(name)}.{group_token(group)}.*"


def queue_of_run(run: str) -> str:
    """All waiting tickets of a run."""
    return f"dagnats.queue.*.*.{run}"


def dead(task_name: str, run: str, step: str) -> str:
    """Where work that was given up is kept."""
    return f"dagnats.dead.{token(task_name)}.{run}.{token(step)}"


def dead_letters(task_name: str = "", run: str = "") -> str:
    """All dead letters, or those of a task, a run, or both."""
    if not (task_name or run):
        return DEAD_SUBJECTS[0]
    return f"dagnats.dead.{token(task_name) if task_name else '*'}.{run or '*'}.*"


def parts_of_dead(subject: str) -> tuple[str, str]:
    """The task and the run of a dead letter's subject, as far as it has them: anybody may publish there."""
    task_token, _, rest = subject.removeprefix(DEAD_PREFIX).partition(".")
    try:
        return name_of(task_token), rest.partition(".")[0]
    except UnicodeDecodeError:
        return task_token, rest.partition(".")[0]


def stream(run: str, step: str, execution: str) -> str:
    """The token stream of one execution of a step."""
    return f"dagnats.stream.{run}.{token(step)}.{token(execution)}"


def stream_of_run(run: str, step: str = "") -> str:
    """All token streams of a run, or of one of its steps."""
    return f"dagnats.stream.{run}.{token(step)}.*" if step else f"dagnats.stream.{run}.>"


def live(run: str) -> str:
    """Live notices about a run (core NATS): started, progress, heartbeats."""
    return f"dagnats.live.run.{run}"


def settled(worker: str) -> str:
    """Where a worker hears that durable calls of its handlers are settled (core NATS)."""
    return f"dagnats.live.settled.{token(worker)}"


def signal(partition: int, run: str, name: str) -> str:
    """Where anybody sends a run a signal."""
    return f"dagnats.fact.{partition}.{run}.signal.{token(name)}"


def inbox(name: str) -> str:
    """Where anybody publishes an external event."""
    return f"dagnats.event.{token(name)}"


def event_of(subject: str) -> str:
    """The external event that a subject of the inbox is about."""
    return name_of(subject.removeprefix("dagnats.event."))


def ask(run: str) -> str:
    """Where workers are asked what they are running for a run (core request, many answers)."""
    return f"dagnats.ask.{run}"


def handover(worker: str) -> str:
    """Where a worker is offered tickets of runs that are bound to its name (core request)."""
    return f"dagnats.live.handover.{token(worker)}"


def handover_to(worker: str, process: str) -> str:
    """Where one process of that name is given what it agreed to take (core NATS)."""
    return f"dagnats.live.handover.{token(worker)}.{process}"


def archive(partition: int) -> str:
    """Where the histories of a partition's finished runs go; they are found by their sequence."""
    return f"dagnats.archive.{partition}"


def archived(run: str) -> str:
    """Where the record of a finished run is, among a few others: a subject for each would cost memory."""
    return f"dagnats.archived.{partition_of(run, ARCHIVE_PLACES)}"


def closings(partition: int) -> str:
    """The marks of how a partition's runs ended."""
    return f"dagnats.mark.{partition}.*.closed"


def endings(partition: int) -> str:
    """The marks of triggers and scheduled starts of a partition that are no more."""
    return f"dagnats.mark.{partition}.*.ended"


# -- consumers -------------------------------------------------------------------------------------


def scheduler_consumer(partition: int) -> str:
    """The durable consumer of a partition's facts."""
    return f"scheduler-{partition}"


def worker_consumer(name: str, group: str) -> str:
    """The durable consumer of a task and group. Consumer names may not hold ``%``: ``=`` stands for it.

    The two tokens are joined by ``.``-free ``+``, which no token holds, so the pair maps one to one.
    """
    return f"worker+{token(name)}+{group_token(group)}".replace("%", "=")
