"""DBOS on SQLite: workflows and steps run in this process, each step is a row before the next one begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from dbos import DBOS

from tests.bench.peers.workloads import PAYLOAD, STATE, measure


@DBOS.step()
def noop(value: str) -> str:
    """Give back what came."""
    return value


@DBOS.step()
def now() -> float:
    """When its first line runs."""
    return time.time()


@DBOS.workflow()
def chained(value: str, steps: int) -> str:
    """So many steps."""
    for _ in range(steps):
        value = noop(value)
    return value


@DBOS.workflow()
def clocked() -> float:
    """One step that looks at the clock."""
    return now()


class DbosSqlite:
    """Workflows that are started in the background, and waited for."""

    def chain(self, steps: int) -> Callable[[], object]:
        """A workflow of steps."""
        return DBOS.start_workflow(chained, PAYLOAD, steps).get_result

    def items(self, count: int) -> None:
        """As steps of one workflow, which is its fastest way over many items."""
        DBOS.start_workflow(chained, PAYLOAD, count).get_result()

    def turns(self, count: int) -> None:
        """A step for each, which keeps the state."""
        DBOS.start_workflow(chained, STATE, count).get_result()

    def clock(self) -> float:
        """A workflow of one step."""
        return DBOS.start_workflow(clocked).get_result()


def main(file: str, runs: int) -> None:
    """Start DBOS on a file, and measure."""
    DBOS(
        config={
            "name": "bench", "system_database_url": f"sqlite:///{file}", "log_level": "ERROR",
        }
    )  # fmt: skip
    DBOS.launch()
    measure(DbosSqlite(), runs)
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
