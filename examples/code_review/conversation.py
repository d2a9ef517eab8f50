"""The conversation: everything that the agent knows, and so everything that a checkpoint must hold.

A checkpoint is written after each iteration, so it has to stay small. `Conversation.compact` keeps
the latest rounds word for word and shortens the older ones; the findings are kept apart and are
never shortened.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct, structs

from examples.code_review.findings import Finding, merge
from examples.code_review.model import Message, ToolCall

#: A checkpoint is never larger than this.
CHECKPOINT_LIMIT_BYTES = 60_000
#: Findings past this many are refused: a longer report would not be read.
FINDINGS_MAX = 40
#: The latest rounds are kept as they were said: their results are still being worked with.
ROUNDS_IN_FULL = 2
#: What is left of a tool's result, or of its arguments, in an older round.
OLD_RESULT_CHARS = 200

INSTRUCTIONS = """\
You are a careful reviewer of Python code. Work in small steps: list the files, run the checks, \
look at the outline of the files that matter most, read the lines you have doubts about, and \
search for the callers of what you would change.

Say in one or two sentences what you are about to do, then call tools; several calls in one reply \
are welcome. Record every problem with record_finding as soon as you are sure of it, with a line \
number that you have seen. Older results are shortened, so do not put recording off.

Report what matters: bugs, swallowed errors, races, leaks, confusing structure. When you have seen \
enough, reply without calling a tool: a summary of the review in a short paragraph."""


class Conversation(Struct, frozen=True):
    """Messages and findings so far; a value, so each method returns a new conversation."""

    messages: tuple[Message, ...]
    findings: tuple[Finding, ...] = ()
    rounds_dropped: int = 0

    @classmethod
    def start(cls, subject: str) -> "Conversation":
        """Begin a review of the code that people know as ``subject``."""
        task = Message("user", f"Review the Python code in {subject}.")
        return cls((Message("system", INSTRUCTIONS), task))

    @property
    def rounds(self) -> tuple[tuple[Message, ...], ...]:
        """The rounds so far: a reply of the model, then the answers of the tools it called."""
        rounds: list[tuple[Message, ...]] = []
        for message in self.messages[2:]:
            if message.role == "assistant":
                rounds.append((message,))
            else:
                rounds[-1] = (*rounds[-1], message)
        return tuple(rounds)

    def add(self, *messages: Message, findings: Iterable[Finding] = ()) -> "Conversation":
        """Append messages, and findings if there are any."""
        return structs.replace(
            self,
            messages=(*self.messages, *messages),
            findings=merge(self.findings, findings)[:FINDINGS_MAX],
        )

    def compact(self, limit_bytes: int = CHECKPOINT_LIMIT_BYTES) -> "Conversation":
        """Shorten old rounds; drop the oldest, and last clip the newest, if that is not enough."""
        for smaller in self._ever_smaller():
            if smaller.size_bytes <= limit_bytes:
                return smaller
        return smaller

    @property
    def size_bytes(self) -> int:
        """How large the conversation is as a checkpoint."""
        return len(msgspec.json.encode(self))

    def _ever_smaller(self) -> Iterator["Conversation"]:
        rounds = self.rounds
        for full in range(ROUNDS_IN_FULL, 0, -1):
            yield self._with_rounds((*map(_shorten, rounds[:-full]), *rounds[-full:]))
        short, newest = tuple(map(_shorten, rounds[:-1])), rounds[-1:]
        for dropped in range(1, len(rounds)):
            yield self._with_rounds((*short[dropped:], *newest), dropped)
        clip_chars = CHECKPOINT_LIMIT_BYTES
        while newest and clip_chars > 1:
            clip_chars //= 2
            clipped = tuple(_clip_message(message, clip_chars) for message in newest[0])
            yield self._with_rounds((clipped,), len(rounds) - 1)

    def _with_rounds(
        self, rounds: tuple[tuple[Message, ...], ...], dropped: int = 0
    ) -> "Conversation":
        return structs.replace(
            self,
            messages=(*self.messages[:2], *(message for each in rounds for message in each)),
            rounds_dropped=self.rounds_dropped + dropped,
        )


def clip(text: str, limit_chars: int) -> str:
    """Cut a text to size, and say how much is missing."""
    missing = len(text) - limit_chars
    return text if missing <= 0 else f"{text[:limit_chars]}\n… ({missing} more characters)"


def _shorten(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What remains of an old round: the words, which tools were called, how each answer began."""
    reply, *answers = messages
    calls = tuple(map(_shorten_call, reply.tool_calls))
    short = (structs.replace(answer, content=_once(answer.content)) for answer in answers)
    return (structs.replace(reply, tool_calls=calls), *short)


def _once(text: str) -> str:
    """Clip a result, but not a second time: a clipped text is a little longer than its limit."""
    return text if len(text) <= OLD_RESULT_CHARS + 40 else clip(text, OLD_RESULT_CHARS)


def _shorten_call(call: ToolCall) -> ToolCall:
    """Shorten long arguments field by field: a model may insist that they stay valid JSON."""
    if len(call.arguments) <= OLD_RESULT_CHARS:
        return call
    try:
        fields = msgspec.json.decode(call.arguments, type=dict[str, object])
    except msgspec.MsgspecError:
        return structs.replace(call, arguments="{}")
    kept = {
        name: value for name, value in fields.items() if len(str(value)) <= OLD_RESULT_CHARS // 3
    }
    return structs.replace(call, arguments=msgspec.json.encode(kept).decode())


def _clip_message(message: Message, limit_chars: int) -> Message:
    short = structs.replace(message, content=clip(message.content, limit_chars))
    if sum(len(call.arguments) for call in message.tool_calls) <= limit_chars:
        return short
    return structs.replace(short, tool_calls=tuple(map(_shorten_call, message.tool_calls)))
