"""Three servers, three replicas: a node that is lost, whichever it is, loses nothing and holds nothing up for long."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dagnats.wire import subjects
from tests.faults.load import Scene, scene
from tests.faults.tasks import STEPS
from tests.support import leaving
from tests.support.cluster import NODES, Cluster, leader

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    # nats-py leaves a socket behind when a server takes the connection and never says anything.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# How long it takes is measured elsewhere (docs/concepts/faults.md): this only says that it comes to an end.
PROGRESS_MAX_S = 60


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster of a test's own."""
    made = Cluster()
    try:
        yield await made.start().ready()
    finally:
        made.remove()


async def progress(s: Scene, since: float) -> float:
    """The time until a run that is started now has completed, counted from the fault."""
    async with asyncio.timeout(PROGRESS_MAX_S):
        while True:
            try:
                await s.load.start(1)
                break
            except Exception:
                await asyncio.sleep(0.1)
        newest = list(s.load.started)[-1]
        await s.load.client.handle(newest).result(PROGRESS_MAX_S)
    return time.monotonic() - since


async def lose(
    cluster: Cluster, directory: Path, *, leading: bool,
    fault: Callable[[str], None], mend: Callable[[str], None],
) -> None:  # fmt: skip
    """Load, a node lost in the middle of it, progress without it, its return, and the count of what was done."""
    async with scene(cluster, directory, schedulers=2, DAGNATS_REPLICAS=str(NODES)) as s:
        info = await s.load.client.outside.link.api(f"STREAM.INFO.{subjects.EVENTS}")
        assert info["config"]["num_replicas"] == NODES
        await s.load.start(20)
        first = await leader(s.load.client.outside, subjects.EVENTS)
        victim = first if leading else next(name for name in cluster.nodes if name != first)
        fault(victim)
        began = time.monotonic()
        print(f"{victim} lost (leader: {first}): progress after {await progress(s, began):.1f} s")
        mend(victim)
        await s.load.start(20)
        await s.load.complete(60)
        print(f"{len(await s.load.judge())} tickets ran more than once")
        assert all(program.alive for program in s.fleet.everybody)


async def test_the_leader_of_the_log_killed(cluster, tmp_path):
    """SIGKILL of the node that leads the log, which comes back later."""
    nodes = cluster.nodes
    await lose(
        cluster, tmp_path, leading=True,
        fault=lambda n: nodes[n].kill(), mend=lambda n: nodes[n].start(),
    )  # fmt: skip


@pytest.mark.slow
async def test_a_finished_run_leaves(cluster, tmp_path):
    """The archive has three replicas too: the run moves into it, is found there, and is gone in the end."""
    settings = {**leaving.SETTINGS, "DAGNATS_REPLICAS": str(NODES)}
    async with scene(cluster, tmp_path, schedulers=2, **settings) as s:
        await s.load.start(1)
        await s.load.complete(60)
        for stream in (subjects.ARCHIVE, subjects.ARCHIVED):
            info = await s.load.client.outside.link.api(f"STREAM.INFO.{stream}")
            assert info["config"]["num_replicas"] == NODES
        [run] = s.load.started
        environment = {**os.environ, "DAGNATS_URL": cluster.url}
        await leaving.leaves(s.load.client, environment, run, STEPS)


async def test_a_follower_killed(cluster, tmp_path):
    """SIGKILL of a node that follows."""
    nodes = cluster.nodes
    await lose(
        cluster, tmp_path, leading=False,
        fault=lambda n: nodes[n].kill(), mend=lambda n: nodes[n].start(),
    )  # fmt: skip


async def test_a_node_cut_off_and_healed(cluster, tmp_path):
    """The leader says nothing for a while, with all connections open, and then takes up where it was."""
    await lose(
        cluster, tmp_path, leading=True, fault=cluster.cut_off, mend=cluster.heal,
    )  # fmt: skip
