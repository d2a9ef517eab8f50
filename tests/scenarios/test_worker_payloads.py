"""Payloads of a worker: large ones both ways, typed arguments and results, what is refused and where."""

import threading
from dataclasses import dataclass
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from msgspec.structs import replace

from dagnats import (
    AgentContext,
    App,
    Context,
    Continue,
    DefinitionError,
    InvalidInput,
    Retry,
    RunFailed,
    WorkflowBuilder,
)
from dagnats.errors import PayloadTooLarge
from dagnats.wire import subjects
from tests.support.deployment import deployment

# -- payloads --------------------------------------------------------------------------------------


def text(size: int) -> str:
    """Text of that many bytes that does not compress to nothing."""
    unit = (
        "".join(chr(33 + (number * 7919) % 90) for number in range(1_000))
        .replace("\\", "-")
        .replace('"', "-")
    )
    return (unit * (size // 1_000 + 1))[:size]


@pytest.mark.parametrize("size", [255 * 1024, 300_000, 1_100_000, 5_000_000])
async def test_large_payloads_go_both_ways(size):
    """Input, output, checkpoint and the joined inputs of several parents arrive whole, whatever their size."""
    app, body = App("large"), text(size)

    @app.task
    async def echo(data: str) -> str:
        return data

    @app.agent_loop(max_iterations=3)
    async def carry(ctx: AgentContext[str], data: str) -> str | Continue:
        if ctx.checkpoint is None:
            return Continue(data)
        assert ctx.checkpoint == data
        return ctx.checkpoint

    @app.task
    async def join(parts: dict[str, str]) -> dict[str, int]:
        assert all(part == body for part in parts.values())
        return {name: len(part) for name, part in parts.items()}

    flow = (
        WorkflowBuilder("big")
        .task("first", task=echo)
        .agent_loop("carry", task="carry", max_iterations=3, after="first")
        .task("left", task=echo, after="carry")
        .task("right", task=echo, after="carry")
        .task("third", task=echo, after="carry")
        .task("fourth", task=echo, after="carry")
        .task("join", after=["left", "right", "third", "fourth"])
        .build()
    )
    async with deployment(app) as d:
        assert await (await echo.start(body)).result(20) == body
        handle = await d.client.start(flow, body)
        assert await handle.result(30) == dict.fromkeys(("left", "right", "third", "fourth"), size)
        sizes = [len(entry.payload) for entry in await d.outside.log.history(handle.run_id)]
        assert max(sizes) < 1024 * 1024


async def test_many_middling_parents_add_up():
    """Twenty parents of 200 KB each, none large enough to be stored apart, join in one input."""
    app, body = App("middling"), text(200_000)

    @app.task
    async def make() -> str:
        return body

    @app.task
    async def join(parts: dict[str, str]) -> int:
        return sum(len(part) for part in parts.values())

    names = [f"p{number}" for number in range(20)]
    build = WorkflowBuilder("middling")
    for name in names:
        build = build.task(name, task=make)
    async with deployment(app) as d:
        assert (
            await (await d.client.start(build.task("join", after=names).build())).result(30)
            == 20 * 200_000
        )


async def test_a_saved_checkpoint_may_be_large():
    """save_checkpoint and load_checkpoint carry 2 MB."""
    app, body = App("saved"), text(2_000_000)

    @app.task
    async def save(ctx: Context[str]) -> bool:
        await ctx.save_checkpoint(body)
        return await ctx.load_checkpoint() == body

    async with deployment(app):
        assert await (await save.start()).result(20) is True


async def test_a_payload_beyond_the_limit_is_refused_at_its_source():
    """An input above 64 MB is refused at the caller; such an output fails the step and says how much it may be."""
    app = App("beyond")

    @app.task
    async def make() -> str:
        return "x" * (64 * 1024 * 1024 + 1)

    @app.task
    async def take(data: str) -> int:
        return len(data)

    async with deployment(app):
        with pytest.raises(PayloadTooLarge, match="64 MB"):
            await take.start("x" * (64 * 1024 * 1024 + 1))
        with pytest.raises(RunFailed, match="64 MB") as failure:
            await (await make.start()).result(30)
        assert failure.value.failure == "non_retriable"


# -- types -----------------------------------------------------------------------------------------


class StructArg(msgspec.Struct):
    n: int
    name: str = "struct"


@dataclass
class DataArg:
    n: int
    name: str = "data"


class TypedArg(TypedDict):
    n: int


@attrs.define
class AttrsArg:
    n: int
    name: str = "attrs"


class ModelArg(pydantic.BaseModel):
    n: pydantic.PositiveInt
    name: str = "model"


VALUES: list[tuple[type, Any]] = [
    (StructArg, StructArg(3)), (DataArg, DataArg(3)), (TypedArg, {"n": 3}), (AttrsArg, AttrsArg(3)),
    (ModelArg, ModelArg(n=3)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[kind.__name__ for kind, _ in VALUES])
async def test_typed_arguments_and_results(kind, value):
    """A value of each kind reaches the handler as its type and comes back as its type; lists of them too."""
    app, seen = App("typed"), []

    @app.task
    async def alone(value: kind) -> kind:
        seen.append(value)
        return value

    @app.task
    def several(first: kind, others: list[kind], factor: int = 2) -> list[kind]:
        seen.extend([first, *others])
        return others * factor

    async with deployment(app):
        assert await (await alone.start(value)).result(10) == value
        assert await (await several.start(value, [value, value])).result(10) == [value] * 4
        assert seen == [value] * 4
        assert all(isinstance(item, dict if kind is TypedArg else kind) for item in seen)
        with pytest.raises(InvalidInput, match="n"):
            await alone.start({"n": "three"})
        with pytest.raises(InvalidInput):
            await several.start(value, value)
        with pytest.raises(InvalidInput, match="first"):
            await several.start()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (StructArg, "struct"),
        (DataArg, "data"),
        (AttrsArg, "attrs"),
        (ModelArg, "model"),
    ],
)
async def test_defaults_of_an_input_are_part_of_the_output(kind, name):
    """A handler that returns its argument returns the fields that were filled from defaults as well."""
    app = App("defaults")

    @app.task
    async def back(value: kind) -> kind:
        return value

    async with deployment(app) as d:
        handle = await d.client.start(back.definition(), {"n": 3})
        assert await handle.result(10) == {"n": 3, "name": name}


async def test_a_model_checks_its_own_rules_at_the_caller():
    """A Pydantic rule refuses a start before anything is sent; in a run it fails the step for good."""
    app = App("rules")

    @app.task(retry=3)
    async def take(value: ModelArg) -> int:
        return value.n

    async with deployment(app) as d:
        with pytest.raises(InvalidInput, match="greater than 0"):
            await take.start({"n": -1})
        with pytest.raises(RunFailed, match="greater than 0") as failure:
            bare = replace(take.definition(), input_schema=None)  # as a file may have none
            await (await d.client.start(bare, {"n": -1})).result(10)
        assert failure.value.failure == "non_retriable"


async def test_wrong_arguments_are_refused_at_the_caller():
    """Wrong types, too many, too few and unknown arguments raise InvalidInput; nothing is written."""
    app = App("refused")

    @app.task
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @app.workflow
    def flow(a: int, b: int):
        return add(a, b)

    async with deployment(app) as d:
        before = (await d.state(subjects.EVENTS))["last_seq"]
        for args, kwargs in (
            (("1",), {}), ((1, 2, 3), {}), ((), {}), ((1,), {"c": 2}), ((1,), {"a": 2}), ((1.5,), {}),
            ((object(),), {}), (({1: 2},), {}),
        ):  # fmt: skip
            with pytest.raises(InvalidInput):
                await add.start(*args, **kwargs)
        with pytest.raises(InvalidInput):
            await flow.start("one", 2)
        assert (await d.state(subjects.EVENTS))["last_seq"] == before
        assert await (await add.start(1)).result(10) == 2
        assert await (await flow.start(1, b=5)).result(10) == 6


async def test_a_result_that_is_no_json_fails_the_step_for_good():
    """What a handler returns must be JSON; the error names the type and is not retried."""
    app, calls = App("unwritable"), []

    @app.task(retry=Retry(3, delay="1ms"))
    async def bad() -> Any:
        calls.append(1)
        return threading.Lock()

    async with deployment(app):
        with pytest.raises(RunFailed, match="lock") as failure:
            await (await bad.start()).result(10)
    assert failure.value.failure == "non_retriable"
    assert calls == [1]


class Homemade:
    """A class that nothing can read from JSON."""


def test_an_annotation_that_json_cannot_fill_is_an_error_at_import():
    """A parameter of a class that cannot be read from JSON is refused when the task is defined."""
    app = App("homemade")
    with pytest.raises(DefinitionError, match="Homemade"):

        @app.task
        async def take(value: Homemade) -> None: ...

    with pytest.raises(DefinitionError, match="Homemade"):

        @app.task
        async def take_many(values: list[Homemade], n: int) -> None: ...
