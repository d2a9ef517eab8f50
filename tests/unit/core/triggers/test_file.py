"""Triggers in files: every kind, back and forth; what is wrong names its field."""

from __future__ import annotations

import pytest

from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_trigger, read_triggers, write_trigger
from dagnats.core.triggers.validate import trigger_problems

BATCH = {"max_size": 100, "timeout": "5s"}
HTTP = {"path": "/api/orders", "timeout_ms": 30_000, "max_body_bytes": 1024, "secret": "s" * 16}


@pytest.mark.parametrize(
    "settings",
    [
        {"cron": {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin", "backfill": True}},
        {"cron": "@every 10m", "overlap": "cancel-running", "enabled": False},
        {
            "subject": "orders.*.new",
            "filter": 'a.b == "x" and not c',
            "input": {"$input": "data.id"},
        },
        {"event": {"event": "order.paid"}, "input": None},
        {"webhook": {"path": "github/push", "secret": "hush"}},
        {"http": {**HTTP, "method": "PUT", "authentication": {"type": "http"}}},
        {"external": {"kind": "imap", "config": {"folder": "inbox"}}},
        {"event": "e", "debounce": {"period": "5s", "timeout": "1m", "key": "order.id"}},
        {"subject": "e.>", "debounce": "300ms"},
        {"webhook": "in", "batch": {**BATCH, "key": "tenant"}},
        {"external": {"kind": "imap"}, "batch": BATCH},
    ],
)
def test_what_is_written_reads_the_same(settings):
    """In the canonical form, and without problems."""
    reader = Reader()
    trigger = read_trigger(reader, "trigger", {"id": "t", "workflow_id": "w", **settings})

    assert reader.problems == []
    assert list(trigger_problems(trigger)) == []
    assert read_trigger(reader, "trigger", write_trigger(trigger)) == trigger
    assert ("input" in write_trigger(trigger)) == ("input" in settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cron": 5}, "cron is an object or a string"),
        ({"cron": {"timezone": "UTC"}}, "cron.expression: is missing"),
        ({"cron": "0 9 * * *", "debounce": {"period": "1s"}}, "cron and debounce contradict"),
        ({"cron": "0 9 * * *", "batch": BATCH}, "cron and batch contradict"),
        ({"http": HTTP, "debounce": "1s"}, "http and debounce contradict"),
        ({"event": "e", "debounce": "1s", "batch": BATCH}, "both debounce and batch"),
        ({"event": "e", "overlap": "skip", "batch": BATCH}, "batch and overlap=skip contradict"),
        ({"event": "e", "debounce": {"timeout": "1s"}}, "debounce.period: is missing"),
        ({"event": "e", "debounce": "0s"}, "debounce.period: is missing"),
        ({"event": "e", "debounce": "-1s"}, "'-1s' is not a duration"),
        ({"event": "e", "debounce": -5}, "cannot be negative"),
        ({"event": "e", "debounce": "8d"}, "debounce.period: 192h is too long"),
        (
            {"event": "e", "debounce": {"period": "1s", "timeout": "8d"}},
            "timeout: 192h is too long",
        ),
        (
            {"event": "e", "debounce": {"period": "2s", "timeout": "1s"}},
            "timeout 1s is shorter than period 2s",
        ),
        ({"event": "e", "debounce": {"period": "1s", "keys": "x"}}, 'did you mean "key"?'),
        ({"event": "e", "debounce": {"period": "1s", "key": "a..b"}}, '"a..b" is not a dot-path'),
        ({"event": "e", "debounce": {"period": "1s", "key": 5}}, "5 is not a string"),
        ({"event": "e", "batch": 5}, "batch is an object"),
        ({"event": "e", "batch": {"timeout": "1s"}}, "batch.max_size: is missing"),
        ({"event": "e", "batch": {"max_size": 5}}, "batch.timeout: is missing"),
        ({"event": "e", "batch": {**BATCH, "max_size": 1_001}}, "1001 is out of bounds"),
        ({"event": "e", "batch": {**BATCH, "max_size": -1}}, "-1 is out of bounds"),
        ({"event": "e", "batch": {**BATCH, "timeout": "6m"}}, "batch.timeout: 6m is too long"),
        ({"event": "e", "filters": "x"}, 'did you mean "filter"?'),
        ({"event": "e", "workflow_id": "other"}, 'names "other"'),
        ({"cron": "30 2 31 2 *"}, "cron.expression: "),
        ({"cron": "@every 1ms"}, "cron.expression: "),
        ({"subject": "a..b"}, '"a..b" is no NATS subject'),
        ({"subject": "*.b"}, "takes in what is not an application's"),
        ({"webhook": "../x y"}, '"../x y" is no path'),
        ({"http": {**HTTP, "path": "/orders"}}, 'write "/api/orders"'),
        ({"http": {**HTTP, "method": "HEAD"}}, "http.method"),
        ({"http": {**HTTP, "timeout_ms": 0}}, "http.timeout: is missing"),
        ({"http": {**HTTP, "max_body_bytes": 0}}, "http.max_body_bytes"),
        ({"http": {**HTTP, "secret": "short"}}, "http.secret: is too short"),
        ({"http": HTTP, "overlap": "queue"}, "http and overlap=queue contradict"),
        ({"event": "e", "input": {"$step": "a"}}, "a trigger has no steps"),
        ({"event": "e", "filter": "(a"}, 'expected ")"'),
    ],
)
def test_what_is_wrong_is_told(settings, words):
    """With the field, and a cure."""
    reader = Reader()
    for trigger in read_triggers(reader, "w", [settings]):
        reader.problems.extend(trigger_problems(trigger))

    assert words in "\n".join(map(str, reader.problems))
