"""Who may do what on the wire: one table, data and pure functions. ``accounts`` writes it down for nats-server.

Everybody but schedulers lives in an account of their own, which imports what is listed in ``SERVICES`` and
``STREAMS``. The border matters: a server answers wherever a request says, whatever the asker may publish
to. Inside one account an answer could so be put into any stream; across the border it cannot
(``docs/adr/0034``). What a credential may reach through the border is its list here.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from dagnats.jetstream.documents import encoded
from dagnats.jetstream.plans import blob_stream, kv_stream
from dagnats.wire import subjects

SCHEDULER: Final = "scheduler"
WORKER: Final = "worker"
CLIENT: Final = "client"
API: Final = "api"
ADMIN: Final = "admin"

ROLES: Final = {
    ADMIN: "may do everything: for people who operate the deployment, and for the nats command line",
    SCHEDULER: "advances runs; the only role that writes dispatches, marks, timers and secrets",
    API: "a client that also registers workflows and triggers, and looks after dead letters and limits",
    CLIENT: "starts, reads, signals and cancels runs, answers questions, publishes events",
    WORKER: "takes the tickets of its tasks, and answers them",
}
INSIDE: Final = (ADMIN, SCHEDULER)  # the account that has the streams

STICKY: Final = "sticky"
EXTRAS: Final = {
    CLIENT: "its handlers start runs, send signals, publish events",
    API: "it registers its workflows and triggers when it starts",
    STICKY: "it hands tickets of sticky runs over, and trusts whoever may do so too",
}

INBOX_PREFIX: Final = "_INBOX"

SERVICES: Final = (
    "$JS.API.>",
    "$JS.ACK.>",
    "$KV.>",
    "$O.>",
    "dagnats.fact.>",
    "dagnats.event.>",
    "dagnats.hook.>",
    "dagnats.stream.>",
    "dagnats.dead.>",
    subjects.DESK,
)
STREAMS: Final = ("dagnats.live.>", "dagnats.mark.>")

_READ_BUCKETS: Final = (
    subjects.DEFINITIONS,
    subjects.TASK_CATALOGUE,
    subjects.SNAPSHOTS,
    subjects.CHECKPOINTS,
    subjects.WORKERS,
    subjects.TRIGGERS,
    subjects.BEGINNINGS,
    subjects.TRIGGER_TYPES,
    subjects.SCHEDULED,
    subjects.LEASES,
    subjects.WAITERS,
)
_BLOBS: Final = (f"$O.{subjects.BLOBS}.C.*", f"$O.{subjects.BLOBS}.M.*")


class Queue(Struct, frozen=True):
    """A part of the work queue: the tickets of a task and group."""

    task: str
    group: str = ""


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A credential: its name, public nkey, and what it is for. ``extras`` are keys of ``EXTRAS``."""

    name: str
    role: str
    public: str
    queues: tuple[Queue, ...] = ()
    extras: tuple[str, ...] = ()


class Rights(Struct, frozen=True):
    """Subjects, with wildcards. ``answers``: may answer whoever asks it."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = True


def inbox_of(public: str) -> str:
    """The prefix of a credential's inboxes: nobody else may listen there."""
    return f"{INBOX_PREFIX}.{public}"


def rights_of(grant: Grant, captured: tuple[str, ...] = ()) -> Rights:
    """What the server is told of a credential. ``captured``: subjects of others, which triggers wait for."""
    if grant.role == ADMIN:
        return Rights((">",), (">",))
    if grant.role == SCHEDULER:
        publish, subscribe = _SCHEDULER_PUBLISHES, ("dagnats.>",)
    else:
        publish, subscribe = ("$JS.API.INFO", "$JS.API.STREAM.INFO.*"), ()
        for part in (grant.role, *grant.extras):
            more_publish, more_subscribe = _PARTS[part]
            publish, subscribe = publish + more_publish, subscribe + more_subscribe
        for queue in grant.queues:
            publish += _queue(queue)
        if {CLIENT, API} & {grant.role, *grant.extras}:
            publish += captured
    return Rights(_once(publish), _once((f"{inbox_of(grant.public)}.>", *subscribe)))


def _once(listed: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(listed))


def _read(*streams: str) -> tuple[str, ...]:
    """Reading any message of a stream, from any replica or its leader."""
    return tuple(
        f"$JS.API.{what}.{stream}"
        for stream in streams
        for what in ("DIRECT.GET", "STREAM.MSG.GET")
    )


def _queue(queue: Queue) -> tuple[str, ...]:
    """One consumer of the work queue: the server holds its making to the filter that the subject names."""
    consumer = f"{subjects.TASKS}.{subjects.worker_consumer(queue.task, queue.group)}"
    return (
        f"$JS.API.CONSUMER.CREATE.{consumer}.{subjects.queue(queue.task, queue.group)}",
        f"$JS.API.CONSUMER.INFO.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{consumer}",
        f"$JS.ACK.{consumer}.>",
        f"$KV.{subjects.TASK_CATALOGUE}.{encoded(subjects.token(queue.task))}",
    )


_SCHEDULER_PUBLISHES: Final = (
    "dagnats.>",
    "$KV.>",
    "$O.>",
    "$JS.ACK.>",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.CREATE.*",
    "$JS.API.STREAM.UPDATE.*",
    "$JS.API.STREAM.DELETE.DAGNATS_PROBE",
    "$JS.API.STREAM.PURGE.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.STREAM.MSG.DELETE.*",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.>",
)

_CLIENT: Final = (
    "dagnats.fact.*.*.client",
    "dagnats.fact.*.*.signal.*",
    "dagnats.fact.*.*.trigger",  # scheduled starts are entities with that author
    "dagnats.event.*",
    "dagnats.ask.*",
    f"$KV.{subjects.SCHEDULED}.*",
    f"$JS.API.CONSUMER.INFO.{subjects.TASKS}.*",
    *_BLOBS,
    *_read(
        subjects.EVENTS,
        subjects.ARCHIVE,
        subjects.ARCHIVED,
        subjects.STREAMS,
        subjects.INBOX,
        subjects.DEAD,
        blob_stream(),
    ),
    *_read(*map(kv_stream, _READ_BUCKETS)),
)
_API: Final = (
    *_CLIENT,
    "dagnats.fact.*.*.gate",
    "dagnats.hook.>",
    "dagnats.dead.>",
    f"$KV.{subjects.DEFINITIONS}.>",
    f"$KV.{subjects.TASK_CATALOGUE}.>",
    f"$KV.{subjects.TRIGGERS}.>",
    f"$KV.{subjects.TRIGGER_TYPES}.>",
    f"$KV.{subjects.DISCARDED}.>",
    f"$KV.{subjects.REPLAYS}.>",
    f"$JS.API.STREAM.MSG.DELETE.{subjects.DEAD}",
    f"$JS.API.CONSUMER.LIST.{subjects.TASKS}",
    f"$JS.API.CONSUMER.LIST.{subjects.EVENTS}",
    *_read(subjects.HOOKS),
    *_read(*map(kv_stream, (subjects.DISCARDED, subjects.REPLAYS, subjects.CONTROL))),
)
_WORKER: Final = (
    "dagnats.fact.*.*.worker",
    "dagnats.stream.*.*.*",
    "dagnats.live.run.*",
    subjects.DESK,
    f"$KV.{subjects.WORKERS}.>",
    f"$KV.{subjects.CHECKPOINTS}.*.*",
    *_BLOBS,
    f"$JS.API.STREAM.MSG.GET.{subjects.STREAMS}",
    *_read(blob_stream(), kv_stream(subjects.CHECKPOINTS), kv_stream(subjects.TASK_CATALOGUE)),
)
_HANDOVER: Final = "dagnats.live.handover.>"

_PARTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    CLIENT: (_CLIENT, ("dagnats.live.run.*", "dagnats.live.approval", "dagnats.mark.>")),
    API: (_API, ("dagnats.live.run.*", "dagnats.live.approval", "dagnats.mark.>")),
    WORKER: (_WORKER, (subjects.CANCELLED, subjects.ASK, "dagnats.live.settled.*")),
    STICKY: ((_HANDOVER,), (_HANDOVER,)),
}
