"""Triggers in files: every kind, back and forth; what is wrong names its field."""

from __future__ import annotations

import pytest

from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_trigger, read_triggers, write_trigger
from dagnats.core.triggers.validate import trigger_problems

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
        ({"cron": "0 9 * * *", "debounce": {"period": "1s"}}, '"debounce" is not supported yet'),
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
