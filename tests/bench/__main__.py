"""``python -m tests.bench``: every figure as one JSON line, then a table. About two minutes.

The engine and the wire floor run in the same session, so their ratio means something on any machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from msgspec import Raw
from rich.console import Console
from rich.table import Table

from dagnats.core.definition import encode_workflow
from dagnats.core.events import Event, RunStarted, StepSucceeded
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from tests.bench.tasks import chain
from tests.support.broker import Broker

PYTHON = sys.executable
PAYLOAD = json.dumps("x" * 256)


def say(figure: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """One figure as a JSON line."""
    row = {"figure": figure, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps(row), flush=True)
    return row


@contextlib.contextmanager
def processes(broker: Broker, *commands: list[str]) -> Iterator[None]:
    """Processes that run while the block does; each prints when it is ready."""
    environment = {**os.environ, "DAGNATS_URL": broker.url}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        time.sleep(2.5)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def output_of(*arguments: str) -> dict[str, float]:
    """The figures that a program prints."""
    done = subprocess.run([PYTHON, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def floor(runs: int, repeat: int) -> dict[str, float]:
    """The wire floor on a server of its own."""
    broker = Broker().start()
    module = ["-m", "tests.bench.floor"]
    try:
        subprocess.run([PYTHON, *module, "setup", broker.url], check=True)
        with processes(
            broker, *([PYTHON, *module, role, broker.url] for role in ("scheduler", "worker"))
        ):
            alone = output_of(*module, "client", broker.url, "50", "1", "10")
            many = [
                output_of(*module, "client", broker.url, str(runs), "1000", "5")
                for _ in range(repeat)
            ]
    finally:
        broker.remove()
    return {
        "steps_per_s": statistics.median(row["steps_per_s"] for row in many),
        "ms_per_hop": alone["ms_per_step_p50"],
    }


def engine(runs: int, repeat: int) -> dict[str, float]:
    """The same workloads through DagNats: one scheduler process, one worker process."""
    broker = Broker().start()
    dagnats = [PYTHON, "-m", "dagnats"]
    try:
        with processes(
            broker,
            [*dagnats, "scheduler"],
            [*dagnats, "worker", "tests.bench.tasks", "--concurrency", "400"],
        ):
            load = ["-m", "tests.bench.load", broker.url]
            alone = output_of(*load, "chain-10", PAYLOAD, "50", "1")
            many = [output_of(*load, "chain-5", PAYLOAD, str(runs), "1000") for _ in range(repeat)]
            loop = output_of(*load, "spin", "100", "5", "1")
            loops = output_of(*load, "spin", "50", "20", "20")
            tokens = output_of("-m", "tests.bench.tokens", broker.url, "10")
            gates = output_of("-m", "tests.bench.gates", broker.url, str(runs))
            schedules = output_of("-m", "tests.bench.schedules", broker.url, "10")
    finally:
        broker.remove()
    return {
        "steps_per_s": statistics.median(row["runs_per_s"] for row in many) * 5,
        "ms_per_hop": alone["ms_p50"] / 10,
        "ms_per_hop_p99": alone["ms_p99"] / 10,
        "ms_per_iteration": loop["ms_p50"] / 100,
        "iterations_per_s": loops["runs_per_s"] * 50,
        **{f"tokens_{name}": value for name, value in tokens.items()},
        **{f"gates_{name}": value for name, value in gates.items()},
        **{f"schedules_{name}": value for name, value in schedules.items()},
    }


def fold(steps: int) -> float:
    """Events a second through the pure engine."""
    workflow = chain(steps).build()
    graph = compile_graph(workflow, encode_workflow(workflow)[0])
    events, began = 0, time.perf_counter()
    while time.perf_counter() - began < 2:
        start = RunStarted(workflow=workflow.name, definition=graph.digest)
        run, commands = advance(new_run("r", graph), Event(1, 1, start))
        events += 1
        while not run.closed:
            answer = StepSucceeded(ticket=commands[0].ticket, output=Raw(b"1"))  # type: ignore[union-attr]
            run, commands = advance(run, Event(run.seq + 1, 1, answer))
            events += 1
    return events / (time.perf_counter() - began)


def main() -> None:
    """Measure everything; print lines, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    below, ours = floor(options.runs, options.repeat), engine(options.runs, options.repeat)
    rows = [
        say("wire floor, 5-step chains, 1,000 in flight", below["steps_per_s"], "steps/s"),
        say("5-step chains, 1,000 in flight", ours["steps_per_s"], "steps/s",
            ratio_to_floor=round(ours["steps_per_s"] / below["steps_per_s"], 2)),
        say("wire floor, one hop alone", below["ms_per_hop"], "ms"),
        say("one hop alone, p50", ours["ms_per_hop"], "ms",
            ratio_to_floor=round(ours["ms_per_hop"] / below["ms_per_hop"], 2)),
        say("one hop alone, p99", ours["ms_per_hop_p99"], "ms"),
        say("agent loop, 8 KB checkpoint, alone", ours["ms_per_iteration"], "ms/iteration",
            ratio_to_hop=round(ours["ms_per_iteration"] / ours["ms_per_hop"], 2)),
        say("20 agent loops of 50 iterations at once", ours["iterations_per_s"], "iterations/s"),
        say("token stream alone, emit to subscriber, p50", ours["tokens_ms_p50"], "ms"),
        say("the same, p99", ours["tokens_ms_p99"], "ms"),
        say("10 token streams of 200/s, p50", ours["tokens_many_ms_p50"], "ms"),
        say("the same, p99", ours["tokens_many_ms_p99"], "ms"),
        say("chunks emitted in a tight loop", ours["tokens_chunks_per_s"], "chunks/s"),
        say("steps without a limit, one at a time", ours["gates_free_ms"], "ms"),
        say("the same at a gate where nobody waits", ours["gates_alone_ms"], "ms",
            ratio_to_free=round(ours["gates_alone_ms"] / ours["gates_free_ms"], 2)),
        say("steps without a limit, 1,000 in flight", ours["gates_free_per_s"], "runs/s"),
        say("one hot gate of 100 places, 1,000 in flight", ours["gates_hot_per_s"], "grants/s",
            ratio_to_free=round(ours["gates_hot_per_s"] / ours["gates_free_per_s"], 2)),
        say("1,000 keys at one gate", ours["gates_keyed_per_s"], "grants/s",
            ratio_to_free=round(ours["gates_keyed_per_s"] / ours["gates_free_per_s"], 2)),
        say("fairness between 10 tenants with 1 to 10 times as much to do", ours["gates_jain"], "Jain's index"),
        say("a rate of 50/s, over 60 s", ours["gates_rate"], "of the rate"),
        say("100 schedules of one second, lateness p50", ours["schedules_ms_p50"], "ms"),
        say("the same, p99", ours["schedules_ms_p99"], "ms"),
        say("pure fold, chain of 5", fold(5), "events/s"),
        say("pure fold, chain of 1,000", fold(1000), "events/s"),
    ]  # fmt: skip
    table = Table("figure", "value", "unit", "ratio")
    for row in rows:
        ratio = next(
            (
                f"{value:g} × {key.removeprefix('ratio_to_')}"
                for key, value in row.items()
                if key.startswith("ratio")
            ),
            "",
        )
        table.add_row(
            row["figure"],
            f"{row['value']:,.3g}" if row["value"] < 100 else f"{row['value']:,.0f}",
            row["unit"],
            ratio,
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
