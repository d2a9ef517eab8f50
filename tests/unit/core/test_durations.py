"""Durations: what people may write, and what it means."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dagnats.core.durations import from_file_ms, parse_ms, text_of_ms, to_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        (" 250ms ", 250),
        ("1.5s", 1_500),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("0s", 0),
        ("1ns", 1),
        ("1500us", 2),
        ("1500µs", 2),
        ("1500\u03bcs", 2),
        ("999999999ns", 1_000),
        ("0.1s", 100),
    ],
)
def test_texts(text, ms):
    """Numbers with units add up; fractions of a millisecond are rounded up."""
    assert parse_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["", " ", "s", "10", "1.5", "-5s", "5s-", "1h30", "5 parsecs", "1e3s", ".5s", "5S"]
)
def test_texts_that_are_none(text):
    """Anything else is refused with the text and an example."""
    with pytest.raises(ValueError, match="is not a duration such as") as caught:
        parse_ms(text)

    assert repr(text) in str(caught.value)


def test_a_bare_number_is_told_about_units():
    """A number without a unit is answered with the likeliest unit."""
    with pytest.raises(ValueError, match='write "42s" for seconds'):
        parse_ms("42")


@pytest.mark.parametrize("text", ["9" * 400 + "s", "9" * 310 + "ns" + "9" * 310 + "w"])
def test_texts_beyond_numbers(text):
    """A duration that no number holds is refused like any other mistake."""
    with pytest.raises(ValueError, match="cannot be as long as"):
        parse_ms(text)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (timedelta(seconds=90), 90_000),
        (2, 2_000),
        (0.0001, 1),
        (0, 0),
        ("1m", 60_000),
        (1.1, 1_100),
    ],
)
def test_python_values(value, ms):
    """In Python a duration is a timedelta, seconds, or a text."""
    assert to_ms(value) == ms


@pytest.mark.parametrize(
    "value", [-1, timedelta(seconds=-1), float("nan"), float("inf"), 1e308, True, None, [1]]
)
def test_python_values_that_are_none(value):
    """Negative, endless and other values are refused."""
    with pytest.raises(ValueError, match="duration"):
        to_ms(value)


@pytest.mark.parametrize(
    ("value", "ms"),
    [(30_000_000_000, 30_000), (1, 1), (0, 0), ("30s", 30_000), (10**400, 10**394)],
)
def test_file_values(value, ms):
    """In a file a duration is a text or an integer of nanoseconds."""
    assert from_file_ms(value) == ms


@pytest.mark.parametrize("value", [-1, 1.5, True, None, [], "30"])
def test_file_values_that_are_none(value):
    """Other types, bare numbers in quotes and negative integers are refused."""
    with pytest.raises(ValueError, match="duration"):
        from_file_ms(value)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (90_000, "1m30s"), (1_500, "1s500ms"), (3_600_000, "1h"), (172_800_000, "48h")],
)
def test_the_canonical_text(ms, text):
    """Each duration has one text."""
    assert text_of_ms(ms) == text
