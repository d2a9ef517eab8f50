"""What a review is made of: findings, at a line of a file, in order of weight."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Severity = Literal["high", "medium", "low"]

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


class Finding(Struct, frozen=True):
    """One thing worth changing, and the line that shows it."""

    file: str
    line: int
    severity: Severity
    title: str
    explanation: str
    suggestion: str
    evidence: str = ""

    @property
    def place(self) -> str:
        """Where it is, in the form that editors open: ``path:line``."""
        return f"{self.file}:{self.line}"

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes two findings the same one."""
        return (self.file, self.line, self.title)


def merge(known: Iterable[Finding], new: Iterable[Finding]) -> tuple[Finding, ...]:
    """Add new findings to known ones: each once, the gravest first, then by place.

    When the same thing was found twice, the graver view of it stays.
    """
    best: dict[tuple[str, int, str], Finding] = {}
    for finding in (*known, *new):
        rival = best.get(finding.key)
        if rival is None or _weight(finding) < _weight(rival):
            best[finding.key] = finding
    return tuple(sorted(best.values(), key=lambda each: (_weight(each), *each.key)))


def count_by_severity(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many findings there are of each severity, the gravest first."""
    counts: dict[Severity, int] = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


def _weight(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)
