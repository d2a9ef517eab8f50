"""`dagnats run raise`: more of what the budget of a run has used up."""

from __future__ import annotations

import click

from dagnats.cli.ask import Named, run_argument
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.core.state import RUNNING


@click.command(
    epilog=examples(
        "dagnats run raise 3f2a91c4 --tokens 100000",
        "dagnats run raise --last --usd 5 --by ada --comment 'worth it'",
    )
)
@run_argument
@click.option("--usd", type=float, default=0, help="So many more US dollars.")
@click.option("--tokens", type=int, default=0, help="So many more tokens.")
@click.option(
    "--wall", metavar="DURATION", help="So much more time; for a run that goes on, from now."
)
@click.option("--iterations", type=int, default=0, help="So many more iterations of agent loops.")
@click.option("--step", default="", help="Of the loop at this step; default: what is used up.")
@click.option("--by", default="", help="Who says so; it is kept with the run.")
@click.option("--comment", default="", help="Why; it is kept with the run.")
@url_option
@json_option
def raise_(
    *, named: Named, usd: float, tokens: int, wall: str | None, iterations: int, step: str, by: str, comment: str,
    url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Add to the budget of RUN. If that had ended it, the run goes on from where it was."""

    async def ask() -> dict[str, str]:
        async with open_client(url) as client:
            chosen = await named.find(client)
            await client.raise_budget(
                chosen, usd=usd, tokens=tokens, wall=wall, iterations=iterations, step=step, by=by, comment=comment
            )  # fmt: skip
            return {"run_id": chosen, "status": RUNNING}

    told = run_async(ask)
    if as_json:
        emit_json(told)
    else:
        click.echo(f"run {told['run_id']} goes on")
