"""Agents of several tenants, each with a budget a day for all its runs; the rest waits for more, or for tomorrow.

dagnats dev examples/tenant_budget.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/tenant_budget.py           # in another
dagnats gate show workflow:answer          # what each tenant has used
"""

from __future__ import annotations

import asyncio

from dagnats import AgentContext, App, Budget, BudgetExceeded, Continue

app = App("tenant-budget")

THOUGHTS = 4


@app.agent_loop(max_iterations=20)
async def think(ctx: AgentContext[int], tenant: str, question: str) -> str | Continue[int]:
    """A model is asked several times, and each time something is looked up for it."""
    thoughts = (ctx.checkpoint or 0) + 1
    await ctx.report_usage(output_tokens=200, usd=0.01, model="large")
    await asyncio.sleep(0.1)
    return f"{tenant}: {question}!" if thoughts == THOUGHTS else Continue(thoughts)


@app.workflow(budget=Budget(tokens=1_000, per="1d", key="input.tenant"))
def answer(tenant: str, question: str):
    """One run takes 800 tokens."""
    return think(tenant, question)


async def main() -> None:
    """One tenant asks once, the other too often: what it asks next waits until somebody gives it more."""
    async with app:
        print(await (await answer.start("green", "tea")).result(30))
        print(await (await answer.start("blue", "tea")).result(30))
        cut_off = await answer.start("blue", "coffee")
        try:
            print(await cut_off.result(30))
        except BudgetExceeded as exceeded:
            print(exceeded.reason.partition(";")[0])
        late = await answer.start("blue", "milk")
        client = await app.client()
        await client.raise_gate("workflow", "answer", key="blue", tokens=2_000, by="ada")
        await cut_off.retry()
        print(await cut_off.result(30), await late.result(30))


if __name__ == "__main__":
    asyncio.run(main())
