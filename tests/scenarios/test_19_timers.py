"""Scenarios, section 19: timers in the hands of an engine that dies (S415), and where there is no room (S417)."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from dagnats import App, sleep
from dagnats.errors import NoRoom
from dagnats.scheduler.partition import Partition
from dagnats.scheduler.timers import armed
from dagnats.wire import subjects
from tests.support.broker import Broker
from tests.support.deployment import deployment, eventually, holds_for


def dozing(duration: str):
    """An app that marks the time before and after a sleep, its workflow, and its marks."""
    app, at = App("dozing"), {}

    @app.task
    async def mark(name: str) -> str:
        at.setdefault(name, []).append(time.monotonic())
        return name

    @app.workflow
    def flow():
        rested = sleep(duration, after=mark("before", step_id="before"), step_id="rest")
        return mark("after", after=rested, step_id="after")

    return app, flow, at


async def rests(handle) -> bool:
    """Whether the run sleeps."""
    return [s.status for s in (await handle.status()).steps if s.id == "rest"] == ["waiting"]


async def fired(handle) -> bool:
    """Whether its timer is in the log."""
    return any(event.type == "timer.fired" for event in await handle.history())


@pytest.mark.parametrize("stage", ["fold", "store", "acknowledge"])
async def test_s415_killed_between_delivery_and_acknowledgement(stage, monkeypatch):
    """The engine dies with the timer in its hands, at any place: the sleep is over once, and never early."""
    app, flow, at = dozing("2s")
    hangs = asyncio.Event()

    async def hang(*_):
        hangs.set()
        await asyncio.Event().wait()

    async with deployment(app) as d:
        handle = await flow.start()
        await eventually(lambda: rests(handle))
        with monkeypatch.context() as patched:
            patched.setattr(Partition, stage, hang)
            await eventually(lambda: fired(handle))
            await asyncio.wait_for(hangs.wait(), 10)
            await d.schedulers[0].kill()
        await d.add_scheduler()
        assert await handle.result(20) == "after"
        [before], [after] = at["before"], at["after"]
        assert after - before >= 2
        await holds_for(0.5, lambda: len(at["after"]) == 1)
        types = [(event.type, event.step) for event in await handle.history()]
        assert types.count(("step.dispatched", "after")) == 1


ACCOUNT = """
    jetstream { store_dir: "%s" }
    accounts { only { jetstream: { max_file: 64MB, max_mem: 0 }, users: [ { user: u, password: p } ] } }
    no_auth_user: u"""
FILLERS = 99  # a partition that nobody has
FILLER_BYTES = 200_000


async def fill_with_timers(d) -> None:
    """Arm timers for tomorrow until there is room for none."""
    tomorrow = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)
    for number in range(1_000):
        timer = armed(subjects.timer(FILLERS, f"n{number}"), FILLERS, f"n{number}", tomorrow)
        await d.outside.log.append([replace(timer, payload=bytes(FILLER_BYTES))])


async def test_s417_no_timer_is_evicted_for_another():
    """A full account refuses new timers, and says so; those that are armed stay, and come."""
    app, flow, _ = dozing("6s")
    broker = Broker(jetstream=False)
    broker.config = ACCOUNT % broker.store
    broker.start()
    try:
        async with deployment(app, broker=broker) as d:
            handle = await flow.start()
            await eventually(lambda: rests(handle))
            with pytest.raises(NoRoom, match="no room left"):
                await fill_with_timers(d)
            everything = f"dagnats.timer.{FILLERS}.>"
            await d.outside.link.api(f"STREAM.PURGE.{subjects.TIMERS}", {"filter": everything})
            assert await handle.result(30) == "after"
    finally:
        broker.remove()
