"""The nightly report: a week in virtual time, and by a short schedule on a real server."""

from __future__ import annotations

from msgspec.structs import replace

from dagnats.core.triggers.model import Cron
from dagnats.testing import in_memory, virtual_time
from examples.nightly import app
from tests.support.deployment import deployment, eventually


@virtual_time
async def test_a_week_of_reports():
    """One for each night, at three in Berlin."""
    async with in_memory(app) as sandbox:
        await sandbox.advance("7d")
        fires = await sandbox.client.fires("report-cron", 50)
        outputs = [await sandbox.client.handle(fire.run_id).output() for fire in fires]

        assert outputs == ["3 orders in 1 days"] * 7


async def test_reports_on_a_server():
    """The same trigger, every second, as a worker registers it."""
    trigger = replace(app.triggers["report-cron"], on=Cron("@every 1s"))
    async with deployment(app) as d:
        for workflow in app.workflows().values():
            await d.client.register(workflow)
        await d.client.keep_triggers("app:nightly", ["report"], [trigger])

        async def two_done():
            fires = await d.client.fires("report-cron")
            return [fire for fire in fires if fire.status == "completed"][1:]

        await eventually(two_done)
