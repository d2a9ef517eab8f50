"""Debounce and batch in virtual time, as users test them."""

from __future__ import annotations

from typing import Any

import pytest

from dagnats import App, Batch, Debounce
from dagnats.core.definition import read_workflow
from dagnats.core.triggers.model import Subject, Trigger, Webhook
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.testing import in_memory, virtual_time


def an_app(**options: Any) -> tuple[App, list[Any]]:
    """An app whose task notes what it is given by events."""
    app, seen = App("held"), []

    @app.on_event("changed", id="t", **options)
    @app.task
    async def note(given: Any) -> None:
        seen.append(given)

    return app, seen


@virtual_time
async def test_the_last_of_a_burst_wins_for_each_key():
    """Of ``abc`` the newest, and ``xyz`` by itself; none before it was quiet for five seconds."""
    app, seen = an_app(debounce=Debounce("5s", timeout="1m", key="id"))
    async with in_memory(app) as sandbox:
        for value in range(10):
            await sandbox.client.publish_event("changed", {"id": "abc", "v": value})
            await sandbox.advance("1s")
        await sandbox.client.publish_event("changed", {"id": "xyz"})
        await sandbox.advance("3s")

        assert not seen

        view = await sandbox.client.view_trigger(await sandbox.client.trigger("t"))

        assert view.hold == {"debounce": {"period": "5s", "timeout": "1m", "key": "id"}}
        assert (view.held.events, view.held.keys) == (11, 2)
        assert [each.key for each in view.held.first] == ["abc", "xyz"]
        assert view.held.first[0].since < view.held.first[0].due_at

        await sandbox.advance("10s")

        assert seen == [{"id": "abc", "v": 9}, {"id": "xyz"}]

        fires = await sandbox.client.fires("t")

        assert [(fire.key, fire.events) for fire in fires] == [("xyz", 1), ("abc", 10)]
        assert {fire.status for fire in fires} == {"completed"}


@virtual_time
async def test_a_burst_without_end_is_held_no_longer_than_the_timeout():
    """A minute, whatever keeps coming."""
    app, seen = an_app(debounce=Debounce("5s", timeout="1m"))
    async with in_memory(app) as sandbox:
        for value in range(100):
            await sandbox.client.publish_event("changed", value)
            await sandbox.advance("1s")
        await sandbox.advance("1m")

        assert len(seen) == 2
        assert 58 <= seen[0] <= 61
        assert seen[1] == 99


@virtual_time
async def test_batches_by_size_and_by_time_for_each_key():
    """One run is given a list; what is left over comes after the time-out."""
    app, seen = an_app(batch=Batch(3, timeout="10s", key="tenant"))
    async with in_memory(app) as sandbox:
        for number in range(8):
            event = {"tenant": "ab"[number % 2], "n": number}
            await sandbox.client.publish_event("changed", event)
            await sandbox.advance(0.1)

        assert sorted([each["n"] for each in given] for given in seen) == [[0, 2, 4], [1, 3, 5]]

        await sandbox.advance("11s")

        assert sorted([each["n"] for each in given] for given in seen[2:]) == [[6], [7]]
        assert [fire.events for fire in await sandbox.client.fires("t")] == [1, 1, 3, 3]


@virtual_time
async def test_an_event_without_the_key_loses_nothing():
    """It starts its own run, and the history says what was missing."""
    app, seen = an_app(debounce=Debounce("5s", key="order.id"))
    async with in_memory(app) as sandbox:
        await sandbox.client.publish_event("changed", {"orders": 1})
        await sandbox.client.publish_event("changed", {"orders": 2})
        await sandbox.advance("1s")

        assert seen == [{"orders": 1}, {"orders": 2}]

        [fire, _] = await sandbox.client.fires("t")

        assert fire.note == 'not held: key "order.id" is not in the data, which has: orders'


@virtual_time
async def test_large_events_are_held_as_references():
    """The run is given them whole, in a list too."""
    app, seen = an_app(batch=Batch(2, timeout="5s"))
    async with in_memory(app) as sandbox:
        for letter in "ab":
            await sandbox.client.publish_event("changed", {"text": letter * 400_000})
        await sandbox.advance("1s")

        assert [each["text"][:1] for each in seen[0]] == ["a", "b"]
        assert [len(each["text"]) for each in seen[0]] == [400_000, 400_000]


@virtual_time
async def test_a_trigger_that_is_disabled_says_what_it_dropped():
    """One line in the history for all of it."""
    app, seen = an_app(batch=Batch(100, timeout="5m", key="id"))
    async with in_memory(app) as sandbox:
        client = sandbox.client
        for number in range(5):
            await client.publish_event("changed", {"id": number % 3})
        await sandbox.advance("1s")
        await client.enable_trigger("t", enabled=False)
        await sandbox.advance("10m")
        [fire] = await client.fires("t")

        assert not seen
        assert fire.skip_reason == "the trigger was disabled; events that were held: 5, keys: 3"


@virtual_time
async def test_fired_by_hand_it_is_held_too():
    """``fire_trigger`` tells that; a worker's ``fire`` does not wait for a run that is not known yet."""
    app, seen = an_app()
    async with in_memory(app) as sandbox:
        hold = Debounce("5s").hold
        hook = Trigger(
            id="hook", workflow="note", on=Webhook("in"), hold=hold, input={"$input": "data"}
        )
        await sandbox.client.set_trigger(hook)
        view = await sandbox.client.fire_trigger("hook", 7)

        assert (view.status, view.run_id) == ("held", "")

        await sandbox.advance("6s")

        assert seen == [7]


@virtual_time
async def test_a_batch_and_a_singleton_contradict():
    """Both are named, when the trigger is defined."""
    app, _ = an_app()
    steps = [{"id": "s", "task": "note"}]
    alone, _ = read_workflow({"name": "alone", "singleton": {"mode": "skip"}, "steps": steps})
    async with in_memory(app) as sandbox:
        await sandbox.client.register(alone)
        for hold, refused in ((Batch(5, timeout="1s"), True), (Debounce("1s"), False)):
            trigger = Trigger(id="t", workflow="alone", on=Subject(event="e"), hold=hold.hold)
            if refused:
                with pytest.raises(DefinitionError, match=r"batch and singleton .*contradict"):
                    await sandbox.client.set_trigger(trigger)
            else:
                assert await sandbox.client.set_trigger(trigger)


def test_mistakes_in_python():
    """One line each, when the module is read."""
    app = App("wrong")
    for make, words in (
        (lambda: app.on_event("e", debounce=Debounce("1s"), batch=Batch(2, timeout="1s")), "contradict"),
        (lambda: app.on_event("e", debounce="5s"), r"debounce='5s'; write Debounce\(\"5s\"\)"),
        (lambda: app.on_event("e", batch=5), "batch=5; write Batch"),
        (lambda: Debounce("-5s"), "Debounce: period: '-5s' is not a duration"),
        (lambda: Debounce(0), "Debounce: period: 0"),
        (lambda: Batch(0, timeout="1s"), "Batch: max_size"),
        (lambda: Batch(5, timeout=-1), "Batch: timeout: a duration cannot be -1"),
        (lambda: Debounce("1s", key=5), "Debounce: key=5; write a path"),
    ):  # fmt: skip
        with pytest.raises(DefinitionError, match=words):
            make()
    for options, words in (
        ({"debounce": Debounce("8d")}, "192h is too long"),
        ({"debounce": Debounce("5s", timeout="1s")}, "timeout 1s is shorter than period 5s"),
        ({"batch": Batch(5_000, timeout="1s")}, "5000 is out of bounds; use 1 … 1000"),
        ({"batch": Batch(5, timeout="6m")}, "6m is too long"),
        ({"batch": Batch(5, timeout="1s"), "overlap": "queue"}, "batch and overlap=queue contradict"),
    ):  # fmt: skip
        with pytest.raises(DefinitionError, match=words):
            an_app(**options)


@virtual_time
async def test_what_the_input_schema_refuses_is_said():
    """A list where the workflow takes an object: the history says so, and how many events it was."""
    app, _ = an_app(batch=Batch(2, timeout="1s"))
    async with in_memory(app) as sandbox:
        file = {
            "name": "w",
            "steps": [{"id": "s", "task": "note"}],
            "input_schema": {"type": "object"},
        }
        workflow, _ = read_workflow(file)
        await sandbox.client.register(workflow)
        trigger = Trigger(
            id="x", workflow="w", on=Subject(event="x"), hold=Batch(2, timeout="1s").hold,
            input={"$input": "data"},
        )  # fmt: skip
        await sandbox.client.set_trigger(trigger)
        for number in range(2):
            await sandbox.client.publish_event("x", number)
        await sandbox.advance("1s")
        [fire] = await sandbox.client.fires("x")

        assert fire.skipped
        assert fire.events == 2
        assert "input of workflow w" in fire.skip_reason
        with pytest.raises(InvalidInput):
            await sandbox.client.fires("x", 0)
