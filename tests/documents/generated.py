"""The parts of the documentation that are written by the code they describe.

A part stands between ``<!-- generated: name -->`` and ``<!-- end -->``. ``python -m tests.documents.generated``
writes all of them anew; a test compares, so that a page cannot fall behind.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from dagnats import errors, limits
from tests.documents import diagrams, pages
from tests.documents.commands import root_command

PART: Final = re.compile(
    r"(<!-- generated: (?P<name>[a-z-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL
)


def error_tree() -> str:
    """The tree of exceptions, as it is drawn at the top of their module."""
    drawing = (errors.__doc__ or "").split("\n\n")[1]
    lines = [line.removeprefix("    ") for line in drawing.splitlines()]
    return "\n".join(["```text", *lines, "```"])


def limits_tables() -> str:
    """Every bound, by the sections of its module, with what its comment says."""
    lines: list[str] = []
    for title, rows in _limits():
        lines += [f"### {title.capitalize()}", "", "| limit | value | |", "|---|---|---|"]
        lines += [f"| `{name}` | {readable(name, value)} | {note} |" for name, value, note in rows]
        lines.append("")
    return "\n".join(lines).rstrip()


def _limits() -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
    source = Path(limits.__file__).read_text(encoding="utf-8")
    notes = _comments(source)
    title, rows = "", []
    for number, line in enumerate(source.splitlines(), start=1):
        if line.startswith("# -- "):
            if rows:
                yield title, rows
            title, rows = line.strip("# -"), []
        elif found := re.match(r"([A-Z_]+): Final", line):
            rows.append((found[1], getattr(limits, found[1]), notes.get(number, "")))
    yield title, rows


def _comments(source: str) -> dict[int, str]:
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.strip("# ") for t in found if t.type == tokenize.COMMENT}


def readable(name: str, value: int) -> str:
    """A number with its unit, in the largest unit that divides it."""
    sizes = {
        "_MS": (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)),
        "_BYTES": (("MB", 1 << 20), ("KB", 1 << 10), ("bytes", 1)),
    }
    for suffix, units in sizes.items():
        if name.endswith(suffix):
            unit, size = next((unit, size) for unit, size in units if value % size == 0)
            return f"{value // size:,} {unit}"
    return f"{value:,}"


def command_pages() -> str:
    """Every command with its arguments and options, from the command line itself."""
    root = root_command()
    context = click.Context(root, info_name="dagnats")
    return "\n\n".join(_command(root, context, depth=0)).strip()


def _command(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    if depth:
        usage = " ".join([context.command_path, *_operands(command)])
        yield f"{'#' * (depth + 1)} dagnats {context.command_path.partition(' ')[2]}"
        yield f"`{usage}`"
        yield _prose(command)
        options = "\n".join(_options(command))
        if options:
            yield options
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _command(inner, click.Context(inner, context, info_name=name), depth + 1)


def _operands(command: click.Command) -> list[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    names = [p.metavar or (p.name or "").upper() for p in arguments]
    return [
        name if p.required or name.startswith("[") else f"[{name}]"
        for p, name in zip(arguments, names, strict=True)
    ]


def _prose(command: click.Command) -> str:
    text = (command.help or command.short_help or "").split("\f")[0].replace("\b\n", "")
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _options(command: click.Command) -> Iterator[str]:
    """Every option in our own words: click's differ between its versions."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            takes = "" if parameter.is_flag else f" {_takes(parameter)}"
            yield f"- `{names}{takes}`: {' '.join((parameter.help or '').split())}"


def _takes(parameter: click.Option) -> str:
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(str(choice) for choice in parameter.type.choices)
    return {"integer range": "N", "integer": "N", "directory": "DIR"}.get(
        parameter.type.name, "TEXT"
    )


PARTS: Final[dict[str, Callable[[], str]]] = {
    "run-states": diagrams.run_diagram,
    "step-states": diagrams.step_diagram,
    "error-tree": error_tree,
    "limits": limits_tables,
    "commands": command_pages,
}


def renewed(text: str) -> str:
    """A page's text with its generated parts as they should be."""
    return PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}\n{part[4]}", text)


def main() -> None:
    """Write every generated part anew."""
    for page in pages.pages():
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(pages.ROOT)}\n")


if __name__ == "__main__":
    main()
