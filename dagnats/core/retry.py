"""Back-off arithmetic. Jitter is a hash of the ticket: chance that every owner agrees on."""

from __future__ import annotations

import zlib

from dagnats.core.model import RetryPolicy
from dagnats.limits import (
    RETRY_AFTER_MAX_MS,
    RETRY_AFTER_MIN_MS,
    RETRY_DELAY_MAX_MS,
    RETRY_DELAY_MIN_MS,
)  # fmt: skip


def delay_ms(policy: RetryPolicy, retry: int, ticket: str) -> int:
    """Milliseconds to wait before retry number ``retry`` (from 1).

    fixed: initial; linear: initial × n; exponential: initial × multiplier^(n-1); then capped by the
    policy, less jitter, and clamped to 1 ms … 1 h. Never overflows.
    """
    cap = float(min(policy.max_ms or RETRY_DELAY_MAX_MS, RETRY_DELAY_MAX_MS))
    try:
        delay = min(float(policy.initial_ms) * _growth(policy, retry), cap)
    except OverflowError:  # larger than any float, so larger than the cap
        delay = cap
    if policy.jitter:
        delay *= 1.0 - policy.jitter * (zlib.crc32(ticket.encode()) / 0xFFFFFFFF)
    return max(RETRY_DELAY_MIN_MS, int(delay))


def _growth(policy: RetryPolicy, retry: int) -> float:
    if policy.strategy == "linear":
        return float(retry)
    if policy.strategy == "exponential":
        return policy.multiplier ** float(retry - 1)
    return 1.0


def clamped_retry_after_ms(asked_ms: int) -> int:
    """What a handler asked for, within 100 ms … 1 h."""
    return max(RETRY_AFTER_MIN_MS, min(asked_ms, RETRY_AFTER_MAX_MS))
