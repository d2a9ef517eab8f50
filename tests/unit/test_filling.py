"""Decoded dataclasses hold the defaults that stand at their class, wherever they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import attrs
import msgspec
import pytest

from dagnats import convert


@dataclass
class Plain:
    n: int
    name: str = "plain"
    more: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    n: int
    name: str = "frozen"


@dataclass(slots=True)
class Slotted:
    inner: Plain
    name: str = "slotted"


@dataclass
class Tree:
    children: list[Tree]
    name: str = "tree"


class Holder(msgspec.Struct):
    inner: Plain


@attrs.define
class Defined:
    inner: Plain


PLAIN = {"n": 1, "name": "plain", "more": []}


@pytest.mark.parametrize(
    ("kind", "given", "whole"),
    [
        (Plain, {"n": 1}, PLAIN),
        (Plain, {"n": 1, "name": "given"}, {**PLAIN, "name": "given"}),
        (Frozen, {"n": 1}, {"n": 1, "name": "frozen"}),
        (Slotted, {"inner": {"n": 1}}, {"inner": PLAIN, "name": "slotted"}),
        (
            Tree,
            {"children": [{"children": []}]},
            {"children": [{"children": [], "name": "tree"}], "name": "tree"},
        ),
        (Holder, {"inner": {"n": 1}}, {"inner": PLAIN}),
        (Defined, {"inner": {"n": 1}}, {"inner": PLAIN}),
        (dict[str, list[Plain]], {"a": [{"n": 1}]}, {"a": [PLAIN]}),
        (tuple[int, Plain], [1, {"n": 1}], [1, PLAIN]),
        (Plain | None, None, None),
        (Any, {"n": 1}, {"n": 1}),
    ],
)
def test_what_is_read_is_written_whole(kind: Any, given: Any, whole: Any) -> None:
    """Decoded and encoded again, fields that were left out have their defaults."""
    value = convert.decoder(kind)(convert.encode(given))
    assert convert.plain(convert.encode(value)) == whole
