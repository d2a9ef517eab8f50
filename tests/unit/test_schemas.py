"""Schemas from annotations: what they look like, and where there is none. The laws say what they accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from dagnats import App, DefinitionError, WorkflowBuilder
from dagnats.convert import spelled
from dagnats.core.schemas import schema_violation
from dagnats.schemas import schema_of
from tests.support.typed import Cat, Dog, Lenient, Model, Rights, raw


@dataclass
class Page:
    """A page."""

    title: str
    size: int = 0


class Strange:
    """What JSON cannot carry."""


class Loud(BaseModel):
    """A model whose author got its schema wrong."""

    a: int

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise RuntimeError("no schema today")


PAGE = {
    "title": "Page",
    "type": "object",
    "properties": {"title": {"type": "string"}, "size": {"type": "integer", "default": 0}},
    "required": ["title"],
    "description": "A page.",
}

app = App("papers")


@app.task
async def fetch(url: str) -> Page:
    """Give a page."""


@app.task
async def score(page: Page, words: int = 3, *, strict: bool = True) -> float:
    """Take several."""


@app.task
async def maybe(page: Page | None = None) -> dict[str, Model]:
    """Take one with a default."""


@app.task
async def nothing() -> None:
    """Take and give nothing."""


@app.task
async def untyped(x, y: Any = 1):
    """Promise nothing."""


@app.task
async def complain(report: dict) -> str:
    """Handle a failure."""


def schemas_of(function: Any, **options: Any) -> tuple[Any, Any]:
    """The input and output schema of a workflow made of a function."""
    made = App("one").workflow(**options)(function).definition()
    return made.input_schema, made.output_schema


# -- types and tasks -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Any, object, Strange, list[Strange], Loud, set[Loud] | None, 5])
def test_types_without_a_schema(kind):
    """They have none, and nobody is told of an error."""
    assert schema_of(kind) is None


def test_models_bring_their_own_schema():
    """Also inside other types; the definitions stand beside those of msgspec, at the top."""
    found = schema_of(dict[str, Model | None])

    assert found["additionalProperties"]["anyOf"] == [{"$ref": "#/$defs/Model"}, {"type": "null"}]
    assert found["$defs"]["Model"]["properties"]["b"]["items"] == {"$ref": "#/$defs/Model"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Rights, 3),
        (Lenient, "whatever"),
        (Cat, {"a": 1}),
        (list[Cat | None], [{"a": 1}]),
        (set[int], [1, 1]),
    ],
)
def test_schemas_are_no_stricter_than_the_reader(kind, value):
    """What msgspec reads in spite of its schema: sums of flags, tags that may be left out, sets."""
    assert not schema_violation(schema_of(kind), raw(value))


def test_a_tag_that_is_needed_stays():
    """Of one of several structs, the tag says which."""
    assert schema_violation(schema_of(Cat | Dog), raw({"a": 1}))


def test_a_task_takes_its_parameters():
    """One: the whole input. Several: an object with exactly these members."""
    assert fetch.definition().input_schema == {"type": "string"}
    assert fetch.definition().output_schema == {"$ref": "#/$defs/Page", "$defs": {"Page": PAGE}}
    assert score.definition().input_schema == {
        "type": "object",
        "properties": {
            "page": {"$ref": "#/$defs/Page"},
            "words": {"type": "integer", "default": 3},
            "strict": {"type": "boolean", "default": True},
        },
        "required": ["page"],
        "additionalProperties": False,
        "$defs": {"Page": PAGE},
    }


def test_a_single_default_allows_null():
    """``null`` is how a run begins that was given no input."""
    either = [{"$ref": "#/$defs/Page"}, {"type": "null"}]

    assert maybe.definition().input_schema["anyOf"] == either


def test_a_task_that_promises_nothing():
    """No parameters: any input is ignored. No annotations: nothing is checked but the names."""
    assert nothing.definition().input_schema is None
    assert nothing.definition().output_schema == {"type": "null"}
    assert untyped.definition().input_schema["properties"] == {"x": {}, "y": {"default": 1}}
    assert untyped.definition().output_schema is None


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (score, "(page: Page, words: int = 3, strict: bool = True) -> float"),
        (maybe, "(page: Page | None = None) -> dict[str, Model]"),
        (nothing, "() -> None"),
        (untyped, "(x, y: Any = 1)"),
    ],
)
def test_a_signature_for_callers(task, text):
    """As code, without modules, and without what the worker passes."""
    assert task.signature.text() == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Annotated[int, 5], "int"),
        (Literal["a.b", 1], "Literal['a.b', 1]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Mapping[str, list[Page] | None], "Mapping[str, list[Page] | None]"),
    ],
)
def test_types_are_spelled_for_people(kind, text):
    """In messages as in the catalogue."""
    assert spelled(kind) == text


def test_a_definition_is_made_once():
    """Its schemas are not cheap, and it is asked for at every start."""
    assert fetch.definition() is fetch.definition()


# -- workflows -------------------------------------------------------------------------------------


def test_a_workflow_gives_what_its_last_step_gives():
    """And takes what its function takes; a default is filled in by the caller, so the member is there."""

    def flow(url: str, words: int = 100):
        return score(fetch(url), words)

    taken, given = schemas_of(flow)
    start = App("one").workflow(flow).signature.encode_call(("x",), {}, fill=True)

    assert taken["required"] == ["url", "words"]
    assert given == {"type": "number"}
    assert bytes(start) == b'{"words":100,"url":"x"}'


def test_a_step_that_may_be_skipped_gives_null():
    """By its own condition, or because what it depends on was recovered."""

    def conditional(url: str):
        return score(fetch(url), when=fetch(url)["size"] > 3)

    def bypassed(url: str):
        return score(fetch(url, on_failure=complain), strict=False)

    for flow in (conditional, bypassed):
        assert schemas_of(flow)[1] == {"anyOf": [{"type": "number"}, {"type": "null"}]}


def test_a_handler_stands_in_for_a_last_step():
    """When it was recovered, the run gives what the handler gave."""

    def flow(page: dict):
        return score(page, on_failure=complain)

    assert schemas_of(flow)[1] == {"anyOf": [{"type": "number"}, {"type": "string"}]}


def test_a_structure_of_values():
    """An object or array of references is described by its parts; parts of outputs can be anything."""

    def flow(url: str):
        page = fetch(url)
        return {"score": score(page), "rest": [page, page.title, 3]}

    found = schemas_of(flow)[1]["$defs"]

    assert found["output"]["properties"] == {
        "score": {"type": "number"},
        "rest": {
            "type": "array", "minItems": 3, "maxItems": 3, "items": False,
            "prefixItems": [{"$ref": "#/$defs/Page"}, {}, {}],
        },
    }  # fmt: skip
    assert found["output"]["additionalProperties"] is False


def test_several_last_steps():
    """An object by their ids; one that may be skipped may be missing."""

    def flow(url: str) -> None:
        page = fetch(url)
        score(page)
        complain({"x": page}, when=page.size > 3)

    found = schemas_of(flow)[1]["$defs"]["output"]

    assert found["properties"] == {"score": {"type": "number"}, "complain": {"type": "string"}}
    assert found["required"] == ["score"]


def test_a_declared_type_counts():
    """What the function says of its result is the schema, and the type that results are read as."""

    def flow(url: str) -> Page:
        return {"title": fetch(url)["title"], "size": 3}

    made = App("one").workflow(flow)

    assert made.definition().output_schema == {"$ref": "#/$defs/Page", "$defs": {"Page": PAGE}}
    assert made.returns() is Page


def test_schemas_can_be_given_or_refused():
    """In place of those of the annotations; one that cannot be used is an error at import."""

    def flow(url: str):
        return fetch(url)

    mine = {"type": "object"}
    assert schemas_of(flow, input_schema=None, output_schema=mine) == (None, mine)
    with pytest.raises(DefinitionError, match=r"workflow\.output_schema"):
        schemas_of(flow, output_schema={"type": "text"})


def test_the_builder_takes_both():
    """As they are."""
    one, two = {"type": "object"}, {"type": "string"}
    made = WorkflowBuilder("b", input_schema=one, output_schema=two).task("a").build()

    assert (made.input_schema, made.output_schema) == (one, two)
