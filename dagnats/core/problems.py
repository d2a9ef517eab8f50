"""What can be wrong with the parts that many definitions share: names, durations, retry policies, counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dagnats.core import durations
from dagnats.core.model import STRATEGIES, Problem, RetryPolicy
from dagnats.limits import METADATA_ENTRIES_MAX, NAME_LENGTH_MAX, RETRIES_MAX

_MULTIPLIER_MAX = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def name_problems(where: str, name: str) -> Iterator[Problem]:
    """Problems of a workflow's or task's name."""
    if not name:
        yield Problem(where, "the name is missing", "give it a name")
    elif len(name.encode()) > NAME_LENGTH_MAX:
        yield Problem(where, "the name is too long", f"use at most {NAME_LENGTH_MAX} bytes")
    elif _CONTROL.search(name):
        yield Problem(where, "the name holds control characters", "remove them")


def duration_problems(where: str, value_ms: int, most_ms: int) -> Iterator[Problem]:
    """Problems of a duration; 0 stands for none."""
    if value_ms < 0:
        yield Problem(where, "is negative", "write a positive duration or leave it out")
    elif value_ms > most_ms:
        what = f"{durations.text_of_ms(value_ms)} is too long"
        yield Problem(where, what, f"write at most {durations.text_of_ms(most_ms)}")


def required_duration(where: str, value_ms: int, most_ms: int) -> Iterator[Problem]:
    """Problems of a duration that must be there."""
    if value_ms == 0:
        cure = f'write for example "1h"; at most {durations.text_of_ms(most_ms)}'
        yield Problem(where, "it would end at once", cure)
    yield from duration_problems(where, value_ms, most_ms)


def count_problems(where: str, value: int, least: int, most: int) -> Iterator[Problem]:
    """Problems of a number with bounds."""
    if not least <= value <= most:
        yield Problem(where, f"{value} is out of bounds", f"use {least} … {most}")


def path_problems(where: str, path: str) -> Iterator[Problem]:
    """Problems of a path into JSON, as it is written with dots."""
    if path and "" in path.split("."):
        yield Problem(where, f'"{path}" is not a dot-path', 'write for example "order.id"')


def metadata_problems(where: str, metadata: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of a map of strings."""
    if len(metadata) > METADATA_ENTRIES_MAX:
        yield Problem(where, "too many entries", f"keep at most {METADATA_ENTRIES_MAX}")


def retry_problems(where: str, policy: RetryPolicy) -> Iterator[Problem]:
    """Problems of a retry policy."""
    if not 1 <= policy.attempts <= RETRIES_MAX + 1:
        yield Problem(
            f"{where}.max_attempts", f"{policy.attempts - 1} retries", f"use 0 … {RETRIES_MAX}"
        )
    if policy.strategy not in STRATEGIES:
        cure = f"use one of {', '.join(STRATEGIES)}"
        yield Problem(f"{where}.strategy", f'unknown strategy "{policy.strategy}"', cure)
    if policy.initial_ms < 1 or policy.max_ms < 0:
        yield Problem(where, "a delay is negative or zero", "write positive durations")
    if not 0 < policy.multiplier <= _MULTIPLIER_MAX:
        yield Problem(f"{where}.multiplier", f"{policy.multiplier}", "use a number above 0")
    if not 0 <= policy.jitter <= 1:
        yield Problem(f"{where}.jitter", f"{policy.jitter}", "use a part between 0 and 1")
