"""Processes of several versions at once: they write less, and more, than this one knows.

There is no release before this one, so others are stood in for: a ``past`` process writes only the members that the
first version had, a ``future`` one adds members to everything. Seen failing: with unknown members refused in tickets
and in facts, with an ``attempt`` of tickets that has no default, and with an unknown type that is not told as one.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from dagnats.ports import Append
from dagnats.wire import subjects
from tests.faults.load import Scene, scene
from tests.support.deployment import Deployment, eventually
from tests.support.processes import Program
from tests.support.strangers import WRITES, strange

pytestmark = [pytest.mark.faults]


async def replaced(s: Scene, old: Program, version: str) -> None:
    """A process of a version works before the old one is told to end."""
    is_worker = old in s.fleet.workers
    with strange(s.fleet, **{WRITES: version}):
        made = s.fleet.start_worker() if is_worker else s.fleet.start_scheduler()
        await made.ready()
    s.fleet.gone(old)
    old.terminate()
    assert await old.ended() == 0, old.text


@pytest.mark.parametrize("version", ["past", "future"])
async def test_a_rolling_change_of_version_and_back(broker, tmp_path, version):
    """Workers of the other version with this scheduler, then its scheduler too, then ours again: no run fails."""
    async with scene(broker, tmp_path, schedulers=1, workers=1) as s:
        loading = asyncio.gather(s.load.start(100, 20), s.load.start(20, 20, workflow="loop"))
        for to in (version, ""):
            await eventually(lambda: s.load.open_runs() > 0)
            await replaced(s, s.fleet.workers[0], to)
            began = len(s.load.executions())
            await eventually(lambda n=began: len(s.load.executions()) > n + 10)
            await replaced(s, s.fleet.schedulers[0], to)
            began = len(s.load.executions())
            await eventually(lambda n=began: len(s.load.executions()) > n + 10)
        await loading
        await s.load.complete()
        assert await s.load.judge() == {}


async def test_the_strangers_are_strange(broker, tmp_path):
    """What the test above rests on: the log holds what this version would not have written."""
    async with scene(broker, tmp_path, workers=1) as s:
        await replaced(s, s.fleet.workers[0], "future")
        await replaced(s, s.fleet.schedulers[0], "past")
        await s.load.start(1)
        await s.load.complete()
        [run] = s.load.started
        entries = await s.load.client.outside.log.history(run)
        written = [(entry.subject, json.loads(entry.payload)) for entry in entries]
        answers = [body for subject, body in written if subject.endswith(".worker")]
        tickets = [body for subject, body in written if subjects_kind(subject) == "task"]

        assert all("of_the_future" in body for body in answers)
        assert not any("history" in body or "root" in body for body in tickets)


def subjects_kind(subject: str) -> str:
    """The second token."""
    return subject.split(".")[1]


async def test_a_fact_of_an_unknown_type_is_kept_and_said(broker, tmp_path):
    """From a newer version: a dead letter with its bytes, that says what to do; its run and others go on."""
    async with scene(broker, tmp_path, workers=1) as s:
        s.fleet.workers[0].kill()
        await s.load.start(3)
        [run, *_] = s.load.started
        outside = s.load.client.outside
        subject = subjects.fact(subjects.partition_of(run, outside.log.partitions), run, "worker")
        body = json.dumps({"type": "step.levitated", "ticket": "s0/1/0", "height": 3}).encode()
        await outside.log.append([Append(subject, body)])
        deployment = Deployment(None, s.broker, outside, 16)  # only to look

        async def kept() -> bool:
            return body in [message.body for message in await deployment.dead()]

        await eventually(kept)
        scheduler = s.fleet.schedulers[0]
        await eventually(lambda: "step.levitated" in scheduler.text)
        assert "upgrade this process" in scheduler.text
        await s.fleet.add_worker()
        await s.load.complete()
        assert await s.load.judge() == {}
