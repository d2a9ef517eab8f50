"""Events held back: one run for many edits of a page, lists of uses; in virtual time and on a server."""

from __future__ import annotations

from typing import Any

from dagnats import Client
from dagnats.testing import in_memory, virtual_time
from examples.debounced import app
from tests.support.deployment import deployment, eventually

INDEX, BILL = "index-on-page.changed", "bill-on-tokens.used"


async def edit(client: Client, text: str) -> None:
    """Both pages are changed."""
    for page in ("home", "about"):
        await client.publish_event("page.changed", {"page": page, "text": text})


async def use(client: Client, times: int) -> None:
    """A tenant uses tokens."""
    for _ in range(times):
        await client.publish_event("tokens.used", {"tenant": "blue", "tokens": 10})


async def results(client: Client, trigger: str) -> list[tuple[int, Any]]:
    """How many events each run stands for, and its result, oldest first."""
    fires = reversed(await client.fires(trigger))
    return [(fire.events, await client.handle(fire.run_id).result(10)) for fire in fires]


@virtual_time
async def test_pages_and_uses():
    """A page is indexed when it has been left alone, and after ten seconds anyway; uses come in hundreds."""
    async with in_memory(app) as sandbox:
        client = sandbox.client
        for number in range(15):
            await edit(client, f"edit {number}")
            await sandbox.advance("1s")
        await use(client, 250)
        await sandbox.advance("3s")

        assert sorted(await results(client, INDEX)) == [
            (5, "about: edit 14"), (5, "home: edit 14"), (10, "about: edit 9"), (10, "home: edit 9"),
        ]  # fmt: skip
        assert await results(client, BILL) == [
            (100, "blue: 1000 tokens in 100 uses"),
            (100, "blue: 1000 tokens in 100 uses"),
            (50, "blue: 500 tokens in 50 uses"),
        ]


async def test_on_a_server():
    """The same for real."""
    async with deployment(app) as d:
        for workflow in app.workflows().values():
            await d.client.register(workflow)
        await d.client.keep_triggers("app:debounced", None, list(app.triggers.values()))
        for number in range(10):
            await edit(d.client, f"edit {number}")
        await use(d.client, 120)

        async def all_done() -> bool:
            fires = [*await d.client.fires(INDEX), *await d.client.fires(BILL)]
            return len(fires) == 4 and all(fire.status == "completed" for fire in fires)

        await eventually(all_done, 20)

        assert sorted(await results(d.client, INDEX)) == [
            (10, "about: edit 9"),
            (10, "home: edit 9"),
        ]
        assert [events for events, _ in await results(d.client, BILL)] == [100, 20]
