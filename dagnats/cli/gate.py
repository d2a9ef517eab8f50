"""`dagnats gate`: the limits of tasks and workflows, who has what of them, and who waits."""

from __future__ import annotations

from typing import Any, cast

import click

from dagnats.cli import render
from dagnats.cli.completion import run_ids
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import (
    console,
    emit_json,
    json_option,
    open_client,
    run_async,
    url_option,
)
from dagnats.core.amounts import nano_of, words_of
from dagnats.core.gates.view import GateView, LimitView
from dagnats.core.model import SHARED_BUDGETS
from dagnats.gates import GateKind

_KINDS = ("task", "workflow", "shared")


@click.group(cls=Commands, aliases={"ls": "list"})
def gate() -> None:
    """The limits of tasks and workflows: who has what of them, and who waits."""


@gate.command("list", epilog=examples("dagnats gate list"))
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """List the gates that tickets have asked."""

    async def ask() -> list[GateView]:
        async with open_client(url) as client:
            return await client.gates()

    gates = run_async(ask)
    if as_json:
        emit_json(gates)
        return
    table = render.table("GATE", "LIMITS", "HOLDING", "WAITING")
    for each in gates:
        limits = ", ".join(dict.fromkeys(_short(limit) for limit in each.limits))
        table.add_row(f"{each.kind} {each.name}", limits, str(each.holding), str(each.waiting))
    if gates:
        console().print(table)
    else:
        click.echo("no gates: nothing with a limit has run yet", err=True)


def _short(limit: LimitView) -> str:
    by = f" by {limit.path}" if limit.path else ""
    if limit.kind == "rate":
        return f"{limit.limit:g} in {limit.period}{by}"
    if limit.kind in SHARED_BUDGETS:
        per = f" in {limit.period}" if limit.period else ""
        return f"{_amount(limit.kind, limit.limit)}{per}{by}"
    return f"{limit.limit or 'any number'} at once{by}"


def _amount(kind: str, amount: float) -> str:
    return words_of("usd_nano", nano_of(amount)) if kind == "usd" else words_of(kind, int(amount))


def _named(text: str) -> tuple[GateKind, str]:
    kind, _, name = text.partition(":")
    if name and kind in _KINDS:
        return cast("GateKind", kind), name
    raise click.UsageError(
        f"{text!r} is no gate; write task:NAME, workflow:NAME, or shared:NAME for one that workflows share"
    )


@gate.command("show", epilog=examples("dagnats gate show task:fetch"))
@click.argument("name", metavar="KIND:NAME")
@url_option
@json_option
def show(name: str, url: str | None, as_json: bool) -> None:
    """Show one gate: task:NAME, workflow:NAME, or shared:NAME for one that workflows share."""
    kind, plain = _named(name)

    async def ask() -> GateView:
        async with open_client(url) as client:
            return await client.gate(kind, plain)

    found = run_async(ask)
    if as_json:
        emit_json(found)
        return
    for limit in found.limits:
        click.echo(f"limit    {_whole(limit)}")
    for held in found.holders:
        click.echo(f"holds    {held.run_id}  {held.ticket}  since {held.since}{_keys(held.keys)}")
    for each in found.line:
        click.echo(
            f"waits    {each.run_id}  {each.ticket}  position {each.position}  since {each.since}{_keys(each.keys)}"
        )
    for what, shown, total in (
        ("hold", found.holders, found.holding),
        ("wait", found.line, found.waiting),
    ):
        if len(shown) < total:
            click.echo(f"and {total - len(shown)} more {what}")


def _whole(limit: LimitView) -> str:
    of = f" for {limit.path} {render.harmless(limit.key)}" if limit.key else ""
    if limit.kind in SHARED_BUDGETS:
        more = f", {_amount(limit.kind, limit.raised)} more given" if limit.raised else ""
        anew = f", anew at {limit.anew_at}" if limit.anew_at else ""
        return f"{_short(limit)}{of}: {_amount(limit.kind, limit.used)} used{more}{anew}"
    state = f"{limit.used} used" if limit.left is None else f"{limit.left} left"
    resumes = f", paused until {limit.resumes_at}" if limit.resumes_at else ""
    return f"{_short(limit)}{of}: {state}{resumes}"


def _keys(keys: dict[str, str]) -> str:
    return "".join(f"  {path}={render.harmless(value)}" for path, value in keys.items())


@gate.command("raise", epilog=examples("dagnats gate raise workflow:research --key acme --usd 50"))
@click.argument("name", metavar="KIND:NAME")
@click.option("--usd", type=float, default=0.0, help="How much more, in US dollars.")
@click.option("--tokens", type=int, default=0, help="How many tokens more.")
@click.option("--key", default="", help="For whom: a value of the budget's key.")
@click.option("--path", default="", help="The budget's key, where the gate has several.")
@click.option("--by", default="", help="Who; it is kept in the gate's log.")
@click.option("--comment", default="", help="Why; it is kept in the gate's log.")
@url_option
@json_option
def raise_(name: str, url: str | None, as_json: bool, **more: Any) -> None:
    """Add to a budget that runs share at a gate: to this period of it, or for ever where it has none.

    Runs that wait for it begin. Those that it has ended go on when they are retried: `dagnats run retry RUN`.
    """
    kind, plain = _named(name)

    async def ask() -> GateView:
        async with open_client(url) as client:
            await client.raise_gate(kind, plain, **more)
            return await client.gate(kind, plain)

    found = run_async(ask)
    if as_json:
        emit_json(found)
        return
    for limit in found.limits:
        if limit.kind in SHARED_BUDGETS and limit.key == more["key"]:
            click.echo(_whole(limit))


@gate.command("release", epilog=examples("dagnats gate release workflow:nightly 3f2a91c4"))
@click.argument("name", metavar="KIND:NAME")
@click.argument("run_id", metavar="RUN", shell_complete=run_ids)
@click.option("--reason", default="", help="Why; it is kept in the gate's log.")
@url_option
@json_option
def release(name: str, run_id: str, reason: str, url: str | None, as_json: bool) -> None:
    """Take away what RUN has of a gate, or its place in the line. The run itself goes on."""
    kind, plain = _named(name)

    async def ask() -> str:
        async with open_client(url) as client:
            chosen = await client.find(run_id)
            await client.release_gate(kind, plain, chosen, reason)
            return chosen

    told: Any = {"run_id": run_async(ask), "gate": name}
    if as_json:
        emit_json(told)
        return
    click.echo(f"run {told['run_id']} has nothing of gate {name} any more")
