"""The ``dagnats`` command: which commands there are, and how errors are told.

Commands are imported on use, so this module stays small and ``dagnats --help`` fast.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

import click

from dagnats import __version__
from dagnats.cli.group import refuse_unknown
from dagnats.errors import (
    DagNatsError,
    LetterNotFound,
    RequestError,
    RunNotFound,
    TriggerNotFound,
    WorkflowNotFound,
)

_INTERRUPTED: Final = 130


class Entry(NamedTuple):
    """Where a command lives, and its line in the tour."""

    place: str
    line: str


SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "Start here": {
        "init": Entry("dagnats.cli.init:init", "Make a project folder with a task and a workflow."),
        "dev": Entry("dagnats.cli.dev:dev", "Server, scheduler and your tasks; reloads on save."),
        "serve": Entry("dagnats.cli.serve:serve", "NATS and a scheduler in one process."),
    },
    "Processes": {
        "worker": Entry("dagnats.cli.worker:worker", "Run the tasks of your module."),
        "scheduler": Entry("dagnats.cli.scheduler:scheduler", "Advance runs; start several."),
    },
    "Workflows and runs": {
        "workflow": Entry("dagnats.cli.workflow:workflow", "Register, validate, list, show, draw."),
        "task": Entry("dagnats.cli.task:task", "List and show the tasks of the workers."),
        "run": Entry("dagnats.cli.run:run", "Start, watch, look into, cancel, retry, fork runs."),
        "usage": Entry("dagnats.cli.usage:usage", "Tokens and money: what runs have used."),
        "signal": Entry("dagnats.cli.signal:signal", "Send data to runs that wait for it."),
        "trigger": Entry(
            "dagnats.cli.trigger:trigger", "Schedules, subjects, webhooks: what starts runs."
        ),
        "trigger-type": Entry(
            "dagnats.cli.trigger_type:trigger_type", "Kinds of triggers that workers own."
        ),
        "event": Entry("dagnats.cli.signal:event", "Publish external events."),
        "approval": Entry(
            "dagnats.cli.approval:approval", "Open questions: list, approve, reject."
        ),
    },
    "Operate": {
        "doctor": Entry(
            "dagnats.cli.doctor:doctor", "Check everything, with the cure for each fault."
        ),
        "policy": Entry(
            "dagnats.cli.policy:policy", "Who may use the control plane: show, grant, revoke."
        ),
        "gate": Entry(
            "dagnats.cli.gate:gate", "Limits: who holds what, who waits; release a place."
        ),
        "dlq": Entry("dagnats.cli.dlq:dlq", "Dead letters: list, show, replay, discard, watch."),
        "auth": Entry(
            "dagnats.cli.auth:auth", "Credentials by role, and the server's side of them."
        ),
        "config": Entry(
            "dagnats.cli.config:config", "The settings in force, and where each is from."
        ),
        "completion": Entry("dagnats.cli.completion:completion", "Completion for your shell."),
    },
}


class Tour(click.Group):
    """A group that knows its commands by name only, and shows them in sections."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the tour."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """The command of that name, imported now."""
        entry = next((s[cmd_name] for s in SECTIONS.values() if cmd_name in s), None)
        if entry is None:
            return None
        module, _, name = entry.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run, or an error that guesses which was meant."""
        known = self.list_commands(ctx)
        if args[0] not in known:
            refuse_unknown(ctx, args[0], known)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """One section after the other, without importing any command."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.line) for name, entry in section.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command and end the process; errors are one line on stderr."""
        given = list(sys.argv[1:] if args is None else args)
        run = super().main
        if not standalone_mode:
            return run(given, prog_name or "dagnats", complete_var, standalone_mode=False, **extra)
        try:
            code = run(given, prog_name or "dagnats", complete_var, standalone_mode=False, **extra)
        except click.Abort:
            sys.exit(_INTERRUPTED)
        except click.ClickException as problem:
            if "--json" not in given:
                problem.show()
                sys.exit(problem.exit_code)
            _tell_json(problem.format_message(), "UsageError", problem.exit_code)
        except (DagNatsError, ExceptionGroup) as problem:
            known = _known(problem)
            if known is None:
                raise
            if "--json" in given:
                _tell_json(known.message, type(known).__name__, exit_code(known))
            click.echo(f"dagnats: {known.message}", err=True)
            sys.exit(exit_code(known))
        sys.exit(code if isinstance(code, int) else 0)


def exit_code(error: DagNatsError) -> int:
    """1, or 2 when what was asked is refused as it was made."""
    missing = isinstance(error, LetterNotFound | RunNotFound | TriggerNotFound | WorkflowNotFound)
    return 2 if isinstance(error, RequestError) and not missing else 1


def _known(problem: DagNatsError | ExceptionGroup[Any]) -> DagNatsError | None:
    """The error of ours inside what a task group raised."""
    while isinstance(problem, ExceptionGroup):
        if len(problem.exceptions) != 1:
            return None
        problem = problem.exceptions[0]
    return problem if isinstance(problem, DagNatsError) else None


def _tell_json(message: str, kind: str, code: int) -> NoReturn:
    click.echo(json.dumps({"error": message, "kind": kind}, ensure_ascii=False), err=True)
    sys.exit(code)


@click.command(
    cls=Tour,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@click.version_option(__version__, "--version", "-v", message="dagnats %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Durable workflows and agent loops on NATS JetStream.

    New here? `dagnats init shop`, then `cd shop` and `dagnats dev tasks.py`.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
