"""Maps: order, retries of items, tolerance, and input that is no array."""

from collections import Counter

import pytest

from dagnats import App, DefinitionError, Fail, Retry, RunFailed
from tests.scenarios.gates_support import empty
from tests.support.deployment import deployment, eventually


def shouting(**options) -> App:
    """An app that maps a task over its input."""
    app = App("shout")
    app.calls = Counter()

    @app.task(retry=Retry(4, delay=0.01))
    async def shout(word: str) -> str:
        app.calls[word] += 1
        if word == "bad":
            raise Fail("never")
        if word == "flaky" and app.calls[word] < 3:
            raise ValueError("not yet")
        return word.upper()

    @app.workflow
    def all_of(words: list[str]):
        return shout.map(words, **options)

    return app


async def run(app, words):
    """What the run gives."""
    async with deployment(app):
        return await (await app.flows["all_of"].start(words)).result(20)


async def test_s121_order_is_kept():
    """By index, however they finish."""
    assert await run(shouting(concurrency=2), ["a", "b", "c", "d", "e"]) == list("ABCDE")


async def test_s125_an_empty_array_is_done():
    """At once."""
    assert await run(shouting(), []) == []


async def test_s129_items_are_retried_alone():
    """The others run once."""
    app = shouting()

    assert await run(app, ["a", "flaky", "c"]) == ["A", "FLAKY", "C"]
    assert app.calls == {"a": 1, "flaky": 3, "c": 1}


async def test_s123_an_item_that_fails_fails_the_map():
    """The error names it."""
    with pytest.raises(RunFailed, match="item 1: never"):
        await run(shouting(), ["a", "bad", "c"])


async def test_tolerated_failures_are_null():
    """As many as are tolerated."""
    assert await run(shouting(tolerate=1), ["a", "bad", "c"]) == ["A", None, "C"]
    with pytest.raises(RunFailed, match="2 items failed"):
        await run(shouting(tolerate="50%"), ["bad", "bad", "a"])


async def test_bad_input_fails_the_step_at_once():
    """It is told what was wrong with it."""
    with pytest.raises(RunFailed, match="max_items is 2"):
        await run(shouting(max_items=2), ["a", "b", "c"])


async def test_a_thousand_items():
    """All of them, in order."""
    words = [f"w{number}" for number in range(1_000)]

    assert await run(shouting(), words) == [word.upper() for word in words]


async def test_s135_a_map_that_fails_gives_back_what_its_run_had():
    """The place among its workflow's runs, and that of its key: the next one begins."""
    app = App("places")

    @app.task
    async def shout(word: str) -> str:
        if word == "bad":
            raise Fail("never")
        return word.upper()

    @app.workflow(max_runs=1)
    def few(words: list[str]):
        return shout.map(words)

    @app.workflow(singleton="skip")
    def alone(words: list[str]):
        return shout.map(words)

    async with deployment(app) as d:
        for name, flow in (("few", few), ("alone", alone)):
            failed = await flow.start(["a", "bad", "c"])
            with pytest.raises(RunFailed, match="never"):
                await failed.result(10)
            await eventually(lambda name=name: empty(d.client, "workflow", name))
            assert await (await flow.start(["a"])).result(10) == ["A"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"depends_on": []}, "a map has exactly one dependency, not 0"),
        ({"depends_on": ["a", "b"]}, "a map has exactly one dependency, not 2"),
        ({"config": {"max_items": 10_001}}, "max_items"),
        ({"config": {"max_items": 0}}, "max_items"),
        ({"config": {"map": {}}}, 'unknown key "map"'),
        ({"config": {"tolerate": "101%"}}, "neither a count of items nor a percentage"),
    ],
)
async def test_s127_a_map_that_cannot_be_is_refused(more, problem):
    """When it is registered: no array or two, more items than there may be, a map within it."""
    steps = [{"id": name, "task": "t"} for name in "ab"]
    each = {"id": "m", "task": "t", "type": "map", "depends_on": ["a"]}
    async with deployment(App("refused"), schedulers=0, workers=0) as d:
        with pytest.raises(DefinitionError) as refusal:
            await d.register({"name": "w", "steps": [*steps, {**each, **more}]})
        assert problem in str(refusal.value)
        bounds = {"max_items": 10_000, "tolerate": "100%"}
        assert await d.register({"name": "w", "steps": [*steps, {**each, "config": bounds}]})
