"""Triggers in files: under ``triggers`` of a workflow file, or one by itself; and back in one canonical form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import UNSET, UnsetType

from dagnats.core import durations
from dagnats.core.reader import Reader
from dagnats.core.triggers.model import (
    OVERLAPS,
    Batch,
    Cron,
    Debounce,
    External,
    Hold,
    Http,
    On,
    Subject,
    Trigger,
    Webhook,
)

KINDS: Final = ("cron", "subject", "event", "webhook", "http", "external")
TRIGGER_KEYS: Final = (
    "id", "workflow_id", "enabled", "source", "overlap", "filter", "input", "debounce", "batch", *KINDS,
)  # fmt: skip
_HOLDS: Final = {
    "debounce": '{"period": "5s"}', "batch": '{"max_size": 100, "timeout": "5s"}',
}  # fmt: skip
_KIND_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "cron": ("expression", "timezone", "backfill"),
    "subject": ("subject",),
    "event": ("event",),
    "webhook": ("path", "secret"),
    "http": (
        "path", "method", "timeout_ms", "timeout", "max_body_bytes", "secret", "idempotency_header",
        "authentication",
    ),
    "external": ("kind", "config"),
}  # fmt: skip


def read_triggers(reader: Reader, workflow: str, written: Any) -> tuple[Trigger, ...]:
    """The triggers of a workflow file; those without an id are numbered."""
    found: list[Trigger] = []
    for number, raw in enumerate(written):
        where = f"triggers[{number}]"
        default = workflow if len(written) == 1 else f"{workflow}-{number + 1}"
        trigger = read_trigger(reader, where, raw, workflow=workflow, default_id=default)
        if trigger is not None:
            found.append(trigger)
    ids = [trigger.id for trigger in found]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        reader.problem("triggers", f'two are named "{name}"', "give each an id of its own")
    return tuple(found)


def read_trigger(
    reader: Reader, where: str, written: object, *, workflow: str = "", default_id: str = ""
) -> Trigger | None:
    """One trigger; None when it is none at all, which is a problem."""
    data = reader.members(
        where, written, "a trigger is an object", 'write {"cron": {"expression": "0 9 * * *"}}'
    )
    if data is None:
        return None
    reader.keys(where, data, TRIGGER_KEYS)
    named = reader.get(where, data, "workflow_id", str, workflow)
    if workflow and named != workflow:
        reader.problem(
            f"{where}.workflow_id", f'names "{named}"', f'it stands in the file of "{workflow}"'
        )
    on = _read_on(reader, where, data)
    overlap = reader.get(where, data, "overlap", str, "allow")
    if overlap not in OVERLAPS:
        reader.problem(
            f"{where}.overlap", f'unknown policy "{overlap}"', f"use {', '.join(OVERLAPS)}"
        )
        overlap = "allow"
    if on is None:
        return None
    return Trigger(
        id=reader.get(where, data, "id", str, "") or default_id,
        workflow=named,
        on=on,
        enabled=reader.get(where, data, "enabled", bool, default=True),
        source=reader.get(where, data, "source", str, ""),
        overlap=overlap,
        filter=reader.get(where, data, "filter", str, ""),
        input=data.get("input", UNSET),
        hold=read_hold(reader, where, data),
    )


def _read_on(reader: Reader, where: str, data: Mapping[str, Any]) -> On | None:
    given = [kind for kind in KINDS if data.get(kind) is not None]
    if len(given) != 1:
        what = f"has both {given[0]} and {given[1]}" if given else "says not what it waits for"
        reader.problem(where, what, f"write exactly one of {', '.join(KINDS)}")
        return None
    kind = given[0]
    place, raw = f"{where}.{kind}", data[kind]
    short = _KIND_KEYS[kind][0]
    if isinstance(raw, str):
        raw = {short: raw}
    settings = reader.members(
        place, raw, f"{kind} is an object or a string", f'write {{"{short}": …}}'
    )
    if settings is None:
        return None
    reader.keys(place, settings, _KIND_KEYS[kind])
    if not reader.get(place, settings, short, str, ""):
        reader.problem(f"{place}.{short}", "is missing", f'write {{"{short}": …}}')
        return None
    return _READERS[kind](reader, place, settings)


def _cron(reader: Reader, where: str, data: Mapping[str, Any]) -> On:
    return Cron(
        expression=data["expression"].strip(),
        timezone=reader.get(where, data, "timezone", str, ""),
        backfill=reader.get(where, data, "backfill", bool, default=False),
    )


def _webhook(reader: Reader, where: str, data: Mapping[str, Any]) -> On:
    return Webhook(path=data["path"], secret=reader.get(where, data, "secret", str, ""))


def _http(reader: Reader, where: str, data: Mapping[str, Any]) -> On:
    return Http(
        path=data["path"],
        method=reader.get(where, data, "method", str, "POST").upper(),
        timeout_ms=reader.get(where, data, "timeout_ms", int, 0)
        or reader.duration(where, data, "timeout"),
        max_body_bytes=reader.get(where, data, "max_body_bytes", int, 0),
        secret=reader.get(where, data, "secret", str, ""),
        idempotency_header=reader.get(where, data, "idempotency_header", str, ""),
        authentication=data.get("authentication"),
    )


_READERS: Final[Mapping[str, Callable[[Reader, str, Mapping[str, Any]], On]]] = {
    "cron": _cron,
    "subject": lambda _reader, _where, data: Subject(subject=data["subject"]),
    "event": lambda _reader, _where, data: Subject(event=data["event"]),
    "webhook": _webhook,
    "http": _http,
    "external": lambda _reader, _where, data: External(
        kind=data["kind"], config=data.get("config")
    ),
}


def read_hold(reader: Reader, where: str, data: Mapping[str, Any]) -> Hold | UnsetType:
    """How a trigger holds events back, by ``debounce`` or ``batch``."""
    given = [kind for kind in _HOLDS if data.get(kind) is not None]
    if len(given) > 1:
        what = "has both debounce and batch, which contradict"
        reader.problem(where, what, "keep one: the last event, or all of them")
    if len(given) != 1:
        return UNSET
    kind, raw = given[0], data[given[0]]
    place, example = f"{where}.{kind}", _HOLDS[kind]
    if kind == "debounce" and isinstance(raw, str | int):
        raw = {"period": raw}
    settings = reader.members(place, raw, f"{kind} is an object", f"write {example}")
    if settings is None:
        return UNSET
    known = len(reader.problems)
    own = "period" if kind == "debounce" else "max_size"
    reader.keys(place, settings, (own, "timeout", "key"))
    if settings.get(own) is None:
        reader.problem(f"{place}.{own}", "is missing", f"write {example}")
    timeout_ms = reader.duration(place, settings, "timeout")
    key = reader.get(place, settings, "key", str, "")
    hold: Hold
    if kind == "debounce":
        hold = Debounce(reader.duration(place, settings, "period"), timeout_ms, key)
    else:
        hold = Batch(reader.get(place, settings, "max_size", int, 1), timeout_ms, key)
    return hold if len(reader.problems) == known else UNSET


# -- writing ---------------------------------------------------------------------------------------


def write_trigger(trigger: Trigger, *, secrets: bool = True) -> dict[str, Any]:
    """The canonical form; without ``secrets`` those are only said to be set."""
    data: dict[str, Any] = {"id": trigger.id, "workflow_id": trigger.workflow}
    if not trigger.enabled:
        data["enabled"] = False
    if trigger.source:
        data["source"] = trigger.source
    kind, settings = _write_on(trigger.on)
    if not secrets and settings.get("secret"):
        settings["secret"] = "(set)"  # noqa: S105  (it says that there is one)
    data[kind] = settings
    if trigger.overlap != "allow":
        data["overlap"] = trigger.overlap
    if trigger.filter:
        data["filter"] = trigger.filter
    if trigger.input is not UNSET:
        data["input"] = trigger.input
    if trigger.hold is not UNSET:
        data.update(write_hold(trigger.hold))
    return data


def write_hold(hold: Hold) -> dict[str, dict[str, Any]]:
    """The canonical form, by its kind."""
    timeout = {"timeout": durations.text_of_ms(hold.timeout_ms)} if hold.timeout_ms else {}
    rest = {**timeout, **({"key": hold.key} if hold.key else {})}
    if isinstance(hold, Debounce):
        return {"debounce": {"period": durations.text_of_ms(hold.period_ms), **rest}}
    return {"batch": {"max_size": hold.max_size, **rest}}


def _write_on(on: On) -> tuple[str, dict[str, Any]]:
    match on:
        case Cron():
            settings: dict[str, Any] = {"expression": on.expression}
            settings.update({"timezone": on.timezone} if on.timezone else {})
            return "cron", {**settings, **({"backfill": True} if on.backfill else {})}
        case Subject():
            return (
                ("event", {"event": on.event}) if on.event else ("subject", {"subject": on.subject})
            )
        case Webhook():
            return "webhook", {"path": on.path, **({"secret": on.secret} if on.secret else {})}
        case Http():
            full = {
                "path": on.path, "method": on.method, "timeout": durations.text_of_ms(on.timeout_ms),
                "max_body_bytes": on.max_body_bytes, "secret": on.secret,
                "idempotency_header": on.idempotency_header, "authentication": on.authentication,
            }  # fmt: skip
            return "http", {key: value for key, value in full.items() if value}
        case External():
            return "external", {
                "kind": on.kind,
                **({} if on.config is None else {"config": on.config}),
            }
