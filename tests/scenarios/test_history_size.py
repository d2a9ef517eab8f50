"""Histories stay small: large checkpoints live once, by themselves, and only as long as they are needed."""

from dagnats import AgentContext, App, Continue
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually

SIZE = 200_000
ITERATIONS = 6


async def test_large_checkpoints_live_once():
    """The log never holds them, the store holds the newest one, and nothing once the loop is done."""
    app = App("loops")
    most: list[int] = []

    @app.agent_loop(max_iterations=ITERATIONS)
    async def think(ctx: AgentContext[str]) -> int | Continue[str]:
        assert ctx.checkpoint in (None, str(ctx.iteration) * SIZE)
        if ctx.iteration + 1 == ITERATIONS:
            return len(ctx.checkpoint or "")
        return Continue(str(ctx.iteration + 1) * SIZE)

    async with deployment(app) as d:

        async def left() -> int:
            stored = await d.messages(f"OBJ_{subjects.BLOBS}")
            return sum(len(message.body) for message in stored)

        handle = await think.start()
        assert await handle.result(20) == SIZE
        entries = await d.outside.log.history(handle.run_id)

        assert max(len(entry.payload) for entry in entries) < 10_000
        most.append(await left())
        await eventually(lambda: gone(left))

    assert most[0] < 2 * SIZE


async def gone(left):
    """Whether nothing is stored any more."""
    return await left() == 0
