"""A reviewer behind an OpenAI-compatible endpoint: chat completions, streamed, with tool calls.

Only the standard library is used. The blocking request lives in a thread of its own and hands its
lines to the event loop as they arrive.
"""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import msgspec
from msgspec import Struct

from examples.code_review.model import Message, Reply, Token, Tool, ToolCall

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o-mini"
#: How long the endpoint may be silent.
SILENCE_LIMIT_S = 60.0
#: What is shown of an error page.
ERROR_CHARS = 300


class EndpointError(Exception):
    """The endpoint did not answer as it should; ``permanent`` when asking again cannot help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class EndpointReviewer:
    """A language model as the reviewer."""

    def __init__(self, base_url: str, model: str, api_key: str = "") -> None:
        if not base_url.startswith(("http://", "https://")):
            raise EndpointError(
                f"OPENAI_BASE_URL must be an http(s) URL: {base_url}", permanent=True
            )
        self.name = f"model {model}"
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._api_key = api_key

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "EndpointReviewer | None":
        """The reviewer that the ``OPENAI_*`` variables describe; None when there are none."""
        base_url, api_key = environment.get("OPENAI_BASE_URL"), environment.get("OPENAI_API_KEY")
        if not base_url and not api_key:
            return None
        model = environment.get("OPENAI_MODEL") or DEFAULT_MODEL
        return cls(base_url or DEFAULT_BASE_URL, model, api_key or "")

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[Tool]
    ) -> AsyncIterator[Token | Reply]:
        """Ask the model, and pass on what it says as it says it."""
        parts = _Parts()
        async for data in _stream(self._request(conversation, tools)):
            for text in parts.add(data):
                yield Token(text)
        yield Reply(parts.message())

    def _request(
        self, conversation: Sequence[Message], tools: Sequence[Tool]
    ) -> urllib.request.Request:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_to_wire(message) for message in conversation],
            "stream": True,
        }
        if tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return urllib.request.Request(self._url, msgspec.json.encode(body), headers)  # noqa: S310 - checked


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPart(Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Choice(Struct):
    delta: _Delta | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    error: Any = None


class _Parts:
    """A reply under construction: text, and calls whose arguments come in pieces."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, ToolCall] = {}

    def add(self, data: str) -> Iterator[str]:
        """Take one event's data; yield the text in it."""
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except msgspec.MsgspecError as error:
            raise EndpointError(f"the endpoint sent {data[:ERROR_CHARS]!r}: {error}") from error
        if chunk.error is not None:
            raise EndpointError(f"the endpoint broke off: {str(chunk.error)[:ERROR_CHARS]}")
        for delta in (choice.delta for choice in chunk.choices if choice.delta):
            if delta.content:
                self._text.append(delta.content)
                yield delta.content
            for part in delta.tool_calls or ():
                self._add_call(part)

    def message(self) -> Message:
        """The reply, when everything has come."""
        calls = tuple(self._calls[index] for index in sorted(self._calls))
        if not calls and not self._text:
            raise EndpointError("the endpoint sent an empty reply")
        return Message("assistant", "".join(self._text), calls)

    def _add_call(self, part: _CallPart) -> None:
        known = self._calls.get(part.index) or ToolCall(f"call-{part.index}", "", "")
        function = part.function or _Function()
        self._calls[part.index] = ToolCall(
            part.id or known.id,
            known.name + (function.name or ""),
            known.arguments + (function.arguments or ""),
        )


def _to_wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    return wire


async def _stream(request: urllib.request.Request) -> AsyncIterator[str]:
    """The data of each server-sent event, up to the endpoint's ``[DONE]``."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | Exception | None] = asyncio.Queue()
    abandoned = threading.Event()

    def put(item: str | Exception | None) -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody is waiting any more.
            loop.call_soon_threadsafe(arrived.put_nowait, item)

    def fetch() -> None:
        try:
            for data in _events(_lines(request)):
                put(data)
                if abandoned.is_set():
                    return
            put(None)
        except Exception as error:  # noqa: BLE001 - it is raised again where the reply is awaited
            put(error)

    threading.Thread(target=fetch, name="code-review-endpoint", daemon=True).start()
    try:
        while (item := await arrived.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        abandoned.set()


def _lines(request: urllib.request.Request) -> Iterator[bytes]:
    """Send the request and yield the lines of the answer; every failure is an `EndpointError`."""
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=SILENCE_LIMIT_S) as answer:
            yield from answer
    except urllib.error.HTTPError as error:
        with closing(error):
            excerpt = error.read(ERROR_CHARS).decode(errors="replace")
        # Too many requests, a timeout, a conflict: those pass. Any other refusal stays one.
        permanent = error.code < 500 and error.code not in {408, 409, 429}
        message = f"{request.full_url} answered {error.code}: {excerpt}"
        raise EndpointError(message, permanent=permanent) from error
    except OSError as error:
        raise EndpointError(f"{request.full_url} cannot be reached: {error}") from error


def _events(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip().decode()
        if data == "[DONE]":
            return
        yield data


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to a host that nobody named; it is an error instead."""

    def redirect_request(self, *_: Any) -> None:
        return None
