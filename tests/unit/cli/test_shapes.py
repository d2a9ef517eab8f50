"""Schemas as people read them."""

from __future__ import annotations

import pytest

from dagnats.cli.shapes import shape, shape_lines
from dagnats.schemas import schema_of
from tests.support.typed import Cat, Colour, Dog, Page, Pair, Partial


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date"}, "string (date)"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"type": "array", "items": {"type": "integer"}}, "[integer, …]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{…: number}"),
        ({"properties": {"a": {"type": "integer", "default": 3}}}, "{a?: integer = 3}"),
        ({"properties": {"a": True}, "required": ["a"]}, "{a: anything}"),
        ({}, "anything"),
        ({"allOf": "nonsense", "anyOf": 5, "type": 7, "required": None}, "7"),
    ],
)
def test_shapes(schema, text):
    """Each kind of schema; also one that no type of ours makes."""
    assert shape(schema) == text


def test_definitions_have_a_line_each():
    """And are named where they are used."""
    lines = dict.fromkeys(shape_lines({"input": schema_of(Page | None), "output": None}))

    assert list(lines) == [("input", "Page | null"), ("", "Page = {a: string, b?: [Page, …]}")]


@pytest.mark.parametrize("kind", [Cat | Dog, Colour, Pair, Partial, dict[str, list[Page]]])
def test_every_line_is_short(kind):
    """Whatever the type."""
    assert all(len(line) <= 300 for _, line in shape_lines({"input": schema_of(kind)}))


def test_deep_and_wide_schemas_are_cut():
    """``--json`` has all of it."""
    deep: dict = {"type": "integer"}
    for _ in range(50):
        deep = {"properties": {"a": deep}}
    wide = {"properties": {f"member_{n}": {"type": "integer"} for n in range(100)}}
    many = {"$defs": {f"T{n}": {"type": "integer"} for n in range(30)}}

    assert "…" in shape(deep)
    assert next(iter(shape_lines({"input": wide})))[1].endswith("…")
    assert list(shape_lines({"input": many}))[-1] == ("", "… and 10 more types")
