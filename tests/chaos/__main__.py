"""``python -m tests.chaos [SECONDS]``: ten minutes of kills, unless SECONDS says another time."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.ordeal import Plan, endure
from tests.support.broker import Broker

SECONDS, EVERY_S, LONGEST_S = 600, 5, 60


def main() -> int:
    """Print the figures; 1 when something was lost or doubled."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    plan = Plan(seconds, EVERY_S, min(LONGEST_S, seconds / 3), secrets.randbelow(1_000_000))
    print(
        f"kills for {seconds:g} s, tasks of up to {plan.longest_s:g} s, seed {plan.seed}",
        flush=True,
    )
    broker = Broker().start()
    try:
        with tempfile.TemporaryDirectory(prefix="dagnats-chaos-") as directory:
            figures = asyncio.run(endure(broker, Path(directory), plan))
    finally:
        broker.remove()
    print(figures.text())
    return int(bool(figures.lost or figures.doubled or figures.unexplained))


if __name__ == "__main__":
    sys.exit(main())
