"""Retries: a service that is down twice, with exponential back-off; and an input that no retry can help.

dagnats dev examples/retries.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/retries.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, Context, Fail, Retry, RunFailed

app = App("retries")


@app.task(retry=Retry(5, backoff="exponential", delay="100ms"), timeout="10s")
async def fetch(ctx: Context, url: str) -> str:
    """A page of a shaky service."""
    if not url.startswith("https://"):
        raise Fail(f"{url} is no address")  # never tried again
    if ctx.attempt < 3:
        raise ConnectionError("the service is down")  # tried again by policy
    return f"{url} on attempt {ctx.attempt}"


async def main() -> None:
    """One that succeeds in the end, one that cannot."""
    async with app:
        print(await (await fetch.start("https://example.com")).result(30))
        try:
            await (await fetch.start("nonsense")).result(30)
        except RunFailed as failure:
            print(failure.reason)


if __name__ == "__main__":
    asyncio.run(main())
