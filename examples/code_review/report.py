"""The report: Markdown from a finished review and the ledger. Pure: text in, text out."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from examples.code_review.conversation import Conversation
from examples.code_review.findings import SEVERITIES, Finding, count_by_severity
from examples.code_review.ledger import Entry, Execution, executions, interrupted, judge
from examples.code_review.model import Message
from examples.code_review.tools import RecordFinding, summary_of

CALL_CHARS = 60
CALLS_SHOWN = 4


def render(
    subject: str, reviewer: str, summary: str, conversation: Conversation, entries: Sequence[Entry]
) -> str:
    """Write the whole report."""
    parts = [
        f"# Code review of `{subject}`",
        f"*By the {reviewer}.*",
        summary.strip(),
        *_overview(conversation.findings),
        *_findings(conversation.findings),
        "## What was looked at",
        *_activity(conversation),
        "## How it ran",
        *_history(entries),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(findings: Sequence[Finding]) -> Iterator[str]:
    counts = count_by_severity(findings)
    yield _table(("severity", "findings"), ((each, str(counts[each])) for each in SEVERITIES))


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "## Findings\n\nNone."
    for severity in SEVERITIES:
        chosen = [finding for finding in findings if finding.severity == severity]
        if chosen:
            yield f"## Findings: {severity}"
            yield from map(_finding, chosen)


def _finding(finding: Finding) -> str:
    return "\n\n".join(
        (
            f"### {finding.title}",
            f"`{finding.place}`",
            _code(finding.evidence),
            finding.explanation,
            f"**Suggestion:** {finding.suggestion}",
        )
    )


def _activity(conversation: Conversation) -> Iterator[str]:
    first = conversation.rounds_dropped + 1
    if first > 1:
        yield f"The first {first - 1} iterations are no longer in the checkpoint."
    yield _table(
        ("iteration", "tools", "findings recorded"),
        (
            (str(number), *_round(reply))
            for number, (reply, *_) in enumerate(conversation.rounds, first)
        ),
    )


def _round(reply: Message) -> tuple[str, str]:
    recorded = [call for call in reply.tool_calls if call.name == RecordFinding.name]
    others = [call for call in reply.tool_calls if call.name != RecordFinding.name]
    shown = [
        f"{call.name} {summary_of(call)}".strip()[:CALL_CHARS] for call in others[:CALLS_SHOWN]
    ]
    if len(others) > CALLS_SHOWN:
        shown.append(f"and {len(others) - CALLS_SHOWN} more")
    if not reply.tool_calls:
        shown = ["(concluded)"]
    return "; ".join(shown), str(len(recorded) or "")


def _history(entries: Sequence[Entry]) -> Iterator[str]:
    runs = executions(entries)
    if not runs:
        yield "The ledger is empty."
        return
    yield f"**{judge(entries).sentence}**"
    yield from _kills(entries)
    yield (
        "Each execution of an iteration writes a line to a ledger when it starts and when it ends; "
        "this table is read from that file alone."
    )
    yield _table(("iteration", "worker (pid)", "executions", "seconds"), _by_iteration(runs))


def _kills(entries: Sequence[Entry]) -> Iterator[str]:
    broken = interrupted(entries)
    for kill in (entry for entry in entries if entry.what == "killed"):
        where = f" in the middle of iteration {broken[0] + 1}" if broken else ", between iterations"
        broken = broken[1:]
        yield f"Worker {kill.worker} was killed with SIGKILL at {_clock(kill.at)}{where}."
        taken = next(
            (each for each in entries if each.what == "started" and each.at > kill.at), None
        )
        if taken is not None:
            pause_s = (taken.at - kill.at).total_seconds()
            yield (
                f"Worker {taken.worker} went on from the checkpoint, with iteration "
                f"{taken.iteration + 1}, {pause_s:.1f} s later."
            )


def _by_iteration(runs: Iterable[Execution]) -> Iterator[tuple[str, ...]]:
    by_iteration: dict[int, list[Execution]] = {}
    for run in runs:
        by_iteration.setdefault(run.iteration, []).append(run)
    for number, every in sorted(by_iteration.items()):
        workers = ", then ".join(
            f"{run.worker}" + ("" if run.outcome == "finished" else f" ({run.outcome})")
            for run in every
        )
        last = every[-1]
        seconds = f"{(last.ended - last.started).total_seconds():.1f}" if last.ended else ""
        yield str(number + 1), workers, str(len(every)), seconds


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(line: str) -> str:
    fence = "````" if "```" in line else "```"
    return f"{fence}python\n{line}\n{fence}"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"
