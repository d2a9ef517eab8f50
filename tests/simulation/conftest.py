"""The simulation provokes what schedulers warn about; their log would only cost time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet_schedulers() -> Iterator[None]:
    """Nothing is logged while worlds are played."""
    logger = logging.getLogger("dagnats.scheduler")
    logger.disabled = True
    yield
    logger.disabled = False
