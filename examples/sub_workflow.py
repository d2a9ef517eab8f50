"""A workflow in a workflow: a child run, with its own history, whose output comes back.

dagnats dev examples/sub_workflow.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/sub_workflow.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App

app = App("sub-workflow")


@app.task
async def price(item: str) -> int:
    """What it costs, in cents."""
    return 100 * len(item)


@app.task
async def with_tax(cents: int) -> int:
    """And the tax."""
    return cents + cents // 5


@app.task
async def receipt(total: int) -> str:
    """For people."""
    return f"total {total / 100:.2f}"


@app.workflow
def quote(item: str):
    """A workflow that can be started on its own, too."""
    return with_tax(price(item))


@app.workflow
def order(item: str):
    """Runs the other as a child."""
    return receipt(quote(item))


async def main() -> None:
    """An order."""
    async with app:
        print(await (await order.start("teapot")).result(30))


if __name__ == "__main__":
    asyncio.run(main())
