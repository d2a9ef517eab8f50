"""Filters: what they hold of, and where they cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.triggers.filters import parse

ORDER = Raw(
    b'{"amount": 120, "country": "DE", "items": [{"n": 1}], "paid": true, "note": null, "who": {"vip": false}}'
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("amount > 100", True),
        ('amount > 100 and country == "FR"', False),
        ('country == "FR" or amount >= 120', True),
        ('not country == "FR" and paid', True),
        ('not (country == "DE" and paid)', False),
        ("items.0.n == 1", True),
        ("who.vip", False),
        ("note", False),
        ("note == null", True),
        ("missing > 1", False),
        ("missing != 1", False),
        ('amount == "120"', False),
        ("paid == true and amount < 1.5e3", True),
        ("a or paid and amount < 0", False),
    ],
)  # fmt: skip
def test_what_holds(text, holds):
    """An "and" binds before "or"; what is missing makes a comparison false."""
    assert parse(text)(ORDER) is holds


@given(st.text(alphabet='ab.01 "()=<>!andornt', max_size=40))
def test_anything_is_a_filter_or_is_told_why_not(text):
    """Never another error, whatever is written; and what is one can be asked of anything."""
    try:
        found = parse(text)
    except ValueError:
        return

    assert found(ORDER) in (True, False)
    assert found(Raw(b"7")) in (True, False)


def test_nesting_is_bounded():
    """What is nested beyond all measure is refused, not followed."""
    for text in ("(" * 200 + "a" + ")" * 200, "not " * 200 + "a"):
        with pytest.raises(ValueError, match="nested more than"):
            parse(text)
