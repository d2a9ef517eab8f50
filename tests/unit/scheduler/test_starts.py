"""Scheduled starts around their edges: taken back when their time has come, very many, very far away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dagnats import scheduled
from dagnats.core.triggers.model import Cron, Trigger
from dagnats.errors import InvalidInput, RequestError, RunAlreadyStarted
from dagnats.scheduler.endings import Endings
from tests.unit.scheduler.test_triggers import Owner

HOUR = 3_600_000


async def an_owner() -> Owner:
    """An owner with a workflow to start."""
    owner = Owner()
    await owner.begin(Trigger(id="z", workflow="w", on=Cron("@yearly")))
    return owner


async def test_a_start_whose_time_has_come_is_not_called_cancelled(monkeypatch):
    """While no scheduler starts it nobody knows; afterwards there is a run to cancel."""
    monkeypatch.setattr(scheduled, "_LOOKS", 2)
    owner = await an_owner()
    handle = await owner.client.start("w", run_at="1h")
    await owner.work()
    await owner.pass_time(HOUR)
    with pytest.raises(RequestError, match="no scheduler has started it yet"):
        await handle.cancel()
    await owner.work()

    assert (await handle.status()).status == "running"
    assert await handle.cancel()


async def test_cancelled_starts_do_not_count(monkeypatch):
    """They are kept for a while, and take nobody's place."""
    monkeypatch.setattr(scheduled, "SCHEDULED_MAX", 2)
    owner = await an_owner()
    for _ in range(3):
        await (await owner.client.start("w", run_at="1h")).cancel()
        await owner.work()
    for _ in range(2):
        await owner.client.start("w", run_at="1h")
    with pytest.raises(RequestError, match="2 starts wait for their time already"):
        await owner.client.start("w", run_at="1h")


@pytest.mark.parametrize(
    "when",
    [
        "400d",
        "99999999999999999999d",
        timedelta(days=999_999_999),
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_far_away(when):
    """Whatever it is, it is said what is allowed."""
    with pytest.raises(InvalidInput, match=r"365 days away|is no time"):
        scheduled.due_ms(when, 1_800_000_000_000)


def test_long_ago():
    """A time that has passed is refused, however far."""
    with pytest.raises(InvalidInput, match="has passed"):
        scheduled.due_ms(datetime.min.replace(tzinfo=UTC), 1_800_000_000_000)
    with pytest.raises(InvalidInput, match="has passed"):
        scheduled.due_ms(timedelta(days=-3), 1_800_000_000_000)


async def test_starts_that_are_over_leave_the_log():
    """Fired or cancelled, after their time; runs that were started stay, and their ids are taken."""
    owner = await an_owner()
    fired = await owner.client.start("w", id="fired", run_at="1h")
    gone = await owner.client.start("w", id="gone", run_at="1h")
    await gone.cancel()
    await owner.work()
    await owner.pass_time(HOUR)
    await owner.work()
    endings = Endings(0, owner.outside, owner.clock, lambda: True, HOUR + 1)
    await endings.turn()
    log = owner.outside.log

    assert await log.history("start=gone")
    assert await log.history("start=fired")

    owner.clock.advance(2 * HOUR)
    await endings.turn()

    assert not await log.history("start=gone")
    assert not await log.history("start=fired")
    assert await owner.client.scheduled() == []
    assert (await fired.status()).status == "running"
    with pytest.raises(RunAlreadyStarted):
        await owner.client.start("w", id="fired", run_at="1h")
