"""What every stream of a deployment should look like: data, no I/O."""

from __future__ import annotations

from typing import Any, Final

from dagnats.limits import (
    CONSUMERS_MAX,
    DEAD_AGE_MS,
    DEAD_DUPLICATE_WINDOW_MS,
    DISCARDED_AGE_MS,
    DUPLICATE_WINDOW_MS,
    DURATION_MAX_MS,
    EVENTS_AGE_MS,
    HOOKS_AGE_MS,
    RETENTION_MS,
    STREAM_TOKENS_AGE_MS,
    WORKER_EXPIRES_MS,
)
from dagnats.wire import subjects

PARTITIONS_KEY: Final = "dagnats.partitions"
LIMIT_KEYS: Final = (
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_consumers",
)
UNLIMITED: Final = -1

_BUCKET_AGES_MS: Final = {
    subjects.DEFINITIONS: 0,
    subjects.TASK_CATALOGUE: 0,
    subjects.SNAPSHOTS: DURATION_MAX_MS,
    subjects.CHECKPOINTS: DURATION_MAX_MS,
    subjects.WORKERS: WORKER_EXPIRES_MS,
    subjects.TRIGGERS: 0,
    subjects.TRIGGER_TYPES: 0,
    subjects.BEGINNINGS: 0,
    subjects.SCHEDULED: DURATION_MAX_MS + DEAD_AGE_MS,
    subjects.LEASES: 0,
    subjects.SECRETS: 0,
    subjects.WAITERS: DURATION_MAX_MS,
    subjects.CONTROL: 0,
    subjects.DISCARDED: DISCARDED_AGE_MS,
    subjects.REPLAYS: DEAD_AGE_MS,
}
# Where rollups are allowed, whoever may write one key can purge them all with a header.
_WRITTEN_BY_WORKERS: Final = (subjects.TASK_CATALOGUE, subjects.CHECKPOINTS, subjects.WORKERS)
# Arming a timer again must reach the server; an id may be known, and its timer replaced.
_REARM_NS: Final = 100_000_000
_BLOB_SUBJECTS: Final = (f"$O.{subjects.BLOBS}.C.>", f"$O.{subjects.BLOBS}.M.>")
_BLOBS_AGE_MS: Final = 2 * RETENTION_MS

# Parts of an account's storage, in thousandths; what is left over is for blobs and other streams.
_SHARES: Final = {
    subjects.EVENTS: 280,
    subjects.ARCHIVE: 100,
    subjects.ARCHIVED: 20,
    subjects.TASKS: 160,
    subjects.TIMERS: 50,
    subjects.STREAMS: 50,
    subjects.DEAD: 50,
    subjects.INBOX: 40,
    subjects.HOOKS: 40,
}
_BUCKET_SHARE: Final = 8
_BLOBS_SHARE: Final = 90


def kv_stream(bucket: str) -> str:
    """The stream behind a bucket."""
    return f"KV_{bucket}"


def blob_stream() -> str:
    """The stream behind the object store."""
    return f"OBJ_{subjects.BLOBS}"


def plans(
    partitions: int, replicas: int, storage_bytes: int, *, all_bounded: bool = False
) -> list[dict[str, Any]]:
    """Every stream's configuration, in the order of making: sources before what sources them.

    ``storage_bytes`` is what the account may store, or ``UNLIMITED``; then streams have no byte
    limit of their own, so that the server's whole store is open to whichever needs it.

    Timers have none anyway: at it the server would forget the oldest, since a stream with schedules
    cannot refuse the newest. ``all_bounded``: the account takes no stream without one.
    """
    made = [
        _stream(subjects.TIMERS, subjects.TIMERS_SUBJECTS, allow_msg_schedules=True,
                allow_msg_ttl=True, allow_rollup_hdrs=True, duplicate_window=_REARM_NS),
        _stream(subjects.EVENTS, subjects.EVENTS_SUBJECTS, discard="new",
                sources=[_source(subjects.TIMERS, subjects.DUE_SOURCE)],
                metadata={PARTITIONS_KEY: str(partitions)}),
        _stream(subjects.TASKS, (), retention="workqueue", discard="new",
                sources=[_source(subjects.EVENTS, subjects.QUEUE_SOURCE)]),
        _stream(subjects.STREAMS, subjects.STREAMS_SUBJECTS, STREAM_TOKENS_AGE_MS),
        _stream(subjects.DEAD, subjects.DEAD_SUBJECTS, DEAD_AGE_MS,
                duplicate_window=DEAD_DUPLICATE_WINDOW_MS * 1_000_000),
        _stream(subjects.INBOX, subjects.INBOX_SUBJECTS, EVENTS_AGE_MS),
        _stream(subjects.HOOKS, subjects.HOOKS_SUBJECTS, HOOKS_AGE_MS),
        _stream(subjects.ARCHIVE, subjects.ARCHIVE_SUBJECTS, RETENTION_MS),
        _stream(subjects.ARCHIVED, subjects.ARCHIVED_SUBJECTS, RETENTION_MS),
        *(_bucket(name, age_ms) for name, age_ms in _BUCKET_AGES_MS.items()),
        _stream(blob_stream(), _BLOB_SUBJECTS, _BLOBS_AGE_MS,
                discard="new"),
    ]  # fmt: skip
    for plan in made:
        plan["num_replicas"] = replicas
        bounded = all_bounded or plan["name"] != subjects.TIMERS
        plan["max_bytes"] = _share(plan["name"], storage_bytes) if bounded else UNLIMITED
    return made


def _share(name: str, storage_bytes: int) -> int:
    if storage_bytes <= 0:
        return UNLIMITED
    default = _BLOBS_SHARE if name == blob_stream() else _BUCKET_SHARE
    return storage_bytes * _SHARES.get(name, default) // 1000


def _stream(name: str, on: tuple[str, ...], age_ms: int = 0, **more: Any) -> dict[str, Any]:
    duplicates_ms = min(DUPLICATE_WINDOW_MS, age_ms or DUPLICATE_WINDOW_MS)
    plan: dict[str, Any] = {
        "name": name, "storage": "file", "retention": "limits", "discard": "old",
        "max_age": age_ms * 1_000_000, "max_msgs": UNLIMITED, "max_msg_size": UNLIMITED,
        "max_msgs_per_subject": UNLIMITED, "max_consumers": CONSUMERS_MAX, "allow_direct": True,
        "duplicate_window": duplicates_ms * 1_000_000, **more,
    }  # fmt: skip
    if on:
        plan["subjects"] = list(on)
    return plan


def _bucket(name: str, age_ms: int) -> dict[str, Any]:
    return _stream(
        kv_stream(name), (f"$KV.{name}.>",), age_ms,
        max_msgs_per_subject=1, discard="new", deny_delete=True,
        **({} if name in _WRITTEN_BY_WORKERS else {"allow_rollup_hdrs": True}),
    )  # fmt: skip


def _source(stream: str, transform: tuple[str, str]) -> dict[str, Any]:
    return {
        "name": stream,
        "subject_transforms": [{"src": transform[0], "dest": transform[1]}],
    }
