"""What people hand to a command."""

import click
import pytest
from msgspec import Raw

from dagnats.cli import given
from dagnats.errors import InvalidInput

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'{"a": }', "line 1, column 7"),
        (b'{\n\n  "a" 1}', "line 3, column 7"),
        ('["ü", x]'.encode(), "line 1, column 7"),
        (b'{"a": 1} 2', "line 1, column 10"),
        (b"[1, 2", "too early (line 1, column 6)"),
        (b" \n", "empty"),
        (b'"\xff"', "not UTF-8"),
    ],
)
def test_the_place_of_a_mistake(data, place):
    """Lines and columns count characters from 1."""
    with pytest.raises(InvalidInput, match="the thing is not JSON") as caught:
        given.parse_json(data, "the thing")

    assert place in caught.value.message


@pytest.mark.parametrize(
    ("text", "raw"), [(None, b"null"), ("1", b"1"), (' {"a": 1}\n', b'{"a": 1}'), ('"@x"', b'"@x"')]
)
def test_inputs_are_passed_on_as_they_are(text, raw):
    """Not decoded and written again: numbers keep their digits."""
    assert given.read_input(text) == Raw(raw)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("the sea", """write '"the sea"'"""),
        ("hello, world!", """write '"hello, world!"'"""),
        ("the sea's", """write '"the sea'"'"'s"'"""),
        ("grün", """write '"grün"'"""),
    ],
)
def test_a_text_without_quotes_is_shown_as_the_shell_wants_it(text, hint):
    """The hint can be typed as it is, whatever is in the text."""
    with pytest.raises(InvalidInput) as caught:
        given.read_input(text)

    assert caught.value.message.endswith(hint)


def test_moments():
    """A duration is so long ago; a time without a zone is UTC; nothing is no bound."""
    assert given.moment_ms("1h30m", NOW, "--since") == NOW - 5_400_000
    assert given.moment_ms("2026-01-31T12:00:00Z", NOW, "--since") == 1_769_860_800_000
    assert given.moment_ms("2026-01-31T12:00", NOW, "--since") == 1_769_860_800_000
    assert given.moment_ms("2026-01-31T13:00+01:00", NOW, "--since") == 1_769_860_800_000
    assert given.moment_ms(None, NOW, "--since") == 0
    assert given.moment_ms("9999999w", NOW, "--since") == 0
    assert given.moment_ms("0001-01-01", NOW, "--since") == 0
    with pytest.raises(click.BadParameter, match="1h"):
        given.moment_ms("soon", NOW, "--since")


def test_pairs():
    """The first "=" divides; an empty value is a value; an empty key is none."""
    assert given.pairs(("a=1", "b=x=y", "c="), "--meta") == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(click.BadParameter):
        given.pairs(("=1",), "--meta")


def test_durations():
    """As everywhere: a bare number is an error, with the cure."""
    assert given.duration_ms("1m", "--timeout") == 60_000
    assert given.duration_ms(None, "--timeout") == 0
    with pytest.raises(click.BadParameter, match='write "42s"'):
        given.duration_ms("42", "--timeout")
