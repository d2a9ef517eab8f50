"""The demonstration, as ``make demo`` runs it: a worker is killed half-way, and the review is finished all the same."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.examples.planted import plant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kill", [True, False])
async def test_the_demo_keeps_its_promise(tmp_path, kill):
    """It says what it did, writes its report, and leaves nothing behind."""
    code = plant(tmp_path / "code")
    command = [sys.executable, "-m", "examples.code_review.demo", str(code)]
    demo = await asyncio.create_subprocess_exec(
        *command, "--output", str(tmp_path / "out"), *([] if kill else ["--no-kill"]), cwd=ROOT,
        env={**os.environ, "DEMO_PACE": "6", "COLUMNS": "200"}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await asyncio.wait_for(demo.communicate(), 100))[0].decode()

    assert demo.returncode == 0, said
    assert ("kill -9" in said) == kill
    assert "Findings: " in said
    report = Path(said.splitlines()[-1])
    assert "shop.py" in report.read_text()
