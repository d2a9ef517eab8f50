"""How hard the laws are tried: ``LAWS_EXAMPLES`` (60) of each, the same ones every time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

from tests.support.strategies import EXAMPLES

# Whoever only asks whether a law fails (the planted faults) does not wait for a small example.
SHRINK = (Phase.shrink,) if os.environ.get("LAWS_SHRINK") != "no" else ()

settings.register_profile(
    "laws",
    max_examples=EXAMPLES,
    derandomize="LAWS_RANDOM" not in os.environ,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, *SHRINK),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")
