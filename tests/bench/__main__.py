"""``python -m tests.bench``: every figure as one JSON line, then a table. About five minutes.

The engine and the wire floor run in the same session, so their ratio means something on any machine. ``--scale`` adds
what very many runs do to it, and takes several minutes more.
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
from dagnats.core.model import Workflow
from tests.bench.tasks import chain, fan
from tests.support.broker import Broker

PYTHON = sys.executable
PAYLOAD = json.dumps("x" * 256)
DAGNATS = [PYTHON, "-m", "dagnats"]
WORKER = [*DAGNATS, "worker", "tests.bench.tasks", "--concurrency", "400"]
LOAD = "tests.bench.load"
ROWS: list[dict[str, Any]] = []


def say(figure: str, value: float, unit: str, **more: Any) -> None:
    """One figure as a JSON line; ``ratio_to_…`` stands beside it in the table."""
    row = {"figure": figure, "value": round(value, 3), "unit": unit, **more}
    ROWS.append(row)
    print(json.dumps(row), flush=True)


@contextlib.contextmanager
def processes(broker: Broker, *commands: list[str]) -> Iterator[list[int]]:
    """Processes that run while the block does; each prints when it is ready."""
    environment = {**os.environ, "DAGNATS_URL": broker.url}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        time.sleep(2.5)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


@contextlib.contextmanager
def broker() -> Iterator[Broker]:
    """A server of its own."""
    started = Broker().start()
    try:
        yield started
    finally:
        started.remove()


def output_of(module: str, *arguments: str) -> dict[str, float]:
    """The figures that a program prints."""
    command = [PYTHON, "-m", module, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


# -- the engine, and what is below it --------------------------------------------------------------


def floor(runs: int, repeat: int) -> tuple[float, float]:
    """The wire floor: steps a second, and milliseconds a step."""
    module = "tests.bench.floor"
    with broker() as server:
        subprocess.run([PYTHON, "-m", module, "setup", server.url], check=True)
        roles = ([PYTHON, "-m", module, role, server.url] for role in ("scheduler", "worker"))
        with processes(server, *roles):
            alone = output_of(module, "client", server.url, "50", "1", "10")
            many = [
                output_of(module, "client", server.url, str(runs), "1000", "5")["steps_per_s"]
                for _ in range(repeat)
            ]
    say("wire floor, 5-step chains, 1,000 in flight", statistics.median(many), "steps/s")
    say("wire floor, one hop alone", alone["ms_per_step_p50"], "ms")
    return statistics.median(many), alone["ms_per_step_p50"]


def chains(url: str, runs: int, repeat: int) -> float:
    """Steps a second."""
    many = [
        output_of(LOAD, url, "chain-5", PAYLOAD, str(runs), "1000")["runs_per_s"]
        for _ in range(repeat)
    ]
    return statistics.median(many) * 5


def engine(runs: int, repeat: int, floor_steps: float, floor_hop: float) -> None:
    """The same workloads through DagNats: one scheduler process, one worker process."""
    with broker() as server, processes(server, [*DAGNATS, "scheduler"], WORKER):
        alone = output_of(LOAD, server.url, "chain-10", PAYLOAD, "50", "1")
        steps = chains(server.url, runs, repeat)
        loop = output_of(LOAD, server.url, "spin", "100", "5", "1")["ms_p50"] / 100
        loops = output_of(LOAD, server.url, "spin", "50", "20", "20")["runs_per_s"] * 50
        single = output_of("tests.bench.runs", server.url)
    hop = alone["ms_p50"] / 10
    say("5-step chains, 1,000 in flight", steps, "steps/s", ratio_to_floor=steps / floor_steps)
    say("one hop alone, p50", hop, "ms", ratio_to_floor=hop / floor_hop)
    say("one hop alone, p99", alone["ms_p99"] / 10, "ms")
    say("agent loop, 8 KB checkpoint, alone", loop, "ms/iteration", ratio_to_hop=loop / hop)
    say("20 agent loops of 50 iterations at once", loops, "iterations/s")
    for count in (1_000, 10_000):
        items = single[f"map_{count}_per_s"]
        say(f"map of {count:,} items", items, "items/s", ratio_to_floor=items / floor_steps)
    begins = single["begin_ms_p50"]
    say("start to first line of the handler, p50", begins, "ms", ratio_to_hop=begins / hop)
    say("the same, p99", single["begin_ms_p99"], "ms")
    first, last = single["turn_ms_first"], single["turn_ms_last"]
    say("an iteration, among the first 500 of a run", first, "ms")
    say("the same, among the last 500 of 10,000", last, "ms", ratio_to_first=last / first)
    say("kept for a step, payload 256 B", single["bytes_per_step"], "bytes")
    say("kept for an iteration, checkpoint 8 KB", single["bytes_per_turn"], "bytes")


def more_processes(runs: int, repeat: int) -> None:
    """Two workers, two schedulers."""
    scheduler = [*DAGNATS, "scheduler"]
    for what, commands in (
        ("two workers", (scheduler, WORKER, WORKER)),
        ("two schedulers", (scheduler, scheduler, WORKER)),
    ):
        with broker() as server, processes(server, *commands):
            say(f"5-step chains, {what}", chains(server.url, runs, repeat), "steps/s")


def tokens() -> None:
    """Streams."""
    with broker() as server, processes(server, [*DAGNATS, "scheduler"], WORKER):
        few = output_of("tests.bench.tokens", server.url, "10", "200")
        many = output_of("tests.bench.tokens", server.url, "100", "100")
    say("a token stream of 100/s alone, p50", many["ms_p50"], "ms")
    say("the same, p99", many["ms_p99"], "ms")
    for streams, figures in (("10 token streams of 200/s", few), ("100 of 100/s", many)):
        say(f"{streams}, p50", figures["many_ms_p50"], "ms")
        say("the same, p99", figures["many_ms_p99"], "ms")
    say("chunks emitted in a tight loop", few["chunks_per_s"], "chunks/s")


def limits_and_schedules(runs: int) -> None:
    """Gates, and what starts by itself."""
    with broker() as server, processes(server, [*DAGNATS, "scheduler"], WORKER):
        gates = output_of("tests.bench.gates", server.url, str(runs))
        schedules = output_of("tests.bench.schedules", server.url, "10")
    free, free_ms = gates["free_per_s"], gates["free_ms"]
    say("steps without a limit, one at a time", free_ms, "ms")
    say("the same at a gate where nobody waits", gates["alone_ms"], "ms",
        ratio_to_free=gates["alone_ms"] / free_ms)  # fmt: skip
    say("steps without a limit, 1,000 in flight", free, "runs/s")
    for what, key in (
        ("one hot gate of 100 places, 1,000 in flight", "hot_per_s"),
        ("1,000 keys at one gate", "keyed_per_s"),
    ):
        say(what, gates[key], "grants/s", ratio_to_free=gates[key] / free)
    say(
        "fairness between 10 tenants with 1 to 10 times as much to do",
        gates["jain"],
        "Jain's index",
    )
    say("a rate of 50/s, over 60 s", gates["rate"], "of the rate")
    say("100 schedules of one second, lateness p50", schedules["ms_p50"], "ms")
    say("the same, p99", schedules["ms_p99"], "ms")


def scale(finished: int, parked: int) -> None:
    """Very many runs that have ended, or wait."""
    with broker() as server, processes(server, [*DAGNATS, "scheduler"], WORKER) as pids:
        assert server.process is not None
        found = output_of(
            "tests.bench.scale", server.url, str(finished), str(parked), str(pids[0]),
            str(server.process.pid),
        )  # fmt: skip
    before = found["steps_before"]
    say("5-step chains, 500 in flight, in an empty log", before, "steps/s")
    for what, key in ((f"{finished:,} finished", "finished"), (f"{parked:,} waiting", "parked")):
        after = found[f"steps_beside_{key}"]
        say(f"the same beside {what} runs", after, "steps/s", ratio_to_before=after / before)
    say("memory of the scheduler for a waiting run", found["scheduler_bytes_per_parked"], "bytes")
    say("memory of the server for a waiting run", found["server_bytes_per_parked"], "bytes")


def fold(workflow: Workflow) -> float:
    """Events a second through the pure engine."""
    graph = compile_graph(workflow, encode_workflow(workflow)[0])
    events, began = 0, time.perf_counter()
    while time.perf_counter() - began < 2:
        start = RunStarted(workflow=workflow.name, definition=graph.digest)
        run, commands = advance(new_run("r", graph), Event(1, 1, start))
        events += 1
        tickets = [command.ticket for command in commands]  # type: ignore[union-attr]
        while not run.closed:
            answer = StepSucceeded(ticket=tickets.pop(), output=Raw(b"1"))
            run, commands = advance(run, Event(run.seq + 1, 1, answer))
            tickets.extend(getattr(command, "ticket", "") for command in commands)
            events += 1
    return events / (time.perf_counter() - began)


def main() -> None:
    """Measure everything; print lines, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", action="store_true", help="very many finished and waiting runs")
    parser.add_argument("--finished", type=int, default=250_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    options = parser.parse_args()
    for steps in (5, 1_000):
        say(f"pure fold, chain of {steps:,}", fold(chain(steps).build()), "events/s")
    say("pure fold, 1 to 1,000 to 1", fold(fan(1_000).build()), "events/s")
    started = output_of("tests.bench.startup")
    say("dagnats --help", started["help_ms"], "ms")
    say("dagnats serve, until it is ready", started["serve_ms"], "ms")
    engine(options.runs, options.repeat, *floor(options.runs, options.repeat))
    more_processes(options.runs, options.repeat)
    tokens()
    limits_and_schedules(options.runs)
    if options.scale:
        scale(options.finished, options.waiting)
    table = Table("figure", "value", "unit", "ratio")
    for row in ROWS:
        ratio = next(
            (f"{v:.2f} × {k[9:]}" for k, v in row.items() if k.startswith("ratio_to_")), ""
        )
        value = f"{row['value']:,.3g}" if row["value"] < 100 else f"{row['value']:,.0f}"
        table.add_row(row["figure"], value, row["unit"], ratio)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
