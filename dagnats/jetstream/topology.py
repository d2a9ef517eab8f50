"""Making a deployment's streams, or changing them in place, as often and by as many as like."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from msgspec import Struct

from dagnats.errors import BrokerUnsuitable
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.link import Link
from dagnats.jetstream.plans import LIMIT_KEYS, PARTITIONS_KEY, UNLIMITED, plans
from dagnats.limits import PARTITIONS_DEFAULT, PARTITIONS_MAX, STORE_SIZE_MIN_BYTES
from dagnats.wire import subjects

log = logging.getLogger("dagnats.nats")

_PROBE: Final = "DAGNATS_PROBE"
_LIMITS_KEY: Final = (
    "dagnats.limits"  # the limits we set last: what differs from it is the operator's
)
_NOT_FOUND: Final = 10059
_NO_ROOM: Final = frozenset({10028, 10047, 10023})
_ATTEMPTS: Final = 5
_RETRY_S: Final = 0.05


class Topology(Struct, frozen=True):
    """What a deployment's streams say about it."""

    partitions: int


class Room(Struct, frozen=True):
    """What an account may store, or ``UNLIMITED``; and whether each of its streams must have a limit of its own."""

    storage_bytes: int
    all_bounded: bool


async def ensure(link: Link, *, partitions: int | None = None, replicas: int = 1) -> Topology:
    """Make every stream, bucket and object store that is missing; bring the others up to date.

    An existing deployment's partition count stays. What an operator set beyond our limits stays.

    Raises:
        BrokerUnsuitable: another partition count was asked for, or the server has no room.
    """
    if partitions is not None and not 1 <= partitions <= PARTITIONS_MAX:
        raise BrokerUnsuitable(f"{partitions} partitions were asked for; use 1 to {PARTITIONS_MAX}")
    found = await _info(link, subjects.EVENTS)
    if found is None:
        await _probe_room(link)
    count = _agreed(found, partitions)
    room = await _room(link)
    for plan in plans(count, replicas, room.storage_bytes, all_bounded=room.all_bounded):
        made = await _ensure_stream(link, plan)
        if plan["name"] == subjects.EVENTS:
            actual = _partitions_of(made)
            if actual != count:  # somebody else made it a moment earlier
                count = _agreed(made, partitions)
    return Topology(count)


async def existing(link: Link) -> Topology | None:
    """What is there, without changing anything."""
    found = await _info(link, subjects.EVENTS)
    partitions = _partitions_of(found) if found else None
    return Topology(partitions) if partitions else None


async def differences(link: Link, partitions: int) -> dict[str, str]:
    """Streams that ``ensure`` would touch: their names, with "missing" or "out of date"."""
    room = await _room(link)
    found: dict[str, str] = {}
    for plan in plans(partitions, 1, room.storage_bytes, all_bounded=room.all_bounded):
        there = await _info(link, plan["name"])
        if there is None:
            found[plan["name"]] = "missing"
        elif merged(plan, there) != there:
            found[plan["name"]] = "out of date"
    return found


def _agreed(found: dict[str, Any] | None, asked: int | None) -> int:
    there = _partitions_of(found) if found else None
    if there is None:
        return asked or PARTITIONS_DEFAULT
    if asked is not None and asked != there:
        raise BrokerUnsuitable(
            f"this deployment has {there} partitions and cannot be changed to {asked}: runs are "
            "placed by that number. Leave the setting out, or use another account"
        )
    return there


def _partitions_of(config: dict[str, Any]) -> int | None:
    text = (config.get("metadata") or {}).get(PARTITIONS_KEY, "")
    return int(text) if text.isdigit() and int(text) else None


async def _info(link: Link, stream: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = (await link.api(f"STREAM.INFO.{stream}"))["config"]
    except ApiError as refused:
        if refused.code == _NOT_FOUND:
            return None
        raise
    return found


async def _room(link: Link) -> Room:
    """What the account may store.

    Raises:
        BrokerUnsuitable: it is less than DagNats needs.
    """
    info = await link.api("INFO")
    limits = info.get("limits") or {}
    tiers = [tier.get("limits") or {} for tier in (info.get("tiers") or {}).values()]
    stated = [int(part.get("max_storage", UNLIMITED)) for part in (limits, *tiers)]
    bounded = [size for size in stated if size > 0]
    all_bounded = any(part.get("max_bytes_required") for part in (limits, *tiers))
    limit = min(bounded, default=UNLIMITED)
    if 0 < limit < STORE_SIZE_MIN_BYTES:
        raise _too_small(link, f"allows this account {limit} bytes of JetStream storage")
    return Room(limit, all_bounded)


async def _probe_room(link: Link) -> None:
    """The server's own limit is in no answer; ask for a stream of the size needed, and see.

    Raises:
        BrokerUnsuitable: there is no room for it.
    """
    try:
        await link.api(
            f"STREAM.CREATE.{_PROBE}", {"name": _PROBE, "max_bytes": STORE_SIZE_MIN_BYTES}
        )
        await link.api(f"STREAM.DELETE.{_PROBE}")
    except ApiError as refused:
        if refused.code in _NO_ROOM:
            raise _too_small(link, f"has no room for JetStream ({refused.description})") from None
        log.debug("probing for room: %s", refused)  # another process does the same just now


def _too_small(link: Link, what: str) -> BrokerUnsuitable:
    return BrokerUnsuitable(
        f"the NATS server at {link.url} {what}; DagNats needs {STORE_SIZE_MIN_BYTES}: raise "
        "max_file_store in its configuration or free some disk"
    )


async def _ensure_stream(link: Link, plan: dict[str, Any]) -> dict[str, Any]:
    """Make or change one stream; returns its configuration. Races end in another look."""
    name = plan["name"]
    problem: ApiError | None = None
    for _ in range(_ATTEMPTS):
        found = await _info(link, name)
        wanted = merged(plan, found)
        if wanted == found:
            return wanted
        try:
            verb = "CREATE" if found is None else "UPDATE"
            answer: dict[str, Any] = (await link.api(f"STREAM.{verb}.{name}", wanted))["config"]
            return answer
        except ApiError as refused:
            if refused.code in _NO_ROOM:
                raise _too_small(link, f"has no room for {name} ({refused.description})") from None
            problem = refused
            await asyncio.sleep(_RETRY_S)
    raise _unsuitable(name, problem)


def _unsuitable(name: str, problem: ApiError | None) -> BrokerUnsuitable:
    why = problem.description if problem else "it keeps changing"
    return BrokerUnsuitable(
        f"stream {name} cannot be brought into the form DagNats needs: {why}; look at it with "
        f"`nats stream info {name}`"
    )


def merged(plan: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any]:
    """The configuration to ask for: ours, with what an operator changed left as it is."""
    ours = {key: plan[key] for key in LIMIT_KEYS if key in plan}
    note = {_LIMITS_KEY: json.dumps(ours, sort_keys=True)}
    if found is None:
        return {**plan, "metadata": {**plan.get("metadata", {}), **note}}
    before = _limits_before(found)
    wanted = {**found, **plan}
    for key, value in ours.items():
        current = found.get(key, value)
        if current != before.get(key, value) or _kept_open(key, current, value):
            wanted[key] = current
    if wanted.get(
        "max_age"
    ):  # an operator's may be shorter than our window; the server wants it longer
        wanted["duplicate_window"] = min(wanted["duplicate_window"], wanted["max_age"])
    if plan["name"] == subjects.HOOKS:  # triggers add what they wait for
        added = [one for one in found.get("subjects", ()) if one not in plan["subjects"]]
        wanted["subjects"] = [*plan["subjects"], *added]
    wanted["num_replicas"] = max(int(found.get("num_replicas", 1)), int(plan["num_replicas"]))
    wanted["storage"], wanted["retention"] = found["storage"], found["retention"]
    wanted["metadata"] = {**plan.get("metadata", {}), **(found.get("metadata") or {}), **note}
    return wanted


def _limits_before(found: dict[str, Any]) -> dict[str, Any]:
    try:
        before = json.loads((found.get("metadata") or {}).get(_LIMITS_KEY, "{}"))
    except ValueError:
        before = {}
    return before if isinstance(before, dict) else {}


def _kept_open(key: str, current: int, ours: int) -> bool:
    """The byte shares depend on the account; they are never made smaller once given."""
    return key == "max_bytes" and (current <= 0 or 0 < ours < current)
