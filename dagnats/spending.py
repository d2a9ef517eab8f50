"""What runs have used; and giving one more to use, which opens it again if its budget has ended it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagnats import reading
from dagnats.budgets import more_of
from dagnats.core import spending as core
from dagnats.core.amounts import words_of
from dagnats.core.durations import Duration
from dagnats.core.events import BudgetRaised
from dagnats.core.run import Run
from dagnats.core.state import BUDGET_EXCEEDED
from dagnats.errors import InvalidInput, RequestError
from dagnats.ids import new_run_id
from dagnats.requests import Requests
from dagnats.usage import UsageRow, usage

if TYPE_CHECKING:
    from dagnats.core.model import Budget


class Spending(Requests):
    """What runs use, and may use. ``Client`` brings the connection."""

    async def usage(
        self, *, by: str = "workflow", workflow: str = "", since_ms: int = 0
    ) -> list[UsageRow]:
        """What runs have used, added up by "workflow", "model", "tenant" (of their metadata) or "run".

        ``since_ms``: only of runs started since then (Unix time). Looks at the start and the end of each.

        Raises:
            InvalidInput: it cannot be added up by that.
        """
        return await usage(self.outside, self.registry, by=by, workflow=workflow, since_ms=since_ms)

    async def raise_budget(
        self, run_id: str, *, usd: float = 0, tokens: int = 0, wall: Duration | None = None, iterations: int = 0,
        step: str = "", by: str = "", comment: str = "",
    ) -> None:  # fmt: skip
        """Add to a budget of a run. One that its budget has ended goes on from where it was.

        Without ``step`` it is the budget that was exceeded, else the run's own; with it that of the loop at this step.
        ``wall`` begins anew for a run that goes on. ``by`` and ``comment`` stand in its history.

        Raises:
            RunNotFound.
            RequestError: there is no such budget, or the run has ended otherwise.
            InvalidInput: it would still be exceeded.
        """
        more = more_of(usd, tokens, wall, iterations)
        run = (await reading.read_run(self.outside, self.registry, run_id)).run
        step = step or (run.over.step if run.over else "")
        refusal = core.refusal(run, step)
        if refusal:
            raise RequestError(refusal, run_id=run_id)
        closed = run.status == BUDGET_EXCEEDED
        fact = BudgetRaised(
            more=more, step=step, by=by, comment=comment, request=new_run_id(),
            epoch=run.epoch + 1 if closed else 0,
        )  # fmt: skip
        _check_enough(run, fact, more)
        before, after = await self._asked(run_id, fact, f"raise:{fact.request}")
        if before.raised == after.raised:
            text = f"run {run_id} is {after.status} now: somebody else was faster, and this did not count"
            raise RequestError(text, run_id=run_id)


def _check_enough(run: Run, fact: BudgetRaised, more: Budget) -> None:
    over = run.over
    if over is None or fact.step != over.step:
        return
    missing = core.missing(core.raised(run, fact), over)
    if over.what == "wall_ms" or missing <= 0:
        return
    option = {"usd_nano": "usd"}.get(over.what, over.what)
    given = words_of(over.what, getattr(more, over.what))
    need = words_of(over.what, missing + getattr(more, over.what))
    raise InvalidInput(
        f"{given} more would not be enough: give at least {need} ({option})", run_id=run.id
    )
