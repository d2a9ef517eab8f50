"""``skip_if`` and ``when``: what is compared, and what is never true."""

from __future__ import annotations

import pytest
from msgspec import Raw

from dagnats.core.conditions import holds
from dagnats.core.model import OPERATORS, Condition
from tests.support.builders import raw

DATA = {"n": 3, "f": 3.5, "s": "b", "t": True, "z": None, "list": [1], "o": {"in": 1}, "0": "key"}


def true(field: object, op: str, value: object, data: object = DATA) -> bool:
    """Whether a comparison of a step's output holds."""
    return holds(Condition("a", field, op, value), lambda step: raw(data if step == "a" else None))


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("n", "==", 3),
        ("n", "==", 3.0),
        ("n", "!=", 4),
        ("n", "<", 3.5),
        ("f", ">", 3),
        ("f", "<=", 3.5),
        ("f", ">=", 3.5),
        ("s", "==", "b"),
        ("s", "<", "c"),
        ("s", ">", "B"),
        ("t", "==", True),
        ("t", "!=", False),
        ("z", "==", None),
        ("list", "==", [1]),
        ("list.0", "==", 1),
        ("o.in", "==", 1),
        ("0", "==", "key"),
        ("", "==", DATA),
    ],
)
def test_what_holds(field, op, value):
    """Numbers compare as numbers, texts by code point, the rest for equality."""
    assert true(field, op, value)


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("n", "!=", 3),
        ("n", "<", 3),
        ("n", ">", 3),
        ("n", "<=", 2.9),
        ("n", ">=", 3.1),
        ("s", "==", "B"),
        ("t", "==", False),
    ],
)
def test_what_does_not_hold(field, op, value):
    """The opposite of each."""
    assert not true(field, op, value)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gone", 3),
        ("gone", None),
        ("n", "3"),
        ("s", 3),
        ("t", 1),
        ("n", True),
        ("z", 0),
        ("n.x", 3),
    ],
)
def test_missing_fields_and_mismatched_types(op, field, value):
    """A field that is not there and values of two types make every comparison false."""
    assert not true(field, op, value)


@pytest.mark.parametrize("op", ["<", ">", "<=", ">="])
def test_what_has_no_order(op):
    """Booleans, null and structures are only equal or not."""
    for field in ("t", "z", "list", "o"):
        assert not true(field, op, DATA[field])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5_000, b'{"n":' + b"[" * 5_000])
def test_outputs_that_are_not_json(body):
    """An output that cannot be read makes every comparison false."""
    assert not holds(Condition("a", "n", "!=", 3), lambda _: Raw(body))
    assert not holds(Condition("a", "", "!=", 3), lambda _: Raw(body))


def test_the_run_input():
    """Without a step the run's input is compared."""
    condition = Condition("", "go", "==", True)

    assert holds(condition, lambda step: raw({"go": not step}))
