"""What is wrong with a trigger, beyond its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import UNSET

from dagnats.core.model import Problem
from dagnats.core.problems import duration_problems, name_problems
from dagnats.core.templates import holes
from dagnats.core.triggers.filters import parse
from dagnats.core.triggers.model import Cron, External, Http, Subject, Trigger, Webhook
from dagnats.core.triggers.schedule import cron_problems
from dagnats.limits import (
    HOOK_BODY_MAX_BYTES,
    HTTP_TIMEOUT_MAX_MS,
    SECRET_LENGTH_MIN,
    SUBJECT_LENGTH_MAX,
)

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SUBJECT: Final = re.compile(r"(?:[^\s.*>]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?\Z")
_PATH: Final = re.compile(r"[A-Za-z0-9_.~-]+(?:/[A-Za-z0-9_.~-]+)*\Z")


def trigger_problems(trigger: Trigger) -> Iterator[Problem]:
    """Every problem of a trigger."""
    where = f'trigger "{trigger.id}"'
    yield from name_problems(f"{where}.id", trigger.id)
    yield from name_problems(f"{where}.workflow_id", trigger.workflow)
    match trigger.on:
        case Cron():
            for field, what, cure in cron_problems(trigger.on):
                yield Problem(f"{where}.cron.{field}", what, cure)
        case Subject():
            yield from _subject_problems(where, trigger.on)
        case Webhook():
            yield from _path_problems(f"{where}.webhook.path", trigger.on.path)
        case Http():
            yield from _http_problems(f"{where}.http", trigger.on)
        case External():
            yield from name_problems(f"{where}.external.kind", trigger.on.kind)
    yield from _option_problems(where, trigger)


def _option_problems(where: str, trigger: Trigger) -> Iterator[Problem]:
    on = trigger.on
    if trigger.filter and isinstance(on, Cron):
        yield Problem(where, "cron and filter contradict: a schedule has no data", "keep one")
    if isinstance(on, Http) and trigger.overlap != "allow":
        what = f"http and overlap={trigger.overlap} contradict: somebody waits for the answer"
        yield Problem(where, what, "leave overlap out")
    if trigger.filter:
        try:
            parse(trigger.filter)
        except ValueError as error:
            yield Problem(f"{where}.filter", str(error), "write for example: amount > 100 and paid")
    if trigger.input is not UNSET:
        yield from _input_problems(f"{where}.input", trigger.input)


def _input_problems(where: str, template: object) -> Iterator[Problem]:
    try:
        found = list(holes(template))
    except ValueError as error:
        yield Problem(where, str(error), 'write for example {"$input": "data.order_id"}')
        return
    for step, _ in found:
        if step:
            yield Problem(where, f'"$step" names {step!r}', 'use "$input": a trigger has no steps')


def _subject_problems(where: str, on: Subject) -> Iterator[Problem]:
    if on.event:
        yield from name_problems(f"{where}.event", on.event)
        return
    where = f"{where}.subject"
    if len(on.subject) > SUBJECT_LENGTH_MAX or not _SUBJECT.match(on.subject):
        yield Problem(where, f'"{on.subject}" is no NATS subject', 'write for example "orders.*"')
    elif on.subject.split(".")[0].startswith(("dagnats", "$", "_INBOX", "*")) or on.subject == ">":
        cure = 'name the first part; events published to DagNats are "event": {"event": "name"}'
        yield Problem(where, f'"{on.subject}" takes in what is not an application\'s', cure)


def _path_problems(where: str, path: str) -> Iterator[Problem]:
    if not _PATH.match(path):
        yield Problem(where, f'"{path}" is no path', 'write for example "github/push"')


def _http_problems(where: str, on: Http) -> Iterator[Problem]:
    if not on.path.startswith("/api/"):
        yield Problem(f"{where}.path", f'"{on.path}" is not under /api/', 'write "/api/orders"')
    else:
        yield from _path_problems(f"{where}.path", on.path.removeprefix("/"))
    if on.method not in _METHODS:
        yield Problem(f"{where}.method", f'"{on.method}"', f"use one of {', '.join(_METHODS)}")
    if on.timeout_ms <= 0:
        yield Problem(f"{where}.timeout", "is missing", 'write for example "30s"')
    yield from duration_problems(f"{where}.timeout", max(0, on.timeout_ms), HTTP_TIMEOUT_MAX_MS)
    if not 0 < on.max_body_bytes <= HOOK_BODY_MAX_BYTES:
        what = f"{on.max_body_bytes} is out of bounds"
        yield Problem(f"{where}.max_body_bytes", what, f"use 1 … {HOOK_BODY_MAX_BYTES}")
    if on.secret and len(on.secret) < SECRET_LENGTH_MIN:
        cure = f"use at least {SECRET_LENGTH_MIN} characters"
        yield Problem(f"{where}.secret", "is too short", cure)
