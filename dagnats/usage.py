"""What runs have used, added up by workflow, model, tenant or run: read from their starts and their ends.

Each run counts what its own handlers reported; its children are runs of their own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from dagnats import listing, reading
from dagnats.core.budgets import usd_of
from dagnats.core.events import RunStarted
from dagnats.core.model import NOTHING_USED, Usage
from dagnats.errors import InvalidInput
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import run_of

BY: Final = ("workflow", "model", "tenant", "run")
TENANT: Final = "tenant"  # the key of a run's metadata that says for whom it is


class UsageRow(Struct, frozen=True, kw_only=True):
    """What so many runs have used. ``name`` is the workflow, model, tenant or run; empty where none is known."""

    name: str
    runs: int
    reports: int
    input_tokens: int
    output_tokens: int
    usd: float


async def usage(
    outside: Outside, registry: Registry, *, by: str = "workflow", workflow: str = "", since_ms: int = 0
) -> list[UsageRow]:  # fmt: skip
    """What the runs that started since then have used, the dearest first.

    Raises:
        InvalidInput: it cannot be added up by that.
    """
    if by not in BY:
        raise InvalidInput(f"usage by {by!r}: use one of {', '.join(BY)}")
    sums: dict[str, tuple[int, Usage]] = {}
    async with aclosing(_runs(outside, registry, workflow, since_ms)) as found:
        async for run_id, start, models in found:
            for model, used in models.items():
                own = {"model": model, "workflow": start.workflow, "run": run_id}
                name = own.get(by, start.metadata.get(TENANT, ""))
                runs, before = sums.get(name, (0, NOTHING_USED))
                first = by == "model" or model == next(iter(models))
                sums[name] = (runs + first, before + used)
    rows = [_row(name, runs, used) for name, (runs, used) in sums.items()]
    return sorted(rows, key=lambda row: (-row.usd, -row.input_tokens - row.output_tokens, row.name))


async def _runs(
    outside: Outside, registry: Registry, workflow: str, since_ms: int
) -> AsyncGenerator[tuple[str, RunStarted, dict[str, Usage]]]:
    """Each run, and what it has used of which model."""
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            starts = listing.starts(page, workflow)
            ids = [run_of(entry.subject) for entry, _ in starts]
            marks = await listing.closing_marks(outside, ids)
            for run_id, (_, start) in zip(ids, starts, strict=True):
                mark = marks.get(run_id)
                if mark is not None:
                    yield run_id, start, mark.usage
                else:  # it is under way: only its history knows
                    run = (await reading.read_run(outside, registry, run_id)).run
                    yield run_id, start, run.models


def _row(name: str, runs: int, used: Usage) -> UsageRow:
    return UsageRow(
        name=name, runs=runs, reports=used.reports, input_tokens=used.input_tokens,
        output_tokens=used.output_tokens, usd=usd_of(used.usd_nano),
    )  # fmt: skip
