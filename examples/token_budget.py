"""An agent with a budget: it turns to a cheaper model when little is left, and a person gives it more to finish.

dagnats dev examples/token_budget.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/token_budget.py           # in another
dagnats run status --last                 # what was used, of how much
"""

from __future__ import annotations

import asyncio

from dagnats import AgentContext, App, Budget, BudgetExceeded, Continue

app = App("token-budget")

PRICES = {"large": 10e-6, "small": 1e-6}  # US dollars for a token


async def ask(model: str, question: str) -> tuple[str, int]:
    """A model: its answer, and how many tokens that took."""
    await asyncio.sleep(0.01)
    return f"{model}: {question}", 300


@app.agent_loop(max_iterations=20, budget=Budget(tokens=1_000, usd=1, soft=0.5))
async def research(ctx: AgentContext[list[str]], topics: list[str]) -> list[str] | Continue:
    """One topic in each iteration. What it has found when the budget is used up is kept."""
    found = ctx.checkpoint or []
    model = "small" if ctx.budget.low else "large"
    answer, tokens = await ask(model, topics[len(found)])
    await ctx.report_usage(output_tokens=tokens, usd=tokens * PRICES[model], model=model)
    found = [*found, answer]
    return found if len(found) == len(topics) else Continue(found)


async def main() -> None:
    """Six topics need 1,800 tokens; the budget is 1,000."""
    async with app:
        run = await research.start(["tea", "coffee", "milk", "water", "juice", "wine"])
        try:
            await run.result(30)
        except BudgetExceeded as exceeded:
            print(exceeded.reason.partition(";")[0])
        await run.raise_budget(tokens=1_000, by="ada", comment="it is nearly done")
        print(", ".join(await run.result(30)))
        status = await run.status()
        print({model: used.output_tokens for model, used in sorted(status.usage.models.items())})


if __name__ == "__main__":
    asyncio.run(main())
