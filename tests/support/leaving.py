"""A finished run on its way out: from the log into the archive, and from there when its retention is over."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from dagnats import Client, archive
from tests.support.deployment import eventually

SETTINGS = {"DAGNATS_ARCHIVE_AFTER": "1s", "DAGNATS_RETENTION": "1m"}  # the shortest there are


async def leaves(client: Client, environment: dict[str, str], run_id: str, output: Any) -> None:
    """What ``dagnats run`` says of a run while it leaves; the environment says where, and with which credential."""
    outside = client.outside

    async def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dagnats", "run", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip

    async def moved() -> bool:
        return not await outside.log.history(run_id)

    async def gone() -> bool:
        return await archive.find(outside, run_id) is None

    await eventually(moved, 60)
    assert not await gone()
    shown = await asked("status", run_id, "--json")
    assert json.loads(shown.stdout)["status"] == "completed", shown.stderr
    told = await asked("output", run_id)
    assert json.loads(told.stdout) == output, told.stderr
    listed = await asked("list", "--json")
    [row] = [each for each in json.loads(listed.stdout)["runs"] if each["run_id"] == run_id]
    assert row["archived"]
    await eventually(gone, 120)
    shown = await asked("status", run_id)
    assert shown.returncode != 0
    assert "no run" in shown.stderr, shown.stderr
