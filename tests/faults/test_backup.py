"""A copy of the server's store is a backup: runs go on from where it was made, on another server."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.faults.load import scene
from tests.faults.tasks import TICKETS
from tests.support.broker import Broker

pytestmark = [pytest.mark.faults]

_RUNS = 60


def restored(image: Path) -> Broker:
    """A new server on a copy."""
    broker = Broker()
    shutil.rmtree(broker.store)
    broker.store = str(image)
    return broker.start()


@pytest.mark.parametrize("moment", ["stopped", "killed"])
async def test_runs_go_on_from_a_copy(tmp_path: Path, moment: str):
    """In the middle of work: all that was confirmed is there, and is done."""
    image = Path(tempfile.mkdtemp(prefix="dagnats-test-"))
    broker = Broker().start()
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    try:
        async with scene(broker, tmp_path / "before", workers=1) as s:
            await s.load.start(_RUNS, over=1)
            started = dict(s.load.started)
            if moment == "stopped":
                assert broker.process is not None
                broker.process.terminate()
                broker.process.wait()
            assert s.load.open_runs() > 0, "nothing was left to do: begin with more"
        broker.kill()
        shutil.copytree(broker.store, image, dirs_exist_ok=True)
    finally:
        broker.remove()
    again = restored(image)
    try:
        async with scene(again, tmp_path / "after") as s:
            s.load.started = dict(started)
            await s.load.complete(90)
            for run_id in started:
                await s.load._judge_run(run_id, TICKETS["chain"])
            s.load.started = {}
            await s.load.start(10)
            await s.load.complete(60)
    finally:
        again.remove()
