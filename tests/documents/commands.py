"""Reads `dagnats …` lines out of console blocks and holds them against the command line."""

import importlib
import re
import shlex
from collections.abc import Iterator

import click

from tests.documents import pages

ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}
ASSIGNMENT = re.compile(r"^\w+=")


def root_command() -> click.Group:
    """The `dagnats` command itself."""
    try:
        module = importlib.import_module("dagnats.cli.main")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("dagnats"):
            raise
        pages.absent(f"there is no {error.name} yet")
        raise
    candidates = [module.main, *vars(module).values()]
    return next(item for item in candidates if isinstance(item, click.Group))


def shown(content: str) -> Iterator[list[str]]:
    """The arguments of every `dagnats` call in a console block."""
    joined = re.sub(r"\\\n\s*>?", " ", content)
    for line in joined.splitlines():
        if line.startswith("$ "):
            yield from _calls(line[2:])


def _calls(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word in ENDS or set(word) <= set("|&;<>"):
            words = [item for index, item in enumerate(call) if not _is_environment(call, index)]
            if words and words[0].rsplit("/", 1)[-1] == "dagnats":
                yield words[1:]
            call = []
        else:
            call.append(word)


def _is_environment(call: list[str], index: int) -> bool:
    return all(ASSIGNMENT.match(word) for word in call[: index + 1])


def problem(root: click.Group, arguments: list[str]) -> str | None:
    """What is wrong with a call: an unknown command or option; nothing when it is right."""
    command: click.Command = root
    context = click.Context(root, info_name="dagnats")
    words = iter(arguments)
    for word in words:
        if word == "--":
            return None
        if word.startswith("-") and len(word) > 1:
            option = _option(command, context, word)
            if option is None:
                return f"`{context.command_path}` has no option {word}"
            if "=" not in word and not option.is_flag and not option.count:
                for _ in range(option.nargs):
                    next(words, None)
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"`{context.command_path}` has no command {word}"
            command, context = found, click.Context(found, info_name=word, parent=context)
    return None


def _option(command: click.Command, context: click.Context, word: str) -> click.Option | None:
    name = word.partition("=")[0]
    for parameter in command.get_params(context):
        names = (*parameter.opts, *parameter.secondary_opts)
        if isinstance(parameter, click.Option) and name in names:
            return parameter
    return None
