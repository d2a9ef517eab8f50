"""What the built-in reviewer can know: the conversation, read back.

Nothing else survives from one iteration to the next; a new worker has just this.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct

from examples.code_review.facts import Outline
from examples.code_review.model import Message

#: What authors write when they mean to come back.
MARKERS = "TODO|FIXME|XXX|HACK"

_PLACE = re.compile(r"^(?P<path>[^:\n]+\.py):(?P<line>\d+): (?P<text>.*)$", re.MULTILINE)
_RECORDED = re.compile(r"recorded \((?P<severity>\w+)\) at (?P<place>\S+)")
_LISTED = re.compile(r"^ *(?P<lines>\d+) (?P<path>\S.*\.py)$", re.MULTILINE)


class Step(Struct, frozen=True):
    """One call that was made, and its answer."""

    round: int
    tool: str
    arguments: dict[str, Any]
    answer: str

    @property
    def failed(self) -> bool:
        """Whether the tool refused."""
        return self.answer.startswith("error:")

    def places(self) -> Iterator[tuple[str, int, str]]:
        """The answer's lines of the form ``path:line: text``."""
        for match in _PLACE.finditer(self.answer):
            yield match["path"], int(match["line"]), match["text"]


class Memory:
    """The steps so far, and what follows from them."""

    def __init__(self, steps: Sequence[Step], words: str) -> None:
        self.steps = tuple(steps)
        self._words = words

    @property
    def latest(self) -> tuple[Step, ...]:
        """The steps of the last round, which nobody has thought about yet."""
        return tuple(step for step in self.steps if step.round == self.steps[-1].round)

    def made(self, tool: str) -> tuple[Step, ...]:
        """Every step with a tool."""
        return tuple(step for step in self.steps if step.tool == tool)

    @cached_property
    def listed(self) -> dict[str, int]:
        """The files and their lengths, as far as the list is still remembered."""
        answers = "\n".join(step.answer for step in self.made("list_files"))
        return {match["path"]: int(match["lines"]) for match in _LISTED.finditer(answers)}

    @cached_property
    def files_seen(self) -> int:
        """How many files there are, by its own words: the list itself is shortened with time."""
        said = re.search(r"^(\d+) files, ", self._words, re.MULTILINE)
        return int(said[1]) if said else len(self.listed)

    @cached_property
    def outlined(self) -> frozenset[str]:
        """The files that have been looked at closely."""
        return frozenset(step.arguments["path"] for step in self.made("outline"))

    @cached_property
    def reading_order(self) -> list[str]:
        """The files it said it would read."""
        said = re.search(r"^Reading order: (.+)\.$", self._words, re.MULTILINE)
        return re.findall(r"`([^`]+)`", said[1]) if said else []

    @cached_property
    def recorded(self) -> list[tuple[str, str]]:
        """The severity and the place of each finding that was accepted."""
        answers = "\n".join(step.answer for step in self.made("record_finding"))
        return [(each["severity"], each["place"]) for each in _RECORDED.finditer(answers)]

    def outline(self, path: str) -> Outline | None:
        """The facts of a file, while their answer is still remembered in full."""
        for step in self.made("outline"):
            if step.arguments["path"] == path:
                return decode_outline(step)
        return None


def decode_outline(step: Step) -> Outline | None:
    """Read an answer of the outline tool; a refusal, or a shortened answer, is None."""
    try:
        return msgspec.json.decode(step.answer, type=Outline)
    except msgspec.MsgspecError:
        return None


def recall(conversation: Sequence[Message]) -> Memory:
    """Read a conversation back into steps."""
    answers = {each.tool_call_id: each.content for each in conversation if each.role == "tool"}
    replies = [message for message in conversation if message.role == "assistant"]
    steps = [
        Step(
            number,
            call.name,
            msgspec.json.decode(call.arguments, type=dict[str, Any]),
            answers.get(call.id, "error: no answer"),
        )
        for number, reply in enumerate(replies)
        for call in reply.tool_calls
    ]
    return Memory(steps, "\n".join(reply.content for reply in replies))
