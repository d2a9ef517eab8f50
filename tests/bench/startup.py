"""How long the command line takes: ``dagnats --help``, and ``dagnats serve`` until it is ready."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

DAGNATS = [sys.executable, "-m", "dagnats"]


def helped() -> float:
    """Milliseconds of ``dagnats --help``."""
    began = time.perf_counter()
    subprocess.run([*DAGNATS, "--help"], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def served() -> float:
    """Milliseconds until ``dagnats serve``, on an empty directory, says that it is ready."""
    with tempfile.TemporaryDirectory(prefix="dagnats-bench-") as directory:
        command = [*DAGNATS, "serve", "--nats-port", "0", "--data-dir", directory]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=directory
        )
        try:
            assert process.stdout is not None
            while "ready" not in process.stdout.readline():
                if process.poll() is not None:
                    raise RuntimeError("dagnats serve has ended")
            return (time.perf_counter() - began) * 1000
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "help_ms": statistics.median(helped() for _ in range(9)),
                "serve_ms": statistics.median(served() for _ in range(3)),
            }
        )
    )
