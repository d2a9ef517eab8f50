"""Runs that are exported from a real server, and replayed."""

import subprocess
import sys
from pathlib import Path

import pytest

from dagnats import App, Context
from dagnats.errors import CodecError
from dagnats.testing import replay
from tests.integration.cli.conftest import environment
from tests.support.deployment import deployment


async def test_a_run_replays_as_it_was(tmp_path: Path):
    """With its calls, a large payload, and an answer that was forged; without any nonce."""
    app = App("exported")

    @app.task
    async def large(n: int) -> str:
        return "x" * n

    @app.task
    async def measure(ctx: Context, text: str) -> int:
        return len(text) + len(await ctx.call(large, 10))

    @app.workflow
    def both(n: int):
        return measure(large(n))

    async with deployment(app) as d:
        handle = await both.start(400_000)
        assert await handle.result(20) == 400_010
        await d.forge(
            handle.run_id, "worker", {"type": "step.succeeded", "ticket": "large/1/0", "output": 1}
        )
        seen = await handle.status()
        file = tmp_path / "run.jsonl"
        said = subprocess.run(
            [sys.executable, "-m", "dagnats", "run", "export", handle.run_id, "--out", str(file)],
            env=environment(d.broker.url), check=True, capture_output=True, text=True,
        )  # fmt: skip

    view = replay(file)
    assert "wrote run" in said.stdout
    assert b"nonce" not in file.read_bytes()
    assert (view.status, bytes(view.output)) == ("completed", b"400010")
    assert [step.id for step in view.steps] == [step.id for step in seen.steps]


def test_what_is_no_export_is_told(tmp_path: Path):
    """With its path."""
    file = tmp_path / "run.jsonl"
    file.write_text("hello")
    with pytest.raises(CodecError, match=r"run\.jsonl is no exported run"):
        replay(file)
