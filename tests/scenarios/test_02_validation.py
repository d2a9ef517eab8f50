"""Scenarios, section 2: validation and schema.

Left out, with the features they belong to: S027 (rate limits), the compensation half of S031, and every limit
that HTTP adds (status 400). S029 (sticky) is in ``test_18_routing``.
"""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from dagnats import App, Client, DefinitionError, InvalidInput, RunFailed
from dagnats.core.model import Step, Workflow
from dagnats.errors import WorkflowNotFound
from tests.support.deployment import deployment


class Person(TypedDict):
    """Somebody with a name."""

    name: str


def file(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A workflow file."""
    return {"name": "checked", "steps": list(steps), **more}


@pytest.fixture
async def d():
    """A deployment that runs nothing: registering needs only the streams."""
    async with deployment(App("checks"), schedulers=0, workers=0) as made:
        yield made


async def refused(d, definition: dict[str, Any]) -> str:
    """What registering says; nothing may have been registered."""
    with pytest.raises(DefinitionError) as problem:
        await d.register(definition)
    with pytest.raises(WorkflowNotFound):
        await d.client.start("checked")
    return str(problem.value)


async def test_s021_duplicate_step_ids_are_refused(d):
    """Two steps of one id are refused, and the message names it; with two ids they register."""
    text = await refused(d, file({"id": "same", "task": "t"}, {"id": "same", "task": "t"}))
    assert '"same"' in text
    await d.register(file({"id": "same", "task": "t"}, {"id": "other", "task": "t"}))


async def test_s023_a_cycle_is_refused(d):
    """A cycle a → b → a is refused with the word cycle and both names."""
    a = {"id": "a", "task": "t", "depends_on": ["b"]}
    text = await refused(d, file(a, {"id": "b", "task": "t", "depends_on": ["a"]}))
    assert "cycle" in text
    assert "a → b" in text or "b → a" in text


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"retries": -1}, "retries: -1 retries"),
        ({"retry": {"max_attempts": -1}}, "max_attempts"),
        ({"retry": {"max_attempts": 100_001}}, "max_attempts"),
        ({"retries": 100_001}, "retries: 100001 retries"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "-5s"}, "timeout"),
        ({"timeout": "24h1s"}, "timeout"),
        ({"timeout": "42"}, "timeout"),
        ({"retry": {"max_attempts": 2, "initial_delay": "-1s"}}, "initial_delay"),
    ],
)
async def test_s025_numbers_out_of_bounds_are_refused(d, options, where):
    """Negative or excessive retries and times are refused, naming the step and the key."""
    text = await refused(d, file({"id": "fetch", "task": "t", **options}))
    assert "fetch" in text
    assert where in text


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 0},
        {"retry": {"max_attempts": 0}},
        {"retry": {"max_attempts": 100_000}},
        {"timeout": "24h"},
        {"timeout": 86_400_000_000_000},
    ],
)
async def test_s025_numbers_at_their_bounds_are_taken(d, options):
    """What is exactly at a bound registers."""
    await d.register(file({"id": "fetch", "task": "t", **options}))


@pytest.mark.parametrize("target", ["nowhere", "main", "tied"])
async def test_s031_an_impossible_failure_step_is_refused(d, target):
    """An on_failure step that is missing, is the step itself, or depends on something is refused."""
    steps = [
        {"id": "main", "task": "t", "on_failure": target},
        {"id": "tied", "task": "t", "depends_on": ["root"]},
        {"id": "root", "task": "t"},
    ]
    text = await refused(d, file(*steps))
    assert "on_failure" in text
    assert f'"{target}"' in text
    await d.register(
        file({"id": "main", "task": "t", "on_failure": "free"}, {"id": "free", "task": "t"})
    )


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def greeting(app: App) -> dict[str, Any]:
    """A workflow with an input schema."""

    @app.task
    async def greet(person: dict[str, Any]) -> str:
        return f"hello {person['name']}"

    return file({"id": "greet", "task": "greet"}, input_schema=SCHEMA)


async def test_s033_an_input_that_does_not_fit_the_schema_is_refused_at_the_caller():
    """A start with the wrong input is refused before anything is sent; the right one completes."""
    app = App("s033")
    definition = greeting(app)
    async with deployment(app) as d:
        await d.register(definition)
        before = (await d.state("DAGNATS_EVENTS"))["last_seq"]
        with pytest.raises(InvalidInput, match="name"):
            await d.client.start("checked", {"age": 25})
        with pytest.raises(InvalidInput, match="at name"):
            await d.client.start("checked", {"name": 7})
        assert (await d.state("DAGNATS_EVENTS"))["last_seq"] == before
        assert await (await d.client.start("checked", {"name": "Dan"})).result(10) == "hello Dan"


async def test_s033_an_input_published_past_the_caller_fails_the_run():
    """A start that somebody writes to the log with the wrong input ends as a failed run that says why."""
    app = App("s033")
    definition = greeting(app)
    async with deployment(app) as d:
        digest = await d.register(definition)
        start = {"type": "run.started", "workflow": "checked", "definition": digest}
        await d.forge("forged-good", "client", {**start, "input": {"name": "Dan"}})
        assert await d.client.handle("forged-good").result(10) == "hello Dan"
        await d.forge("forged-bad", "client", {**start, "input": {"age": 25}})
        with pytest.raises(RunFailed, match="name") as failure:
            await d.client.handle("forged-bad").result(10)
        assert failure.value.failure == "invalid_input"


async def test_s033_schemas_are_derived_from_annotations():
    """A task and a traced workflow refuse what their annotations do: at the caller and at the start."""
    app = App("s033-derived")

    @app.task
    async def greet(person: Person) -> str:
        return f"hello {person['name']}"

    @app.workflow
    def greeting(person: Person, mark: str = "!"):
        return greet(person)

    async with deployment(app) as d:
        for flow in (greet, greeting):
            await d.client.register(flow.definition())
        with pytest.raises(InvalidInput, match="name"):
            await d.client.start("greet", {"age": 25})
        with pytest.raises(InvalidInput, match=r"at person\.name: 7"):
            await d.client.start("greeting", {"person": {"name": 7}, "mark": "?"})
        digest = await d.client.registry.register(greet.definition())
        start = {"type": "run.started", "workflow": "greet", "definition": digest}
        await d.forge("forged", "client", {**start, "input": {"age": 25}})
        with pytest.raises(RunFailed, match="name") as failure:
            await d.client.handle("forged").result(10)
        assert failure.value.failure == "invalid_input"
        assert await (await greeting.start({"name": "Dan"})).result(10) == "hello Dan"


async def test_an_output_that_does_not_fit_the_schema_fails_the_run():
    """The run has done its work, but what it gives is not what it promised; large outputs are checked, too."""
    app = App("outputs")

    @app.task
    async def echo(value: Any):
        return value

    promised = file({"id": "echo", "task": "echo"}, output_schema=SCHEMA)
    async with deployment(app) as d:
        await d.register(promised)
        large = {"name": "Dan", "more": "x" * 400_000}
        for good in ({"name": "Dan"}, large):
            assert await (await d.client.start("checked", good)).result(10) == good
        for wrong in ({"age": 25}, {**large, "name": 7}):
            handle = await d.client.start("checked", wrong)
            with pytest.raises(RunFailed, match=r"output of the run: .*name") as failure:
                await handle.result(10)
            assert failure.value.failure == "invalid_output"
            view = await handle.status()
            assert [step.status for step in view.steps] == ["completed"]


async def test_a_result_of_the_wrong_type_fails_the_step():
    """It is not tried again, and the reason names the task, the type and the place."""
    app = App("wrong")
    calls: list[str] = []

    @app.task(retry=5)
    async def count(word: str) -> int:
        calls.append(word)
        return word  # type: ignore[return-value]

    async with deployment(app):
        handle = await count.start("three")
        with pytest.raises(
            RunFailed, match=r'count returned "three", which is no int: Expected `int`'
        ):
            await handle.result(10)
        assert calls == ["three"]


async def test_s035_an_unknown_key_of_a_file_is_refused_with_a_guess(d):
    """``trigger`` in place of ``triggers`` is refused, names both, and registers nothing."""
    text = await refused(d, file({"id": "a", "task": "t"}, trigger=[]))
    assert '"trigger"' in text
    assert '"triggers"' in text


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a", "task": "t", "dependson": []},
        {
            "id": "a",
            "task": "t",
            "type": "agent_loop",
            "config": {"max_iterations": 3, "max_iteration": 4},
        },
        {"id": "a", "task": "t", "retry": {"max_attempt": 3}},
        {"id": "a", "task": "t", "depends_on": ["b"], "skip_if": {"step_id": "b", "feld": "x"}},
    ],
)
async def test_s037_unknown_nested_keys_are_refused_too(d, step):
    """The contract is stricter than the scenario: unknown keys are errors at every level."""
    text = await refused(d, file(step, {"id": "b", "task": "t"}))
    assert "unknown key" in text
    assert "did you mean" in text


async def test_all_problems_of_a_file_are_told_at_once(d):
    """Three mistakes in one file give three problems, each with its place and its cure."""
    with pytest.raises(DefinitionError) as problem:
        await d.register(
            file(
                {"id": "a", "task": "", "timeout": "x"},
                {"id": "b", "task": "t", "depends_on": ["c"]},
            )
        )
    lines = str(problem.value).splitlines()
    assert len(lines) == 3
    assert all("; " in line for line in lines)


async def test_a_client_refuses_a_definition_that_skipped_the_checks(d):
    """``Client.register`` and ``Client.start`` check what they are given, whoever built it."""
    wrong = Workflow(name="wrong", steps=(Step(id="a", task="t", depends_on=("ghost",)),))
    client = Client(d.outside)
    with pytest.raises(DefinitionError, match="ghost"):
        await client.register(wrong)
    with pytest.raises(DefinitionError, match="ghost"):
        await client.start(wrong)


async def test_a_stored_definition_that_cannot_run_fails_its_runs_only():
    """A definition of broken meaning in the bucket fails the run that names it; the partition goes on."""
    app = App("poisoned")

    @app.task
    async def fine() -> str:
        return "fine"

    async with deployment(app, partitions=1) as d:
        broken = b'{"name":"broken","steps":[{"id":"a","task":"fine","depends_on":["ghost"]}]}'
        await d.outside.documents("dagnats_definitions").put("hash.feed", broken)
        await d.forge(
            "broken", "client", {"type": "run.started", "workflow": "broken", "definition": "feed"}
        )
        assert await (await fine.start()).result(10) == "fine"
        with pytest.raises(RunFailed, match="feed"):
            await d.client.handle("broken").result(10)
