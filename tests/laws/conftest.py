"""How hard the laws are tried: ``LAWS_EXAMPLES`` (60) of each, the same ones every time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.strategies import EXAMPLES

settings.register_profile(
    "laws",
    max_examples=EXAMPLES,
    derandomize="LAWS_RANDOM" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")
