"""Fixtures for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.broker import Broker

# A shell's background job ignores interrupts, and so would every process that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[Broker]:
    """One server for all tests of this process that do not harm it."""
    broker = Broker().start()
    yield broker
    broker.remove()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A server of a test's own, which it may kill."""
    own = Broker().start()
    yield own
    own.remove()
