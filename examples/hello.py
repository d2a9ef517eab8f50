"""The smallest thing: a task, started, and its result.

dagnats dev examples/hello.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/hello.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App

app = App("hello")


@app.task
async def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


async def main() -> None:
    """Start it and wait."""
    async with app:
        print(await (await greet.start("world")).result(30))


if __name__ == "__main__":
    asyncio.run(main())
