"""Celery on Redis, which keeps an append-only file synced every second; tickets are acknowledged after the work.

The worker is Celery's own: ``celery -A tests.bench.peers.celery_redis worker``; ``BENCH_REDIS`` says where Redis is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from celery import Celery, chain, chord, group

from tests.bench.peers.workloads import PAYLOAD, STATE, measure

URL = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=4,
    task_serializer="json", result_serializer="json", broker_connection_retry_on_startup=True,
)  # fmt: skip


@app.task(name="bench.noop")
def noop(value: str) -> str:
    """Give back what came."""
    return value


@app.task(name="bench.join")
def join(values: list[str]) -> int:
    """What a chord ends with."""
    return len(values)


@app.task(name="bench.clock")
def clock(_value: str) -> float:
    """When its first line runs."""
    return time.time()


class CeleryRedis:
    """Chains, chords, and what they give."""

    def chain(self, steps: int) -> Callable[[], object]:
        """A chain of signatures."""
        begun = chain(noop.s(PAYLOAD), *(noop.s() for _ in range(steps - 1))).apply_async()
        return lambda: begun.get(timeout=120)

    def items(self, count: int) -> None:
        """A chord: a group, and what joins it."""
        chord(group(noop.s(PAYLOAD) for _ in range(count)))(join.s()).get(timeout=120)

    def turns(self, count: int) -> None:
        """Celery has no loops: a chain that carries the state."""
        begun = chain(noop.s(STATE), *(noop.s() for _ in range(count - 1))).apply_async()
        begun.get(timeout=120)

    def clock(self) -> float:
        """A task alone."""
        return clock.delay(PAYLOAD).get(timeout=30)


if __name__ == "__main__":
    measure(CeleryRedis(), int(sys.argv[1]))
