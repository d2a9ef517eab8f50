"""What people hand to a command: JSON, files, ``key=value`` pairs, moments. Mistakes are told with their place."""

from __future__ import annotations

import json
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from msgspec import Raw

from dagnats.core.durations import parse_ms
from dagnats.errors import InvalidInput

_BYTE = re.compile(r" \(byte (\d+)\)")
_WORD = re.compile(r"[^\W\d][^\"{}\[\]\\]*\Z")
_EXCERPT = 12


def read_file(path: str, what: str) -> bytes:
    """The bytes of a file; ``-`` is standard input.

    Raises:
        InvalidInput: it cannot be read.
    """
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{what}: no file {path} in {Path.cwd()}") from None
    except OSError as error:
        raise InvalidInput(f"{what}: {path} cannot be read: {error.strerror}") from error


def parse_json(data: bytes, what: str) -> object:
    """JSON as builtins.

    Raises:
        InvalidInput: it is none; the message says in which line and column, and shows the place.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{what} is not JSON: {_place(data, error)}") from None


def _place(data: bytes, error: Exception) -> str:
    if not data.strip():
        return "it is empty"
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error).lower():
        return "it is not UTF-8 text"
    found = _BYTE.search(str(error))
    reason = _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ")
    if found is None:
        return (
            f"it ends too early ({_line_column(data, len(data))})" if "trunc" in reason else reason
        )
    at = int(found[1]) - ("trailing" in reason)  # there msgspec counts what it has read already
    near = data[at : at + _EXCERPT].decode(errors="replace").split("\n")[0]
    return f"{reason} in {_line_column(data, at)}" + (f", at {near!r}" if near else "")


def _line_column(data: bytes, at: int) -> str:
    before = data[:at]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return f"line {line}, column {column}"


def read_input(text: str | None) -> Raw:
    """A run's input from the command line: JSON, ``-`` for standard input, ``@file``, or nothing.

    Raises:
        InvalidInput: it is not JSON, or the file cannot be read.
    """
    if text is None:
        return Raw(b"null")
    if text == "-" or text.startswith("@"):
        path = text.removeprefix("@")
        data, what = (
            read_file(path, "the input"),
            "the input" if text == "-" else f"the input in {path}",
        )
    else:
        data, what = text.encode(errors="surrogateescape"), "the input"
    try:
        parse_json(data, what)
    except InvalidInput as problem:
        raise InvalidInput(problem.message + _hint(text, problem.message)) from None
    return Raw(data.strip())


def _hint(text: str, problem: str) -> str:
    """What a shell or a habit may have done to the JSON."""
    if _WORD.match(text):
        return f"; for a text, write {shlex.quote(json.dumps(text, ensure_ascii=False))}"
    if text.startswith(("{", "[")) and "too early" not in problem:
        return '; texts and names are in double quotes, the whole in single: \'{"name": "value"}\''
    return ""


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """``key=value`` pairs as a dict.

    Raises:
        click.BadParameter: one has no ``=``.
    """
    found: dict[str, str] = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param_hint=option)
        found[key] = rest
    return found


def duration_ms(text: str | None, option: str) -> int:
    """Milliseconds of a duration such as ``1h30m``; 0 for none.

    Raises:
        click.BadParameter: it is none.
    """
    if not text:
        return 0
    try:
        return parse_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def moment_ms(text: str | None, now_ms: int, option: str) -> int:
    """Unix milliseconds of "1h" (that long ago) or an RFC 3339 time or date; 0 for none.

    Raises:
        click.BadParameter: it is neither.
    """
    if not text:
        return 0
    try:
        return max(0, now_ms - parse_ms(text))
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        message = (
            f'{text!r} is neither a duration such as "1h" nor a time such as "2026-01-31T12:00Z"'
        )
        raise click.BadParameter(message, param_hint=option) from None
    return max(0, int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000))
