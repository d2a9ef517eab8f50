"""The built-in reviewer: it needs no model, and always says the same about the same code.

It lives under a model's conditions. All it knows is the conversation; what it wants to remember it
has to say; what it wants to know it has to ask a tool for. `decide` looks at the latest answers,
says what it makes of them, records what it is sure of, and asks what follows: the lines around a
doubt, the callers of a long function, the outline of the next file. What it makes of an answer is
in `opinions.py`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from msgspec import Struct

from examples.code_review.memory import MARKERS, Memory, recall
from examples.code_review.model import Message, Reply, Token, Tool
from examples.code_review.opinions import Thought, think
from examples.code_review.tools import (
    Check,
    ListFiles,
    OutlineFile,
    RecordFinding,
    Search,
    ToolArguments,
    call_to,
)

#: How many files it looks at closely.
FILES_READ = 9
#: How many findings it records at once; the gravest go first.
FINDINGS_PER_REPLY = 8
#: A problem that a tool has found makes a file as interesting as this many lines.
PROBLEM_WEIGHS_LINES = 40


class Move(Struct, frozen=True):
    """What the reviewer says and asks for next; without calls, it has concluded."""

    text: str
    calls: tuple[ToolArguments, ...] = ()


class OfflineReviewer:
    """A reviewer by rules. ``pace_s`` spreads its words over time, as a model's would come."""

    name = "offline reviewer"

    def __init__(self, pace_s: float = 0.0) -> None:
        self._pace_s = pace_s

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[Tool]
    ) -> AsyncIterator[Token | Reply]:
        """Say the next move, word by word."""
        move = decide(conversation, may_call=bool(tools))
        words = re.findall(r"\S+\s*", move.text)
        pause_s = self._pace_s / expected_iterations(FILES_READ) / max(len(words), 1)
        for word in words:
            yield Token(word)
            await asyncio.sleep(pause_s)
        number = sum(message.role == "assistant" for message in conversation)
        calls = (call_to(call, f"call-{number}-{i}") for i, call in enumerate(move.calls))
        yield Reply(Message("assistant", move.text, tuple(calls)))


def expected_iterations(files: int) -> int:
    """How many iterations a review of so many files takes: two to look around, two to finish."""
    return 4 + min(files, FILES_READ)


def decide(conversation: Sequence[Message], *, may_call: bool = True) -> Move:
    """Choose the next move from what has been said so far."""
    memory = recall(conversation)
    if not memory.steps and may_call:
        return Move(
            "I begin with the files, to see where the weight of this code lies.", (ListFiles(),)
        )
    if not may_call or memory.steps[0].failed:
        return Move(conclude(memory))
    thoughts = [think(step, memory) for step in memory.latest]
    onward = _onward(memory)
    questions = (question for each in thoughts for question in each.questions)
    calls = (*_recorded(thoughts), *questions, *onward.calls)
    if not calls:
        return Move(conclude(memory))
    words = [text for text in (*(each.says for each in thoughts), onward.text) if text]
    return Move("\n".join(words) or "I put down what the last answers showed.", calls)


def conclude(memory: Memory) -> str:
    """Sum up the review in a paragraph."""
    recorded = memory.recorded
    close, every = len(memory.outlined), memory.files_seen
    opening = f"I looked closely at {close} of {every} files and ran the checks over all of them."
    if not recorded:
        return f"{opening} By my rules nothing here needs to change."
    counts = Counter(severity for severity, _ in recorded)
    weights = ", ".join(
        f"{counts[each]} {each}" for each in ("high", "medium", "low") if counts[each]
    )
    first = min(recorded, key=lambda each: ("high", "medium", "low").index(each[0]))[1]
    crowded, most = Counter(place.rpartition(":")[0] for _, place in recorded).most_common(1)[0]
    closing = f"The file with the most is `{crowded}` ({most})." if most > 1 else ""
    return f"{opening} I recorded {len(recorded)}: {weights}. Start at `{first}`. {closing}".strip()


def _recorded(thoughts: Iterable[Thought]) -> list[RecordFinding]:
    """The gravest findings of these thoughts, one for each place."""
    found = sorted(
        (finding for each in thoughts for finding in each.findings),
        key=lambda each: ("high", "medium", "low").index(each.severity),
    )
    by_place = {(each.file, each.line): each for each in reversed(found)}
    return [each for each in found if by_place[each.file, each.line] is each][:FINDINGS_PER_REPLY]


def _onward(memory: Memory) -> Move:
    """Where to go from here: look around first, then into one file after the other."""
    if not memory.made(Check.name):
        says = "First the cheap tools, over everything: the checks, and what was left for later."
        return Move(says, (Check(), Search(MARKERS)))
    order, says = memory.reading_order, ""
    if not order and memory.listed:
        order = _choose(memory)
        says = "Reading order: " + ", ".join(f"`{path}`" for path in order) + ".\n"
    unread = [path for path in order if path not in memory.outlined]
    if not unread:
        return Move("")
    return Move(f"{says}Now `{unread[0]}`.", (OutlineFile(unread[0]),))


def _choose(memory: Memory) -> list[str]:
    """The files that deserve the time: long ones, and those in which tools have found something."""
    problems = Counter(path for step in memory.latest for path, _, _ in step.places())
    weight = {
        path: lines + PROBLEM_WEIGHS_LINES * problems[path] for path, lines in memory.listed.items()
    }
    return sorted(weight, key=lambda path: (-weight[path], path))[:FILES_READ]
