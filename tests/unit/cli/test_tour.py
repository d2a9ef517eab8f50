"""The tour of commands: every one can be used by a program, and a mistyped one is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from dagnats.cli.main import main


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        made = group.get_command(context, name)
        assert made is not None, name
        if isinstance(made, click.Group):
            yield from commands(made, (*path, name))
        else:
            yield " ".join((*path, name)), made


EVERY = dict(commands(main))


def test_the_walk_finds_commands_and_those_of_groups():
    """Otherwise the next test would test nothing."""
    assert {"init", "dev", "serve", "worker", "scheduler", "completion", "run start"} <= set(EVERY)
    assert len(EVERY) > 20


@pytest.mark.parametrize("words", EVERY)
def test_every_command_has_json(words):
    """Whatever a person can ask, a program can."""
    options = [option for made in EVERY[words].params for option in made.opts]

    assert "--json" in options


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["wrker"], "no command wrker; did you mean worker?"),
        (["run", "sart"], "no command sart; did you mean start?"),
        (["xyz"], "no command xyz; commands: init, dev,"),
    ],
)
def test_a_mistyped_command_is_guessed(typed, hint):
    """At the top as in the groups."""
    said = CliRunner().invoke(main, typed)

    assert said.exit_code == 2
    assert hint in said.output


@pytest.mark.parametrize("group", ["run", "workflow"])
def test_the_help_of_a_group_cuts_no_sentence(group):
    """The first sentence of each command is there to its end."""
    said = CliRunner().invoke(main, [group, "--help"]).output

    assert "Commands:" in said
    assert "..." not in said.partition("Commands:")[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_as_json_is_the_same_script(shell):
    """``--json`` wraps the script, and changes nothing of it."""
    script = CliRunner().invoke(main, ["completion", shell]).output
    told = json.loads(CliRunner().invoke(main, ["completion", shell, "--json"]).output)

    assert told["shell"] == shell
    assert told["script"] == script.removesuffix("\n")
