"""What is wrong with a trigger, beyond its form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import UNSET

from dagnats.core.durations import text_of_ms
from dagnats.core.model import Limit, Problem
from dagnats.core.problems import (
    count_problems,
    duration_problems,
    name_problems,
    path_problems,
)
from dagnats.core.templates import holes
from dagnats.core.triggers.filters import parse
from dagnats.core.triggers.model import (
    Batch,
    Cron,
    Debounce,
    External,
    Hold,
    Http,
    Subject,
    Trigger,
    Webhook,
)
from dagnats.core.triggers.schedule import cron_problems
from dagnats.limits import (
    BATCH_EVENTS_MAX,
    BATCH_TIMEOUT_MAX_MS,
    DEBOUNCE_HOLD_MAX_MS,
    DEBOUNCE_PERIOD_MAX_MS,
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
    if trigger.hold is not UNSET:
        yield from _hold_problems(where, trigger, trigger.hold)
    if trigger.input is not UNSET:
        yield from _input_problems(f"{where}.input", trigger.input)


def _hold_problems(where: str, trigger: Trigger, hold: Hold) -> Iterator[Problem]:
    name = "debounce" if isinstance(hold, Debounce) else "batch"
    if isinstance(trigger.on, Cron):
        what = f"cron and {name} contradict: its instants are known beforehand"
        yield Problem(where, what, "keep one")
    if isinstance(trigger.on, Http):
        what = f"http and {name} contradict: somebody waits for the answer"
        yield Problem(where, what, f"leave {name} out, or use a webhook")
    if trigger.overlap != "allow":
        what = f"{name} and overlap={trigger.overlap} contradict: both say when a run starts"
        yield Problem(where, what, "keep one; or bound how many runs the workflow has at once")
    where = f"{where}.{name}"
    yield from path_problems(f"{where}.key", hold.key)
    if isinstance(hold, Batch):
        yield from count_problems(f"{where}.max_size", hold.max_size, 1, BATCH_EVENTS_MAX)
        yield from _needed_duration(f"{where}.timeout", hold.timeout_ms, BATCH_TIMEOUT_MAX_MS)
        return
    yield from _needed_duration(f"{where}.period", hold.period_ms, DEBOUNCE_PERIOD_MAX_MS)
    yield from duration_problems(f"{where}.timeout", hold.timeout_ms, DEBOUNCE_HOLD_MAX_MS)
    if 0 < hold.timeout_ms < hold.period_ms:
        timeout, period = text_of_ms(hold.timeout_ms), text_of_ms(hold.period_ms)
        what = f"timeout {timeout} is shorter than period {period}"
        yield Problem(where, what, "timeout is the longest hold: write at least the period")


def _needed_duration(where: str, value_ms: int, most_ms: int) -> Iterator[Problem]:
    if not value_ms:
        yield Problem(where, "is missing", 'write for example "5s"')
    yield from duration_problems(where, value_ms, most_ms)


def singleton_problems(trigger: Trigger, limits: Sequence[Limit]) -> Iterator[Problem]:
    """A batch would be lost when its run is refused or replaced, by these limits of the workflow's runs."""
    if isinstance(trigger.hold, Batch) and any(
        limit.kind == "slots" and limit.mode != "wait" for limit in limits
    ):
        what = f'batch and singleton (of workflow "{trigger.workflow}") contradict'
        cure = "let runs wait for each other (max_runs) instead, or leave batch out"
        yield Problem(f'trigger "{trigger.id}"', what, cure)


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
