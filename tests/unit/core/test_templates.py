"""Templates: holes, paths and what they stand for."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from dagnats.core.templates import PathMissing, hole, holes, literal, path_of, render, select
from tests.support.builders import raw

INPUT = Raw(b'{"user": {"name": "Ada", "a.b": [10, {"x": null}]}, "n" : 1.50}')


def lookup(step: str) -> Raw:
    """The run's input, and one step's output."""
    return INPUT if not step else raw({"title": step})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", INPUT),
        ("user.name", b'"Ada"'),
        (["user", "a.b", "0"], b"10"),
        (["user", "a.b", -1, "x"], b"null"),
        (["user", "a.b", "-2"], b"10"),
        ("n", b"1.50"),
    ],
)
def test_paths(path, found):
    """A path leads to the very bytes that arrived."""
    assert bytes(select(INPUT, path_of(path))) == bytes(found)


@pytest.mark.parametrize("key", ["2", "-3", "x", "", "²", "--1", "1.0", "٣", "9" * 5_000, "1 "])
def test_keys_that_are_no_place(key):
    """In an array only whole numbers within its length lead anywhere."""
    with pytest.raises(PathMissing):
        select(Raw(b"[1, 2]"), (key,))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b'"text"',
        b'{"a":',
        b"\xff",
        b'{"\xff": 1}',
        b"[" * 5_000,
        b"[" * 5_000 + b"]" * 5_000,
    ],
)
def test_values_without_parts(body):
    """What holds no parts, or is not JSON at all, has no such part: nothing else is raised."""
    with pytest.raises(PathMissing):
        select(Raw(body), ("a", "b"))
    with pytest.raises(PathMissing):
        select(Raw(body), ("0", "b"))


def test_a_missing_part_is_named():
    """The message says whose part is missing and how far the path led."""
    with pytest.raises(PathMissing, match=r"^run input has no 'user\.age'$"):
        render({"$input": "user.age.years"}, lookup)
    with pytest.raises(PathMissing, match=r'^output of step "draft" has no \'text\'$'):
        render({"$step": "draft", "path": "text"}, lookup)


def test_rendering():
    """Holes are filled wherever they are; everything else stays."""
    template = {
        "who": {"$input": "user.name"},
        "list": [1, {"$step": "draft", "path": "title"}, {"$step": "fix"}],
        "plain": {"$literal": {"$input": "kept"}},
    }

    assert msgspec.json.decode(render(template, lookup)) == {
        "who": "Ada",
        "list": [1, "draft", {"title": "fix"}],
        "plain": {"$input": "kept"},
    }


def test_a_template_that_is_one_hole():
    """A single hole passes the bytes on as they are."""
    assert bytes(render({"$input": ""}, lookup)) == bytes(INPUT)
    assert bytes(render({"$input": "n"}, lookup)) == b"1.50"


@pytest.mark.parametrize(
    "item",
    [{"$input": 5}, {"$input": "a", "x": 1}, {"$step": ""}, {"$step": 3}, {"$step": "a", "x": 1}],
)
def test_holes_that_are_none(item):
    """What looks like a hole but is not one is an error, not plain JSON."""
    with pytest.raises(ValueError, match=r"path|stands alone|names a step"):
        hole(item)


def test_every_hole_is_found():
    """Holes in objects and arrays are found, those in literals are not holes."""
    template = [{"a": {"$step": "x"}}, {"$literal": {"$step": "y"}}, {"$input": ["a", "b"]}]

    assert list(holes(template)) == [("x", ()), ("", ("a", "b"))]


def test_a_literal_guards_what_looks_like_a_hole():
    """Plain data is guarded exactly where it would be misread."""
    assert literal({"a": [{"$step": 1}]}) == {"a": [{"$literal": {"$step": 1}}]}
    assert literal({"a": [1, "x"]}) == {"a": [1, "x"]}


def test_depth_is_bounded():
    """Templates 64 deep are read, deeper ones refused."""
    item: object = {"$input": ""}
    for _ in range(64):
        item = [item]

    assert list(holes(item)) == [("", ())]
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        list(holes([item]))
