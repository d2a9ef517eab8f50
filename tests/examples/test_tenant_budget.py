"""Tenants with a budget a day, in virtual time: the next day brings more."""

from __future__ import annotations

import pytest

from dagnats import BudgetExceeded
from dagnats.testing import in_memory, virtual_time
from examples.tenant_budget import answer, app


@virtual_time
async def test_the_next_day_brings_more():
    """What is over the budget ends; what comes after it waits until midnight; another tenant is not held up."""
    async with in_memory(app) as sandbox:
        assert await (await answer.start("blue", "tea")).result() == "blue: tea!"
        cut_off = await answer.start("blue", "coffee")
        with pytest.raises(
            BudgetExceeded, match="tenant blue is used up: 1200 tokens used of 1000 tokens in 24h"
        ):
            await cut_off.result()
        late = await answer.start("blue", "milk")
        assert await (await answer.start("green", "tea")).result() == "green: tea!"
        [why] = await late.explain()
        assert why.cause == "gate"
        assert why.next_at.endswith("T00:00:00.000Z")
        await sandbox.advance("1h")
        assert (await late.status()).status in ("pending", "completed")  # the night may be near
        await sandbox.advance("1d")
        assert await late.result() == "blue: milk!"
        await sandbox.advance("1d")
        await cut_off.retry()
        assert await cut_off.result() == "blue: coffee!"
