"""Every example of one file, as its docstring says: one process serves, another runs it."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import deployment

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {
    "hello": "Hello, world!",
    "retries": 'https://example.com on attempt 3\nstep "fetch": nonsense is no address',
    "planner": "tests pass (edited the login form)",
    "human_review": "Publish this? All about tea\npublished 'All about tea' tomorrow",
    "fan_out": "small-a.png, (missing), small-c.png",
    "sub_workflow": "total 7.20",
    "sleeping": "remember: tea",
    "events": 'order A1 paid with visa, shipped\ncancelled by event "order.cancelled"',
    "tool_calls": "what is tea?; search: ['tea is made of leaves']; calculate: 42.0; calculate: failed: retriable\n"
    "agent, agent#0.0, agent#1.0, agent#2.0",
    "saga": 'compensated: step "charge": the card was refused for flight and hotel',
    "continue_as_new": "page 4; the first run is continued",
    "control_plane": "coffee is a drink; tea is a drink\nTrue True",
    "rate_limits": "\n".join(
        f"{tenant}: page {n}" for n in range(30) for tenant in ("blue", "green")
    ),
    "token_budget": 'the budget of step "research" is used up: 1200 tokens used of 1000 tokens\n'
    "large: tea, large: coffee, small: milk, small: water, small: juice, small: wine\n"
    "{'large': 600, 'small': 1200}",
    "tenant_budget": "green: tea!\nblue: tea!\n"
    "the shared budget of tenant blue is used up: 1200 tokens used of 1000 tokens in 24h\nblue: coffee! blue: milk!",
    "reason_approve_execute": "Execute this? ['tidy up: part 1', 'tidy up: part 2']\ndid tidy up: part 2",
}
GRANTED = {"control_plane": ["research"]}


def test_every_example_is_run():
    """Those of one file, by this test or another."""
    files = {path.stem for path in EXAMPLES.glob("*.py")}

    assert files - {"debounced", "streaming_chat", "nightly"} == set(SAID)


@pytest.mark.parametrize("name", SAID)
async def test_an_example_says_what_it_should(name):
    """Whatever it prints is compared."""
    module = importlib.import_module(f"examples.{name}")
    async with deployment(module.app) as d:
        for workflow in module.app.workflows().values():
            await d.client.register(workflow)
        for granted in GRANTED.get(name, ()):
            await d.client.policy.grant(granted)
        running = subprocess.Popen(
            [sys.executable, EXAMPLES / f"{name}.py"],
            env={**os.environ, "DAGNATS_URL": d.broker.url, "PYTHONPATH": str(EXAMPLES.parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        said, _ = await asyncio.to_thread(running.communicate, timeout=60)

    assert said.strip() == SAID[name]
    assert running.returncode == 0
