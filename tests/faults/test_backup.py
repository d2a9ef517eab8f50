"""A copy of the server's store is a backup: runs go on from where it was made, on another server."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from dagnats.errors import RunNotFound
from tests.faults.load import Scene, scene
from tests.faults.tasks import TICKETS
from tests.support.broker import Broker

pytestmark = [pytest.mark.faults]

_RUNS = 60


def copied(store: str, to: Path) -> None:
    """Copy what is there; of a server that works, files come and go meanwhile."""

    def copy(source: str, target: str) -> None:
        try:
            shutil.copy2(source, target)
        except FileNotFoundError:
            return

    shutil.copytree(store, to, copy_function=copy, dirs_exist_ok=True)


async def known(s: Scene, runs: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """The runs that this server has heard of."""
    found: dict[str, tuple[str, int]] = {}
    for run_id, about in runs.items():
        try:
            await s.load.client.run(run_id)
        except RunNotFound:
            continue
        found[run_id] = about
    return found


def restored(image: Path) -> Broker:
    """A new server on a copy."""
    broker = Broker()
    shutil.rmtree(broker.store)
    broker.store = str(image)
    return broker.start()


@pytest.mark.parametrize("moment", ["stopped", "killed", "running"])
async def test_runs_go_on_from_a_copy(tmp_path: Path, moment: str):
    """In the middle of work: all of what was confirmed, or of a copy made meanwhile, what it has of it."""
    image = Path(tempfile.mkdtemp(prefix="dagnats-test-"))
    broker = Broker().start()
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    try:
        async with scene(broker, tmp_path / "before", workers=1) as s:
            await s.load.start(_RUNS, over=1)
            started = dict(s.load.started)
            if moment == "running":
                copied(broker.store, image)
            elif moment == "stopped":
                assert broker.process is not None
                broker.process.terminate()
                broker.process.wait()
            assert s.load.open_runs() > 0, "nothing was left to do: begin with more"
        broker.kill()
        if moment != "running":
            copied(broker.store, image)
    finally:
        broker.remove()
    again = restored(image)
    try:
        async with scene(again, tmp_path / "after") as s:
            there = await known(s, started)
            assert there.keys() == started.keys() if moment != "running" else there
            s.load.started = there
            await s.load.complete(25)
            for run_id in there:
                await s.load._judge_run(run_id, TICKETS["chain"])
            s.load.started = {}
            await s.load.start(10)
            await s.load.complete(60)
    finally:
        again.remove()
