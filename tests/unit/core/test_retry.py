"""Back-off arithmetic, value by value."""

from __future__ import annotations

import pytest

from dagnats.core.model import RetryPolicy
from dagnats.core.retry import clamped_retry_after_ms, delay_ms


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(initial_ms=200), [200, 200, 200, 200]),
        (RetryPolicy(strategy="linear", initial_ms=200), [200, 400, 600, 800]),
        (RetryPolicy(strategy="exponential", initial_ms=200), [200, 400, 800, 1_600]),
        (RetryPolicy(strategy="exponential", initial_ms=100, multiplier=3), [100, 300, 900, 2_700]),
        (RetryPolicy(strategy="exponential", initial_ms=800, multiplier=0.5), [800, 400, 200, 100]),
        (RetryPolicy(strategy="exponential", initial_ms=200, max_ms=500), [200, 400, 500, 500]),
        (RetryPolicy(strategy="linear", initial_ms=200, max_ms=500), [200, 400, 500, 500]),
        (RetryPolicy(initial_ms=900, max_ms=500), [500] * 4),
        (RetryPolicy(initial_ms=7_200_000), [3_600_000] * 4),
        (RetryPolicy(initial_ms=7_200_000, max_ms=7_000_000), [3_600_000] * 4),
        (RetryPolicy(strategy="exponential", initial_ms=2, multiplier=0.1), [2, 1, 1, 1]),
    ],
)
def test_strategies_and_caps(policy, delays):
    """Each strategy grows in its way, up to the policy's cap and an hour, down to a millisecond."""
    assert [delay_ms(policy, retry, "t") for retry in (1, 2, 3, 4)] == delays


@pytest.mark.parametrize("multiplier", [1.0001, 2.0, 1e6])
def test_growth_saturates(multiplier):
    """The hundred-thousandth retry of any growing policy waits for the cap, without overflow."""
    policy = RetryPolicy(strategy="exponential", initial_ms=1_000, multiplier=multiplier)

    assert delay_ms(policy, 100_000, "t") == 3_600_000


def test_slow_growth_goes_on():
    """A small multiplier keeps growing until its cap is reached, however long that takes."""
    policy = RetryPolicy(strategy="exponential", initial_ms=1_000, multiplier=1.05)

    assert delay_ms(policy, 101, "t") == int(1_000 * 1.05**100)


def test_an_initial_delay_beyond_numbers():
    """A delay that no float holds is the cap."""
    assert delay_ms(RetryPolicy(initial_ms=10**400), 1, "t") == 3_600_000


def test_jitter_spreads():
    """Half a jitter takes away up to half, differently for different tickets."""
    policy = RetryPolicy(initial_ms=1_000, jitter=0.5)
    delays = [delay_ms(policy, 1, f"r{number}/a/1/0") for number in range(200)]

    assert 500 <= min(delays) < 520
    assert 980 < max(delays) <= 1_000
    assert len(set(delays)) > 100


def test_jitter_is_the_same_everywhere():
    """Jitter is a hash of the ticket: this value holds in every process and version."""
    policy = RetryPolicy(initial_ms=1_000, jitter=1.0)

    assert delay_ms(policy, 1, "r1/a/1/0") == 754


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (-5, 100),
        (0, 100),
        (99, 100),
        (100, 100),
        (5_000, 5_000),
        (3_600_001, 3_600_000),
        (10**30, 3_600_000),
    ],
)
def test_what_a_handler_asked_for(asked, given):
    """A delay that a handler asks for is kept within 100 ms and an hour."""
    assert clamped_retry_after_ms(asked) == given
