"""What a server says about itself and about a deployment's streams; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from dagnats.clock import Clock
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.link import Link, max_payload
from dagnats.wire import subjects

_WORKER: Final = "worker+"
_SCHEDULER: Final = "scheduler-"
STREAM_NOT_FOUND: Final = 10059


class Server(Struct, frozen=True, kw_only=True):
    """The server and the account. Limits are bytes; -1 is none. ``ahead_ms``: its clock minus ours."""

    version: str
    name: str
    url: str
    stored: int
    stored_max: int
    message_max: int
    streams: int
    ahead_ms: int
    round_trip_ms: float


class Queue(Struct, frozen=True, kw_only=True):
    """One task's and group's part of the work queue. ``pulls``: requests of workers that wait for work."""

    task: str
    group: str
    waiting: int
    taken: int
    pulls: int


class Storage(Struct, frozen=True, kw_only=True):
    """What the streams hold. ``unserved``: tickets of tasks that no worker has ever asked for."""

    queues: list[Queue]
    unserved: int
    dead: int


class StreamState(Struct, frozen=True, kw_only=True):
    """One stream. ``stored_max``: -1 is none. ``behind``: servers that should have its messages and do not.

    ``source_lag``: messages that it has still to copy from the stream that it sources.
    """

    name: str
    stored: int
    stored_max: int
    replicas: int
    behind: tuple[str, ...]
    source_lag: int


class Feed(Struct, frozen=True, kw_only=True):
    """A partition's facts: how many nobody has read, and how many are being worked on."""

    partition: int
    waiting: int
    taken: int


async def server(link: Link, clock: Clock) -> Server:
    """Ask the server about itself.

    Raises:
        OutsideError: it does not answer, or has no streams of DagNats.
    """
    account = await link.api("INFO")
    info: dict[str, Any] = link.client._server_info
    began = clock.monotonic_ms()
    sent = clock.wall_ms()
    stream = await link.api(f"STREAM.INFO.{subjects.EVENTS}")
    took = clock.monotonic_ms() - began
    theirs = datetime.fromisoformat(str(stream["ts"]))
    return Server(
        version=str(info.get("version", "")),
        name=str(info.get("server_name", "")),
        url=link.url,
        stored=int(account.get("storage", 0)),
        stored_max=int((account.get("limits") or {}).get("max_storage", -1)),
        message_max=max_payload(link),
        streams=int(account.get("streams", 0)),
        ahead_ms=round(theirs.timestamp() * 1000 - (sent + took / 2)),
        round_trip_ms=round(took, 2),
    )


async def storage(link: Link) -> Storage:
    """Count what waits in the work queue, and the dead letters.

    Raises:
        OutsideError: the server does not answer.
    """
    queues = [_queue(consumer) for consumer in await _consumers(link, subjects.TASKS)]
    tasks = (await link.api(f"STREAM.INFO.{subjects.TASKS}"))["state"]
    dead = (await link.api(f"STREAM.INFO.{subjects.DEAD}"))["state"]
    known = sum(queue.waiting + queue.taken for queue in queues)
    return Storage(
        queues=queues, unserved=max(0, int(tasks["messages"]) - known), dead=int(dead["messages"])
    )


async def streams(link: Link, names: Sequence[str]) -> list[StreamState]:
    """The state of those streams that there are.

    Raises:
        OutsideError: the server does not answer.
    """
    found: list[StreamState] = []
    for name in names:
        try:
            found.append(_state(await link.api(f"STREAM.INFO.{name}")))
        except ApiError as refused:
            if refused.code != STREAM_NOT_FOUND:
                raise
    return found


def _state(info: dict[str, Any]) -> StreamState:
    config, cluster = info["config"], info.get("cluster") or {}
    return StreamState(
        name=str(config["name"]),
        stored=int(info["state"]["bytes"]),
        stored_max=int(config.get("max_bytes", -1)),
        replicas=int(config.get("num_replicas", 1)),
        behind=tuple(
            str(each["name"])
            for each in cluster.get("replicas") or ()
            if each.get("offline") or not each.get("current")
        ),
        source_lag=sum(int(each.get("lag", 0)) for each in info.get("sources") or ()),
    )


async def feeds(link: Link) -> list[Feed]:
    """How far schedulers are, by partition.

    Raises:
        OutsideError: the server does not answer.
    """
    return sorted(
        (
            Feed(
                partition=int(number),
                waiting=int(consumer.get("num_pending", 0)),
                taken=int(consumer.get("num_ack_pending", 0)),
            )
            for consumer in await _consumers(link, subjects.EVENTS)
            if (number := str(consumer["name"]).removeprefix(_SCHEDULER)).isdecimal()
        ),
        key=lambda feed: feed.partition,
    )


async def _consumers(link: Link, stream: str) -> list[dict[str, Any]]:
    """Every consumer of a stream; the server tells them in pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = await link.api(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        more = page.get("consumers") or []
        found += more
        if not more or len(found) >= int(page.get("total", 0)):
            return found


def _queue(consumer: dict[str, Any]) -> Queue:
    task, _, group = str(consumer["name"]).removeprefix(_WORKER).replace("=", "%").partition("+")
    return Queue(
        task=subjects.name_of(task),
        group="" if group == subjects.DEFAULT_GROUP else subjects.name_of(group),
        waiting=int(consumer.get("num_pending", 0)),
        taken=int(consumer.get("num_ack_pending", 0)),
        pulls=int(consumer.get("num_waiting", 0)),
    )
