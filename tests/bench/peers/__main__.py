"""``make bench-peers``: the workloads through DagNats, Celery on Redis and DBOS on SQLite, one after the other.

Needs ``redis-server`` (Debian's package); Celery and DBOS come from the environment that the Makefile makes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.__main__ import DAGNATS, WORKER, broker, output_of, processes

Figures = dict[str, float]
ROWS = (
    ("W1: 10 steps, one run at a time", "w1_ms", "ms a step"),
    ("W2: chains of 5, many at once", "w2_steps_per_s", "steps/s"),
    ("W3: 1,000 items", "w3_items_per_s", "items/s"),
    ("W4: 100 iterations of 8 KB", "w4_ms", "ms an iteration"),
    ("W5: start to first line, p50", "w5_ms_p50", "ms"),
    ("the same, p99", "w5_ms_p99", "ms"),
)


def ours(runs: int) -> Figures:
    """A scheduler, a worker, a server; and the client."""
    with broker() as server, processes(server, [*DAGNATS, "scheduler"], WORKER):
        return output_of("tests.bench.peers.ours", server.url, str(runs))


def celery_redis(python: str, runs: int) -> Figures:
    """A Redis of its own, and one worker with a process for each core."""
    with tempfile.TemporaryDirectory(prefix="dagnats-peers-") as directory, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        environment = {**os.environ, "BENCH_REDIS": f"redis://127.0.0.1:{port}/0"}
        redis = subprocess.Popen(
            ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", directory,
             "--appendonly", "yes", "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        worker = subprocess.Popen(
            [python, "-m", "celery", "-A", "tests.bench.peers.celery_redis", "worker", "-l", "ERROR"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            time.sleep(5)
            return printed([python, "-m", "tests.bench.peers.celery_redis", str(runs)], environment)
        finally:
            for process in (worker, redis):
                process.terminate()
                process.wait(30)


def dbos_sqlite(python: str, runs: int) -> Figures:
    """All in one process."""
    with tempfile.TemporaryDirectory(prefix="dagnats-peers-") as directory:
        file = str(Path(directory, "dbos.sqlite"))
        return printed([python, "-m", "tests.bench.peers.dbos_sqlite", file, str(runs)], os.environ)


def printed(command: list[str], environment: os._Environ[str] | dict[str, str]) -> Figures:
    """The figures that a program prints last."""
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure each, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="of an environment with celery[redis] and dbos")
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not on the path; on Debian: apt-get install redis-server")
    found = {
        "DagNats": ours(options.runs),
        "Celery + Redis": celery_redis(options.python, options.runs),
        "DBOS + SQLite": dbos_sqlite(options.python, options.runs),
    }
    for name, figures in found.items():
        print(json.dumps({"engine": name, **{key: round(v, 3) for key, v in figures.items()}}))
    table = Table("workload", "unit", *found)
    for words, key, unit in ROWS:
        mine = found["DagNats"][key]
        shown = [
            f"{value[key]:,.3g}" + ("" if name == "DagNats" else f" ({value[key] / mine:.2f} ×)")
            for name, value in found.items()
        ]
        table.add_row(words, unit, *shown)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
