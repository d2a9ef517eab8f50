"""The code review with a model behind an endpoint."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from examples.code_review.conversation import Conversation
from examples.code_review.endpoint import EndpointError, EndpointReviewer
from examples.code_review.model import Message, Reply, Token, ToolCall
from examples.code_review.tools import TOOLS
from tests.examples.planted import hear


class Endpoint(ThreadingHTTPServer):
    """An endpoint that plays back prepared answers and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.lines: list[bytes] = []
        self.asked: list[tuple[str, dict[str, str], dict]] = []
        self.heard = threading.Event()
        self.wait_after = -1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def say(self, *deltas: dict) -> None:
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        self.lines = [b"data: " + json.dumps(chunk).encode() for chunk in chunks]
        self.lines += [b": a comment", b"data: [DONE]"]


class Handler(BaseHTTPRequestHandler):
    """Streams the prepared lines, each with an empty line behind it."""

    server: Endpoint

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/event-stream")
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        for number, line in enumerate(self.server.lines):
            self.wfile.write(line + b"\n\n")
            self.wfile.flush()
            if number == self.server.wait_after:
                self.server.heard.wait(10)

    def log_message(self, format, *args):
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A running endpoint."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.heard.set()
        server.shutdown()
        thread.join()


async def test_a_model_streams_words_and_tool_calls(endpoint: Endpoint):
    """Words arrive one by one; arguments that come in pieces, of two calls, are put together."""
    endpoint.say(
        {"role": "assistant", "content": ""},
        {"content": "I "},
        {"content": "look."},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "search", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"text": '}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "check", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"TODO"}'}}]},
    )
    conversation = Conversation.start("pkg").add(
        Message("assistant", "", (ToolCall("z", "list_files", "{}"),)),
        Message("tool", "1 a.py", tool_call_id="z"),
    )
    tokens, message = await hear(EndpointReviewer(endpoint.url, "tiny", "secret"), conversation)
    assert tokens == ["I ", "look."]
    assert message == Message(
        "assistant",
        "I look.",
        (ToolCall("a", "search", '{"text": "TODO"}'), ToolCall("b", "check", "{}")),
    )
    ((path, headers, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["stream"]) == ("tiny", True)
    assert [entry["role"] for entry in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"]["name"] == "list_files"
    assert body["messages"][3]["tool_call_id"] == "z"
    assert {tool["function"]["name"] for tool in body["tools"]} == {tool.name for tool in TOOLS}


async def test_words_are_passed_on_before_the_reply_is_complete(endpoint: Endpoint):
    """The first token is there while the endpoint still holds back the rest."""
    endpoint.say({"content": "first"}, {"content": "second"})
    endpoint.wait_after = 0
    replies = EndpointReviewer(endpoint.url, "tiny").reply(Conversation.start("p").messages, ())
    async with asyncio.timeout(5):
        assert await anext(replies) == Token("first")
    assert not endpoint.heard.is_set()
    endpoint.heard.set()
    assert [piece async for piece in replies][-1] == Reply(Message("assistant", "firstsecond"))
    assert "tools" not in endpoint.asked[0][2]


@pytest.mark.parametrize(
    ("status", "permanent"), [(401, True), (404, True), (302, True), (429, False), (503, False)]
)
async def test_a_refusal_says_whether_asking_again_may_help(endpoint, status, permanent):
    """Wrong keys and redirects are for ever, overload passes; the page is quoted."""
    endpoint.status = status
    endpoint.lines = [b"this is why"]
    with pytest.raises(EndpointError, match="this is why") as caught:
        await hear(EndpointReviewer(endpoint.url, "tiny", "secret"), Conversation.start("p"))
    assert str(status) in str(caught.value)
    assert caught.value.permanent is permanent
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"data: {broken", "broken"),
        (b'data: {"error": {"message": "overloaded"}}', "overloaded"),
        (b"data: [DONE]", "empty reply"),
    ],
)
async def test_a_broken_stream_is_an_error(endpoint: Endpoint, line: bytes, expected: str):
    """What cannot be understood is said, and may be tried again."""
    endpoint.lines = [line]
    with pytest.raises(EndpointError, match=expected) as caught:
        await hear(EndpointReviewer(endpoint.url, "tiny"), Conversation.start("p"))
    assert not caught.value.permanent


async def test_an_endpoint_that_is_not_there_is_a_passing_error(endpoint: Endpoint):
    """Nobody listens: an error that names the address."""
    url = endpoint.url
    endpoint.server_close()
    with pytest.raises(EndpointError, match="cannot be reached"):
        await hear(EndpointReviewer(url, "tiny"), Conversation.start("p"))


def test_the_environment_chooses_the_model():
    """Without OPENAI variables there is no model; each has its default; a bad URL is refused."""
    choose = EndpointReviewer.from_environment
    assert choose({}) is None
    assert choose({"OPENAI_API_KEY": "k"}).name == "model gpt-4o-mini"
    chosen = choose({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "tiny"})
    assert chosen.name == "model tiny"
    with pytest.raises(EndpointError, match="http"):
        choose({"OPENAI_BASE_URL": "file:///etc/passwd"})
