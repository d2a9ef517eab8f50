"""What runs have used, added up by workflow, model, tenant or run: read from their starts and their ends.

Each run counts what its own handlers reported; its children are runs of their own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from dagnats import listing, reading
from dagnats.archive import TENANT
from dagnats.core.amounts import usd_of
from dagnats.core.model import NOTHING_USED, Usage
from dagnats.core.state import RUNNING
from dagnats.errors import InvalidInput
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import run_of
from dagnats.wire.messages import ClosedMark

BY: Final = ("workflow", "model", "tenant", "run")


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
    async with aclosing(_spenders(outside, registry, workflow, since_ms)) as found:
        async for each in found:
            for model, used in each.usage.items():
                name = model if by == "model" else getattr(each, by)
                runs, before = sums.get(name, (0, NOTHING_USED))
                first = by == "model" or model == next(iter(each.usage))
                sums[name] = (runs + first, before + used)
    rows = [_row(name, runs, used) for name, (runs, used) in sums.items()]
    return sorted(rows, key=lambda row: (-row.usd, -row.input_tokens - row.output_tokens, row.name))


class _Spender(Struct, frozen=True):
    """A run, for whom it is, and what it has used of which model."""

    run: str
    workflow: str
    tenant: str
    usage: dict[str, Usage]


async def _spenders(
    outside: Outside, registry: Registry, workflow: str, since_ms: int
) -> AsyncGenerator[_Spender]:
    """The runs of the log, then those of the archive."""
    logged = listing.Logged()
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            starts = logged.starts(page, workflow)
            ids = [run_of(entry.subject) for entry, _ in starts]
            marks = await listing.closing_marks(outside, ids)
            for run, (_, start) in zip(ids, starts, strict=True):
                used = await _used(outside, registry, run, marks.get(run))
                yield _Spender(run, start.workflow, start.metadata.get(TENANT, ""), used)
    async with aclosing(listing.archived(outside, logged, since_ms)) as pages:
        async for page in pages:
            for record, mark in page:
                if workflow in ("", record.workflow):
                    used = (
                        await _used(outside, registry, record.run, mark) if mark else record.usage
                    )
                    yield _Spender(record.run, record.workflow, record.tenant, used)


async def _used(
    outside: Outside, registry: Registry, run: str, mark: ClosedMark | None
) -> dict[str, Usage]:
    """What a run has used: its closing mark says so; of one that is under way only its history knows."""
    if mark is not None and mark.status != RUNNING:
        return mark.usage
    return (await reading.read_run(outside, registry, run)).run.models


def _row(name: str, runs: int, used: Usage) -> UsageRow:
    return UsageRow(
        name=name, runs=runs, reports=used.reports, input_tokens=used.input_tokens,
        output_tokens=used.output_tokens, usd=usd_of(used.usd_nano),
    )  # fmt: skip
