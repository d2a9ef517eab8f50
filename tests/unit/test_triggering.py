"""``@app.cron``, ``@app.on_event`` and ``@app.trigger_type``: what they make, and what they refuse at import."""

from __future__ import annotations

import pytest

from dagnats import App, DefinitionError
from dagnats.core.triggers.model import Cron, Subject
from dagnats.errors import DuplicateName


def test_what_the_decorators_make():
    """Names that tell triggers apart, inputs by the signature; the function stays what it was."""
    app = App("made")

    @app.cron("@daily")
    @app.cron("@hourly", tz="Europe/Berlin", overlap="skip", input={"days": 7})
    @app.on_event("order.paid", filter="amount > 1")
    @app.on_event(subject="orders.*", input={"$input": "data.id"}, id="raw")
    @app.task
    async def report(days: int = 1) -> int:
        return days

    @app.on_event("tick")
    @app.workflow
    def ticked():
        return report()

    made = app.triggers

    assert list(made) == [
        "raw",
        "report-on-order.paid",
        "report-cron",
        "report-cron-2",
        "ticked-on-tick",
    ]
    assert made["report-cron"].on == Cron("@hourly", "Europe/Berlin")
    assert made["report-cron"].input == {"$literal": {"days": 7}}
    assert made["raw"].on == Subject(subject="orders.*")
    assert made["report-on-order.paid"].input == {"$input": "data"}
    assert made["ticked-on-tick"].input is None
    assert report.name == "report"


def test_what_they_refuse():
    """With the function or the field, at import."""
    app = App("refused")

    @app.task
    async def needs(x: int) -> int:
        return x

    def plain() -> None:
        """No task."""

    for decorate, words in (
        (lambda: app.cron("@daily")(needs), "@app.cron on needs: .*say input="),
        (lambda: app.cron("61 * * * *", input=1)(needs), "cron.expression: .*Bad minute"),
        (lambda: app.cron("@daily", tz="Mars", input=1)(needs), "cron.timezone: "),
        (lambda: app.on_event("e", filter="(")(needs), "filter: the filter cannot be read"),
        (lambda: app.on_event("e", subject="s")(needs), "an event's name, or subject="),
        (lambda: app.on_event()(needs), "an event's name, or subject="),
        (lambda: app.cron("@daily")(plain), "stands above @app.workflow or @app.task"),
    ):
        with pytest.raises(DefinitionError, match=words):
            decorate()

    app.on_event("e", id="one")(needs)
    with pytest.raises(DuplicateName, match='two triggers are named "one"'):
        app.on_event("f", id="one")(needs)
    app.trigger_type("imap")(plain)
    with pytest.raises(DuplicateName, match='two trigger types are named "imap"'):
        app.trigger_type("imap")(plain)
