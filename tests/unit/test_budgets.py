"""Budgets as people write them: what is wrong is said in one line."""

from __future__ import annotations

import pytest

from dagnats import Budget, DefinitionError, InvalidInput, WorkflowBuilder
from dagnats.budgets import more_of, parsed
from dagnats.core.definition import write_workflow
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
        ({"usd": 1, "wall": "1h", "per": "1d"}, "runs share usd and tokens"),
        ({"usd": 1, "on_limit": "refuse"}, "give per or key"),
        ({"usd": 1, "per": "400d"}, "Budget period"),
        ({"usd": 1, "key": "input."}, "write a path into the input"),
        ({"usd": 1, "key": "a", "on_limit": "replace"}, "Budget on_limit"),
    ],
)
def test_python_says_it_at_once(given, problem):
    """Where it is written."""
    with pytest.raises(DefinitionError, match=problem):
        Budget(**given)


SHARED = Budget(usd=100, tokens=9, per="1d", key="input.tenant", soft=0.5)


def test_a_budget_that_runs_share_is_a_limit():
    """It is written as such; the budget of each run stands beside it."""
    built = WorkflowBuilder("w", budget=[Budget(usd=2), SHARED], gate="tenants").task("a").build()

    written = write_workflow(built)
    assert written["budget"] == {"usd": 2}
    assert written["gate"] == "tenants"
    assert written["limits"] == [
        {"usd": 100, "period": "24h", "key": "tenant", "soft": 0.5},
        {"tokens": 9, "period": "24h", "key": "tenant", "soft": 0.5},
    ]
    assert repr(SHARED) == "Budget(usd=100, tokens=9, soft=0.5, period='24h', key='tenant')"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: WorkflowBuilder("w", budget=[Budget(usd=2), Budget(usd=1)]), "two are of each run"),
        (lambda: WorkflowBuilder("w").agent_loop("a", max_iterations=2, budget=SHARED), "only the runs of a workflow"),
        (lambda: WorkflowBuilder("w", gate="g").task("a").build(), "no limits for it to keep"),
        (lambda: WorkflowBuilder("w", budget=[SHARED, SHARED]).task("a").build(), "2 budgets in usd"),
    ],
)  # fmt: skip
def test_where_one_is_shared(make, problem):
    """By the runs of a workflow, and nowhere else."""
    with pytest.raises(DefinitionError, match=problem):
        make()
