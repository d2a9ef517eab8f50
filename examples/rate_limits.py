"""Calls to somebody else's API: so many a second for each tenant, few at once altogether, and a rest when it says so.

dagnats dev examples/rate_limits.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/rate_limits.py           # in another
dagnats gate show task:fetch             # who holds a place, and who waits
"""

from __future__ import annotations

import asyncio
import random

from dagnats import App, Concurrency, Rate, Retry

app = App("rate-limits")


class TooManyRequests(Exception):
    """What the API answers with status 429; ``after`` is what it asks for, in seconds."""

    def __init__(self, after: float) -> None:
        super().__init__(f"try again in {after} s")
        self.after = after


async def call(request: dict) -> str:
    """The API, which now and then has had enough."""
    await asyncio.sleep(0.02)
    if random.random() < 0.05:
        raise TooManyRequests(0.5)
    return f"{request['tenant']}: page {request['page']}"


@app.task(concurrency=Concurrency(4), rate=Rate(10, per="1s", key="input.tenant"), retry=5)
async def fetch(request: dict) -> str:
    """One page. After a 429 that tenant's other calls rest as well; other tenants' go on."""
    try:
        return await call(request)
    except TooManyRequests as refusal:
        raise Retry(after=refusal.after, pause_key=True) from refusal


async def main() -> None:
    """Thirty pages for each of two tenants: a little over two seconds, for the first ten go at once."""
    async with app:
        pages = [
            await fetch.start({"tenant": tenant, "page": page})
            for page in range(30)
            for tenant in ("blue", "green")
        ]
        for page in pages:
            print(await page.result(60))


if __name__ == "__main__":
    asyncio.run(main())
