"""What a reviewer and its tools say to each other.

The shapes are those of chat completions: an assistant's message may carry tool calls, and each call
is answered by a message of the role ``tool``. A language model behind an endpoint (`endpoint.py`)
and the built-in reviewer (`offline.py`) speak the same shapes, so nothing else needs to know which
one it is.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True):
    """A wish of the model: run this tool with these arguments (a JSON object, as text)."""

    id: str
    name: str
    arguments: str = "{}"


class Message(Struct, frozen=True, omit_defaults=True):
    """One entry of the conversation."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Tool(Struct, frozen=True):
    """What the model is told about a tool: its name, its use, a JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Token(Struct, frozen=True):
    """A piece of a reply, as soon as it is known."""

    text: str


class Reply(Struct, frozen=True):
    """The whole reply, after its last token."""

    message: Message


class Reviewer(Protocol):
    """Whoever thinks: given the conversation so far, it says what comes next."""

    name: str

    def reply(
        self, conversation: Sequence[Message], tools: Sequence[Tool]
    ) -> AsyncIterator[Token | Reply]:
        """Yield the reply's tokens as they come, and last the `Reply` itself.

        Without tools it must conclude: the reply then holds the summary of the review.
        """
        ...
