"""What a server says about itself and about a deployment's streams; nothing is changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from dagnats.clock import Clock
from dagnats.jetstream.link import Link, max_payload
from dagnats.wire import subjects

_WORKER: Final = "worker+"


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
    queues: list[Queue] = []
    while True:
        page = await link.api(f"CONSUMER.LIST.{subjects.TASKS}", {"offset": len(queues)})
        found = page.get("consumers") or []
        queues += [_queue(consumer) for consumer in found]
        if not found or len(queues) >= int(page.get("total", 0)):
            break
    tasks = (await link.api(f"STREAM.INFO.{subjects.TASKS}"))["state"]
    dead = (await link.api(f"STREAM.INFO.{subjects.DEAD}"))["state"]
    known = sum(queue.waiting + queue.taken for queue in queues)
    return Storage(
        queues=queues, unserved=max(0, int(tasks["messages"]) - known), dead=int(dead["messages"])
    )


def _queue(consumer: dict[str, Any]) -> Queue:
    task, _, group = str(consumer["name"]).removeprefix(_WORKER).replace("=", "%").partition("+")
    return Queue(
        task=subjects.name_of(task),
        group="" if group == subjects.DEFAULT_GROUP else subjects.name_of(group),
        waiting=int(consumer.get("num_pending", 0)),
        taken=int(consumer.get("num_ack_pending", 0)),
        pulls=int(consumer.get("num_waiting", 0)),
    )
