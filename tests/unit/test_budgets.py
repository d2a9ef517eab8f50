"""Budgets as people write them: what is wrong is said in one line."""

from __future__ import annotations

import pytest

from dagnats import Budget, DefinitionError, InvalidInput
from dagnats.budgets import more_of, parsed
from dagnats.core.model import Budget as Bounds


def test_the_command_lines_form():
    """Everything at once."""
    given = parsed("usd=2.5, tokens=1000,wall=20m,iterations=3,soft=0.5").bounds
    assert given == Bounds(
        usd_nano=2_500_000_000, tokens=1000, wall_ms=1_200_000, iterations=3, soft=0.5
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tokens=x", "tokens takes a whole number, not 'x'"),
        ("usd=much", "usd takes a number, not 'much'"),
        ("usd=-1", "usd: -1 is out of bounds"),
        ("usd=nan", "usd: "),
        ("wall=soon", "'soon' is not a duration"),
        ("dollars=3", 'write for example "usd=2,tokens=200000"'),
        ("", 'write for example "usd=2,tokens=200000"'),
        ("soft=0.5", "the budget bounds nothing"),
    ],
)
def test_a_budget_that_is_none(text, problem):
    """The message names the part."""
    with pytest.raises(InvalidInput) as caught:
        parsed(text)
    assert problem in caught.value.message


def test_more_of_nothing():
    """Raising takes an amount."""
    with pytest.raises(InvalidInput, match="how much more"):
        more_of(0, 0, None, 0)
    with pytest.raises(InvalidInput, match="more budget"):
        more_of(-1, 0, None, 0)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"tokens": 1.5}, "whole number"),
        ({"usd": "2"}, "give a number"),
        ({"wall": 0}, "wall"),
        ({}, "nothing"),
    ],
)
def test_python_says_it_at_once(given, problem):
    """Where it is written."""
    with pytest.raises(DefinitionError, match=problem):
        Budget(**given)
