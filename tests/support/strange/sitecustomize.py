"""Makes a Python process strange: one whose ``PYTHONPATH`` begins with this folder imports it before anything else.

``DAGNATS_TEST_CLOCK``: a file with the seconds by which its wall clock is ahead, read at each look, so that it can
jump. ``DAGNATS_TEST_WRITES``: what it writes is of a ``past`` version, with the members of facts, tickets and marks
that the first one had, or of a ``future`` one, with members that nobody knows.
"""

import json
import os
import time
from pathlib import Path

# What the first version wrote, which had tasks and agent loops.
FIRST = {
    *("type", "ticket", "run", "step", "task", "workflow", "answer_to", "nonce", "input", "attempt", "attempts"),
    *("iteration", "max_iterations", "loop", "checkpoint", "timeout_ms", "metadata", "run_metadata", "error"),
    *("worker", "ran_ms", "output", "failure", "error_type", "traceback", "retry_after_ms", "definition"),
    *("tags", "reason", "due_ms", "status", "started_ms", "closed_ms"),
}  # fmt: skip


def shift(file: str) -> None:
    """Have the wall clock be off by what a file says."""
    true_ns = time.time_ns

    def time_ns() -> int:
        return true_ns() + int(float(Path(file).read_text()) * 1e9)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def write_as(version: str) -> None:
    """Have facts, tickets, marks and notices be written as by another version."""
    from dagnats.wire import codec  # noqa: PLC0415

    plain = codec.encode

    def encode(value: object) -> bytes:
        body = plain(value)
        if not isinstance(written := json.loads(body), dict):
            return body
        if version == "past":
            return json.dumps({k: v for k, v in written.items() if k in FIRST}).encode()
        return json.dumps({**written, "of_the_future": {"deep": [1, None]}}).encode()

    codec.encode = encode


if os.environ.get("DAGNATS_TEST_CLOCK"):
    shift(os.environ["DAGNATS_TEST_CLOCK"])
if os.environ.get("DAGNATS_TEST_WRITES"):
    write_as(os.environ["DAGNATS_TEST_WRITES"])
