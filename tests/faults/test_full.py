"""A log that is full: loud, harmless, and over as soon as there is room."""

from __future__ import annotations

import asyncio

import pytest

from dagnats.errors import PublishFailed
from dagnats.wire import subjects
from tests.faults.load import Scene, scene
from tests.support.deployment import eventually

pytestmark = [pytest.mark.faults]


async def limit_log(s: Scene, more: int) -> None:
    """Let the log grow by so many bytes, or without end (-1)."""
    link = s.load.client.outside.link
    found = await link.api(f"STREAM.INFO.{subjects.EVENTS}")
    size = found["state"]["bytes"] + more if more >= 0 else -1
    await link.api(f"STREAM.UPDATE.{subjects.EVENTS}", {**found["config"], "max_bytes": size})


async def test_a_full_log_is_survived(broker, tmp_path):
    """At its limit starts are refused with the reason; given room, what was started completes, once."""
    async with scene(broker, tmp_path, schedulers=1) as s:
        await s.load.start(20)
        await limit_log(s, 20_000)
        with pytest.raises(PublishFailed, match="no room left"):
            await s.load.start(1_000)
        await eventually(lambda: any("no room left" in p.text for p in s.fleet.everybody))
        with pytest.raises(PublishFailed, match="no room left"):
            await s.load.start(1)
        await asyncio.sleep(1)  # everybody tries again and again meanwhile
        assert s.load.open_runs() > 0
        await limit_log(s, -1)
        await s.load.start(20)
        await s.load.complete(30)
        assert await s.load.judge() == {}
        assert all(program.alive for program in s.fleet.everybody)
