"""The streaming chat, as its docstring says: one process serves, another asks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from examples import streaming_chat
from tests.support.broker import Broker
from tests.support.deployment import deployment

FILE = Path(streaming_chat.__file__)
QUESTION = "why?"


async def test_the_answer_is_streamed_and_begins_again():
    """The words until the model hung up, the news that they are void, then all of them."""
    async with deployment(streaming_chat.app) as d:
        asking = subprocess.Popen(
            [sys.executable, FILE, QUESTION],
            env={**os.environ, "DAGNATS_URL": d.broker.url, "PYTHONPATH": str(FILE.parents[1])},
            stdout=subprocess.PIPE,
            text=True,
        )
        said, _ = await asyncio.to_thread(asking.communicate, timeout=30)

    assert asking.returncode == 0
    first, news, second = said.splitlines()
    whole = streaming_chat.ANSWER.format(question=QUESTION)
    assert whole.startswith(first)
    assert 0 < len(first) < len(whole)
    assert news == "(the model hung up; it begins again)"
    assert second == whole


def test_the_command_line_shows_the_same(broker: Broker, tmp_path: Path):
    """``run stream`` prints the words to standard output, and the news to standard error."""
    environment = {
        **os.environ, "DAGNATS_URL": broker.url, "PYTHONPATH": str(FILE.parents[1]),
    }  # fmt: skip

    def begin(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dagnats", *words], env=environment, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ask(*words: str) -> tuple[str, str]:
        return begin(*words).communicate(timeout=30)

    serving = [begin("scheduler"), begin("worker", str(FILE))]
    try:
        for process in serving:
            assert "ready" in process.stdout.readline()
        ask("run", "start", "answer", '"why?"')
        said, news = ask("run", "stream", "--last", "answer")
    finally:
        for process in serving:
            process.terminate()
        for process in serving:
            process.communicate(timeout=20)

    whole = streaming_chat.ANSWER.format(question=QUESTION)
    assert said.splitlines()[-1] == whole
    assert "answer begins again (attempt 2)" in news
