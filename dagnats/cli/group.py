"""Groups of commands that guess what a mistyped one meant, and know other spellings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import click

_SENTENCE = 400  # longer than any


def examples(*lines: str) -> str:
    """The end of a command's help."""
    word = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", word, *(f"  {line}" for line in lines)])


def refuse_unknown(
    ctx: click.Context, name: str, known: list[str], aliases: Iterable[str] = ()
) -> None:
    """End with an error that guesses which command was meant; options are left to click."""
    if name.startswith("-"):
        return
    close = difflib.get_close_matches(name, [*known, *aliases], n=1)
    hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(known)}"
    ctx.fail(f"no command {name}; {hint}")


class Commands(click.Group):
    """A group with aliases; ``aliases`` maps another spelling to a command's name."""

    def __init__(self, *args: Any, aliases: dict[str, str] | None = None, **kwargs: Any) -> None:
        self.aliases = aliases or {}
        super().__init__(*args, **kwargs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name or of another spelling of it."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run, or an error that guesses which was meant."""
        name = args[0]
        if self.get_command(ctx, name) is None:
            refuse_unknown(ctx, name, self.list_commands(ctx), self.aliases)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they are written."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Each command with its whole first sentence, wrapped instead of cut."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, made.get_short_help_str(_SENTENCE)) for name, made in self.commands.items()]
            )
