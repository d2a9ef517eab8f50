"""Events held back: a page that is edited ten times is indexed once, and usage is billed in lists.

dagnats dev examples/debounced.py        # in one terminal: a NATS server, a scheduler and a worker
python examples/debounced.py             # in another
dagnats trigger show index-on-page.changed
dagnats trigger history bill-on-tokens.used
"""

from __future__ import annotations

import asyncio

from dagnats import App, Batch, Debounce

app = App("debounced")


@app.on_event("page.changed", debounce=Debounce("2s", timeout="10s", key="page"))
@app.task
async def index(change: dict) -> str:
    """Once a page has been left alone for two seconds, or after ten: its newest text."""
    return f"{change['page']}: {change['text']}"


@app.on_event("tokens.used", batch=Batch(100, timeout="2s", key="tenant"))
@app.task
async def bill(used: list[dict]) -> str:
    """A hundred of a tenant's uses in one booking, or what there was in two seconds."""
    return f"{used[0]['tenant']}: {sum(each['tokens'] for each in used)} tokens in {len(used)} uses"


async def main() -> None:
    """Ten edits of each of two pages, and 250 uses: two runs, and three."""
    async with app:
        client = await app.client()
        for edit in range(10):
            for page in ("home", "about"):
                await client.publish_event("page.changed", {"page": page, "text": f"edit {edit}"})
        for _ in range(250):
            await client.publish_event("tokens.used", {"tenant": "blue", "tokens": 10})
        await asyncio.sleep(5)
        for trigger in ("index-on-page.changed", "bill-on-tokens.used"):
            for fire in reversed(await client.fires(trigger)):
                result = await client.handle(fire.run_id).result(10)
                print(f"{fire.events:>3} events  {result}")


if __name__ == "__main__":
    asyncio.run(main())
