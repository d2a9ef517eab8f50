"""The agent with a budget, in virtual time: a person gives it more a day later."""

from __future__ import annotations

import pytest

from dagnats import BudgetExceeded
from dagnats.testing import in_memory, virtual_time
from examples.token_budget import app, research


@virtual_time
async def test_the_agent_goes_on_a_day_later():
    """What it had found is not looked for again."""
    async with in_memory(app) as sandbox:
        run = await research.start(["a", "b", "c", "d", "e"])
        with pytest.raises(BudgetExceeded, match="1200 tokens used of 1000"):
            await run.result()
        assert [r.cause for r in await run.explain()] == ["budget"]
        await sandbox.advance("1d")
        await run.raise_budget(tokens=500)
        assert await run.result() == ["large: a", "large: b", "small: c", "small: d", "small: e"]
        assert (await run.status()).usage.output_tokens == 1500
