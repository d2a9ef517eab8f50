"""Amounts of money, in billionths of a US dollar so that sums are exact, and in words."""

from __future__ import annotations

from typing import Final

from dagnats.core import durations

NANO: Final = 1_000_000_000


def nano_of(usd: float) -> int:
    """Billionths of a US dollar. What is no amount at all is out of every bound."""
    try:
        return round(usd * NANO)
    except (OverflowError, ValueError):
        return -1


def usd_of(nano: int) -> float | int:
    """US dollars; whole ones as a whole number."""
    return nano // NANO if nano % NANO == 0 else nano / NANO


def words_of(what: str, amount: int) -> str:
    """An amount for people: "$2.50", "1000 tokens", "20m", "10 iterations"."""
    if what == "usd_nano":
        return (
            f"${amount / NANO:.6f}".rstrip("0").rstrip(".")
            if amount % (NANO // 100)
            else f"${amount / NANO:.2f}"
        )
    if what == "wall_ms":
        return durations.text_of_ms(amount)
    return f"{amount} {what}"
