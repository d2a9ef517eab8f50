"""A map: a task for each element of a list, some at a time, a few failures tolerated.

dagnats dev examples/fan_out.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/fan_out.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, Fail

app = App("fan-out")


@app.task(retry=2)
async def resize(name: str) -> str:
    """One element."""
    if name == "broken.png":
        raise Fail("not an image")
    return f"small-{name}"


@app.task
async def album(pictures: list[str | None]) -> str:
    """All of them, in order; what failed is None."""
    return ", ".join(picture or "(missing)" for picture in pictures)


@app.workflow
def thumbnails(names: list[str]):
    """At most ten at once; half of them may fail."""
    return album(resize.map(names, concurrency=10, tolerate="50%"))


async def main() -> None:
    """Three pictures, one of them broken."""
    async with app:
        handle = await thumbnails.start(["a.png", "broken.png", "c.png"])
        print(await handle.result(30))


if __name__ == "__main__":
    asyncio.run(main())
