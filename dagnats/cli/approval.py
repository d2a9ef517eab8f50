"""`dagnats approval`: the questions that runs put to people, and their answers."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any

import click

from dagnats.cli import given, render
from dagnats.cli.completion import run_ids
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.outcome import UNSET
from dagnats.requests import Decided


@click.group(cls=Commands, aliases={"ls": "list"})
def approval() -> None:
    """List open questions; approve or reject them."""


@approval.command("list", epilog=examples("dagnats approval list"))
@click.option("--run", "run_id", default="", metavar="RUN", help="Only of this run.")
@url_option
@json_option
def list_(run_id: str, url: str | None, as_json: bool) -> None:
    """List the questions that wait for an answer, the newest first."""

    async def ask() -> Any:
        async with open_client(url) as client:
            chosen = await client.find(run_id) if run_id else ""
            return await client.approvals(chosen)

    questions = run_async(ask)
    if as_json:
        emit_json(questions)
        return
    for question in questions:
        votes = f"  {len(question.votes)} of {question.quorum}" if question.quorum > 1 else ""
        words = question.description or question.subject or question.workflow
        click.echo(
            f"{question.run_id}  {question.step}  until {question.expires_at}{votes}  {render.harmless(words)}"
        )
    if not questions:
        click.echo("no questions are open", err=True)


def user() -> str:
    """Who is at the keyboard, for the record; empty when that cannot be told."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def decision_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """RUN, STEP, and who says what."""
    function = click.option("--comment", default="", help="Why; it is kept with the run.")(function)
    text = "Who decides (default: your user name)."
    function = click.option("--by", default="", help=text)(function)
    function = click.argument("step")(function)
    function = click.argument("run_id", metavar="RUN", shell_complete=run_ids)(function)
    return url_option(json_option(function))


@click.command("approve", epilog=examples('dagnats approval approve 3f2a91c4 ok --comment "fine"'))
@decision_options
@click.option("--answer", metavar="JSON", default=None, help="What the question's form asks for.")
def approve(
    *,
    run_id: str,
    step: str,
    by: str,
    comment: str,
    answer: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Say yes. One answer counts: when somebody was faster, you are told."""
    raw = UNSET if answer is None else given.read_input(answer)

    async def ask() -> Decided:
        async with open_client(url) as client:
            chosen = await client.find(run_id)
            return await client.approve(chosen, step, comment=comment, answer=raw, by=by or user())

    _tell(run_async(ask), as_json)


@click.command(
    "reject", epilog=examples('dagnats approval reject 3f2a91c4 ok --comment "too risky"')
)
@decision_options
def reject(run_id: str, step: str, by: str, comment: str, url: str | None, as_json: bool) -> None:
    """Say no: the step fails, and the run goes down its failure path."""

    async def ask() -> Decided:
        async with open_client(url) as client:
            chosen = await client.find(run_id)
            return await client.reject(chosen, step, comment=comment, by=by or user())

    _tell(run_async(ask), as_json)


def _tell(how: Decided, as_json: bool) -> None:
    if as_json:
        emit_json(how)
        return
    more = f"; {how.missing} more must approve" if how.missing else ""
    click.echo(f"step {how.step} of run {how.run_id} is {how.status}{more}")


approval.add_command(approve)
approval.add_command(reject)
