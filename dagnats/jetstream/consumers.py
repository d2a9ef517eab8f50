"""Durable pull consumers: made when absent, changed in place when only their settings differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dagnats.errors import BrokerUnsuitable
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.link import Link

EXISTS_OTHERWISE: Final = 10148
_ATTEMPTS: Final = 3
NOT_FOUND: Final = 10014
_WAITING_MAX: Final = 10_000  # open pull requests; cannot be changed once a consumer is made


async def ensure_consumer(
    link: Link,
    stream: str,
    name: str,
    subject: str,
    settings: dict[str, Any],
    may_change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """The consumer, with these settings; the operator's other settings are kept.

    ``may_change`` is given what the server says about a consumer before its settings are changed, and
    raises when they must not be.

    Raises:
        BrokerUnsuitable: one of that name exists for other subjects.
    """
    wanted = {
        "durable_name": name, "name": name, "filter_subject": subject, "deliver_policy": "all",
        "replay_policy": "instant", "max_deliver": -1, "max_waiting": _WAITING_MAX, **settings,
    }  # fmt: skip
    path = f"CONSUMER.CREATE.{stream}.{name}.{subject}"
    for _ in range(_ATTEMPTS):
        try:
            return await link.api(
                path, {"stream_name": stream, "action": "create", "config": wanted}
            )
        except ApiError as refused:
            if refused.code != EXISTS_OTHERWISE:
                raise
        try:
            info = await link.api(f"CONSUMER.INFO.{stream}.{name}")
        except ApiError as refused:
            if refused.code != NOT_FOUND:
                raise
            continue  # deleted in between: make it again
        found: dict[str, Any] = info["config"]
        _same_subjects(stream, name, subject, found)
        if all(found.get(key) == value for key, value in settings.items()):
            return found
        may_change(info)
        return await link.api(
            path, {"stream_name": stream, "action": "update", "config": {**found, **settings}}
        )
    raise BrokerUnsuitable(f"consumer {name} of {stream} comes and goes; does something delete it?")


def _same_subjects(stream: str, name: str, subject: str, found: dict[str, Any]) -> None:
    theirs = found.get("filter_subjects") or [found.get("filter_subject", ">")]
    if theirs != [subject]:
        raise BrokerUnsuitable(
            f"consumer {name} of {stream} takes {', '.join(theirs)}, but {subject} is needed; "
            f"it was not made by this version: remove it with `nats consumer rm {stream} {name}`"
        )
