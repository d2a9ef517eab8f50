"""The example ``agent_loop``, as its page says: three terminals, each a process."""

import json
import re
import subprocess
import sys

import pytest

from tests.integration.cli.conftest import ROOT, command, environment

FOLDER = ROOT / "examples/agent_loop"


def process(url, *arguments):
    """A long-running command in the example's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "dagnats", *arguments],
        env=environment(url), cwd=FOLDER, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def server(tmp_path):
    """``dagnats serve`` on a free port; its address."""
    serving = process("", "serve", "--nats-port", "0", "--data-dir", str(tmp_path / "data"))
    try:
        found = re.search(r"nats://[\d.:]+", serving.stdout.readline())
        assert found, "dagnats serve did not get ready"
        yield found[0]
    finally:
        serving.terminate()
        serving.wait(20)
        serving.stdout.close()


def test_the_counter_counts_to_five(server):
    """Registered from its file, started, completed; the worker printed each iteration once."""
    cli = command(server, FOLDER)
    worker = process(server, "worker", "worker.py")
    try:
        assert "ready" in worker.stdout.readline()
        registered = cli("workflow", "register", "workflow.json")
        said = cli("run", "start", "agent-loop", "{}", "--output")
        printed = [worker.stdout.readline().strip() for _ in range(5)]
    finally:
        worker.terminate()
        rest, _ = worker.communicate(timeout=20)

    assert (registered.code, registered.err) == (0, "")
    assert (said.code, said.json) == (0, {"count": 5})
    assert printed == [f"iteration {n}/5" for n in range(1, 6)]
    assert "iteration" not in rest


def test_the_file_is_in_the_format_of_the_go_system():
    """The step's bounds are under ``loop``."""
    [step] = json.loads((FOLDER / "workflow.json").read_text())["steps"]

    assert step["type"] == "agent_loop"
    assert step["loop"] == {"max_iterations": 10}
