"""Processes of a fleet whose clock is off, or that write what another version would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Fleet

_FOLDER = Path(__file__).parent / "strange"
CLOCK = "DAGNATS_TEST_CLOCK"
WRITES = "DAGNATS_TEST_WRITES"


@contextmanager
def strange(fleet: Fleet, **environment: str) -> Iterator[None]:
    """What is started meanwhile has ``CLOCK`` or ``WRITES`` set."""
    before = fleet._environment
    path = os.pathsep.join(filter(None, [str(_FOLDER), before.get("PYTHONPATH", "")]))
    fleet._environment = {**before, "PYTHONPATH": path, **environment}
    try:
        yield
    finally:
        fleet._environment = before
