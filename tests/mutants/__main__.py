"""``python -m tests.mutants [WORD …]``: plant one fault at a time; the tests must notice every one.

Faults go into copies of the package, never into the working tree. WORDs choose the faults whose
description holds one of them. The exit status is 1 when a fault survives or no longer applies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutants.entities import ENTITY_FAULTS
from tests.mutants.faults import FAULTS as RUN_FAULTS
from tests.mutants.faults import Fault

FAULTS = (*RUN_FAULTS, *ENTITY_FAULTS)
ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "tests/unit/core", "tests/unit/scheduler", "tests/histories", "tests/laws",
    "tests/testing_kit/test_control_plane.py", "tests/simulation/test_simulation.py",
)  # fmt: skip
SCHEDULER_FIRST = "tests/laws/test_partition.py"
TIMEOUT_S = 180
SKIPPED = shutil.ignore_patterns("__pycache__", "bench", "conformance", "integration", "faults")
FAILED = re.compile(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of a fault: the test that noticed it, or why nothing did."""

    fault: Fault
    by: str
    caught: bool
    took_s: float


def copy_of_the_tree(place: Path) -> Path:
    """The package and its tests, to be damaged."""
    for name in ("dagnats", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=SKIPPED)
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def noticed(tree: Path, file: str = "") -> str:
    """The first test that fails in a tree; empty when none does."""
    order = (SCHEDULER_FIRST, *PLACES) if file.startswith("scheduler/") else PLACES
    places = [place for place in order if (tree / place).exists()]
    command = [sys.executable, "-m", "pytest", *places, "-x", "-q", "--no-header", "--tb=no"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(tree),
        "SIM_RUNS": "300",
        "LAWS_SHRINK": "no",
    }
    environment.pop("PYTHONHASHSEED", None)
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {TIMEOUT_S} s"
    found = FAILED.search(done.stdout)
    return "" if done.returncode == 0 else found[1] if found else done.stdout[-500:]


def judged(fault: Fault, trees: SimpleQueue[Path]) -> Verdict:
    """Plant a fault in a free tree, run the tests there, and repair it."""
    began, tree = time.monotonic(), trees.get()
    path = tree / "dagnats" / fault.file
    sound = path.read_text(encoding="utf-8")
    try:
        if sound.count(fault.old) != 1:
            count = sound.count(fault.old)
            return Verdict(
                fault, f"its text stands {count} times in {fault.file}: correct it", False, 0
            )
        path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
        by = noticed(tree, fault.file)
        return Verdict(fault, by or "NOBODY", bool(by), time.monotonic() - began)
    finally:
        path.write_text(sound, encoding="utf-8")
        trees.put(tree)


def main(words: list[str]) -> int:
    """Judge the faults, print the table, return the exit status."""
    chosen = [fault for fault in FAULTS if not words or any(word in fault.what for word in words)]
    workers = max(1, min(4, os.cpu_count() or 1))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            trees.put(copy_of_the_tree(Path(folder, str(number))))
        healthy = trees.get()
        if failing := noticed(healthy):
            print(f"the tests fail without any fault: {failing}")
            return 1
        trees.put(healthy)
        with ThreadPoolExecutor(workers) as pool:
            verdicts = []
            for verdict in pool.map(lambda fault: judged(fault, trees), chosen):
                verdicts.append(verdict)
                mark = "caught  " if verdict.caught else "SURVIVED"
                print(
                    f"{mark} {verdict.took_s:5.1f} s  {verdict.fault.what:<42} {verdict.by}",
                    flush=True,
                )
    survivors = [verdict for verdict in verdicts if not verdict.caught]
    took = time.monotonic() - began
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} faults caught in {took:.0f} s")
    return 1 if survivors or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
