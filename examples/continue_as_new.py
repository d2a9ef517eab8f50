"""Continue-as-new: a run without end, in pieces with a short history each.

dagnats dev examples/continue_as_new.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/continue_as_new.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, Context, ContinueAsNew

app = App("continue-as-new")


@app.task
async def crawl(ctx: Context, page: int) -> int | ContinueAsNew:
    """One page a run. In real life: ``if ctx.should_continue_as_new``."""
    if page >= 4:
        return page
    return ctx.continue_as_new(page + 1)


async def main() -> None:
    """The first run's handle gives the last run's result."""
    async with app:
        handle = await crawl.start(1)
        print(f"page {await handle.result(30)}; the first run is {(await handle.status()).status}")


if __name__ == "__main__":
    asyncio.run(main())
