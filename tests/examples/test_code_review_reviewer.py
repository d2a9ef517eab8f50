"""The code review's memory and its built-in reviewer."""

import json
from pathlib import Path

import msgspec
import pytest

from examples.code_review import tools
from examples.code_review.conversation import (
    CHECKPOINT_LIMIT_BYTES,
    FINDINGS_MAX,
    INSTRUCTIONS,
    Conversation,
)
from examples.code_review.findings import Finding, merge
from examples.code_review.model import Message, ToolCall
from examples.code_review.offline import OfflineReviewer, decide, expected_iterations
from examples.code_review.tools import use_tools
from examples.code_review.workspace import Workspace
from tests.examples.planted import SHOP, STOCK, hear, line_of, plant, review


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package with planted problems."""
    return plant(tmp_path)


# --- findings and the checkpoint -----------------------------------------------------------------


def finding(line: int = 1, severity="low", title="T", file="a.py") -> Finding:
    """A finding, for tests that care about its place."""
    return Finding(file, line, severity, title, "E", "S")


def test_findings_are_merged_once_and_sorted():
    """The graver view of the same finding stays; grave ones come first, then by place."""
    merged = merge([finding(9), finding(2)], [finding(9, "high"), finding(3, file="b.py")])
    assert [(each.place, each.severity) for each in merged] == [
        ("a.py:9", "high"),
        ("a.py:2", "low"),
        ("b.py:3", "low"),
    ]


def test_a_checkpoint_survives_the_wire():
    """What is encoded is what is decoded."""
    conversation = Conversation.start("pkg").add(
        Message("assistant", "hello", (ToolCall("1", "check", "{}"),)),
        Message("tool", "no problems", tool_call_id="1"),
        findings=[finding()],
    )
    wire = msgspec.json.encode(conversation)
    assert msgspec.json.decode(wire, type=Conversation) == conversation


def test_compacting_keeps_the_latest_rounds_word_for_word():
    """Old answers become short, new ones stay, and nothing changes any more the second time."""
    conversation = Conversation.start("pkg")
    for number in range(6):
        conversation = conversation.add(
            Message("assistant", f"say {number}", (ToolCall(str(number), "search", "{}"),)),
            Message("tool", f"{number}" * 2000, tool_call_id=str(number)),
        )
    small = conversation.compact()
    lengths = [len(answer.content) for _, answer in small.rounds]
    assert lengths[-2:] == [2000, 2000]
    assert all(length < 300 for length in lengths[:-2])
    assert [reply.content for reply, _ in small.rounds] == [f"say {n}" for n in range(6)]
    assert small.rounds_dropped == 0
    assert small.compact() == small


def test_only_as_many_old_rounds_are_dropped_as_must_be():
    """Many long replies: the oldest go, the newest stay whole, and the room is used."""
    conversation = Conversation.start("pkg")
    for number in range(20):
        call = ToolCall(str(number), "check", "{}")
        conversation = conversation.add(
            Message("assistant", f"{number}:" + "x" * 5_000, (call,)),
            Message("tool", "no problems", tool_call_id=str(number)),
        )
    small = conversation.compact()
    assert CHECKPOINT_LIMIT_BYTES - 6_000 < small.size_bytes <= CHECKPOINT_LIMIT_BYTES
    assert small.rounds == conversation.rounds[small.rounds_dropped :]


def test_a_checkpoint_is_bounded_whatever_was_said():
    """Forty long findings, long words in any script, and huge arguments: it still fits."""
    conversation = Conversation.start("pkg").add(
        findings=[
            Finding("a.py", n, "low", "T" * 100, "E" * 500, "S" * 300, "x") for n in range(60)
        ]
    )
    assert len(conversation.findings) == FINDINGS_MAX
    for number in range(24):
        call = ToolCall(str(number), "record_finding", json.dumps({"title": "é" * 3000}))
        conversation = conversation.add(
            Message("assistant", "界" * 2000, (call,)),
            Message("tool", "界" * 24_000, tool_call_id=str(number)),
        ).compact()
        assert conversation.size_bytes <= CHECKPOINT_LIMIT_BYTES
    reply, answer = conversation.rounds[-1]
    assert (reply.tool_calls[0].id, answer.tool_call_id) == ("23", "23")
    assert conversation.rounds_dropped + len(conversation.rounds) == 24
    assert conversation.messages[0].content == INSTRUCTIONS


# --- the built-in reviewer -----------------------------------------------------------------------


async def test_the_offline_reviewer_finds_what_was_planted(package: Path):
    """Every planted problem is reported at its line, and what a comment explains is not."""
    conversation, said = await review(package)
    found = {(each.file, each.line): each for each in conversation.findings}
    stock, shop = "deep/stock.py", "shop.py"
    expected = {
        (shop, line_of(SHOP, "time.sleep")): "Blocking call",
        (shop, line_of(SHOP, "basket=[]")): "Mutable default|docstring",
        (shop, line_of(SHOP, "def settle")): "`settle` does too much",
        (stock, line_of(STOCK, "except Exception:")): "says nothing",
        (stock, line_of(STOCK, "TODO")): "left for later",
        (stock, line_of(STOCK, "assert")): "python -O",
    }
    for place, title in expected.items():
        assert place in found, place
        assert any(part in found[place].title for part in title.split("|"))
        source = SHOP if place[0] == shop else STOCK
        assert found[place].evidence == source.splitlines()[place[1] - 1].strip()
    assert (stock, line_of(STOCK, "except Exception:  #")) not in found
    assert "as meant" in "\n".join(message.content for message in said)
    assert len(said) <= expected_iterations(2) + 1


@pytest.mark.parametrize(
    ("comment", "excused"),
    [
        ("# the cache is best effort", True),
        ("# noqa: BLE001 - the cache is best effort", True),
        ("# noqa: BLE001", False),
        ("# type: ignore[misc]", False),
        ("# pragma: no cover", False),
        ("# TODO: narrow this down", False),
        ("", False),
    ],
)
async def test_only_a_reason_excuses_a_broad_except(tmp_path: Path, comment, excused):
    """A directive for a tool, or a note for later, is no reason."""
    source = f"try:\n    x = 1\nexcept Exception:  {comment}\n    pass\n"
    (tmp_path / "a.py").write_text(source)
    conversation, _ = await review(tmp_path)
    broad = [each for each in conversation.findings if each.title.startswith("Catches")]
    assert [each.line for each in broad] == ([] if excused else [3])


async def test_a_long_function_is_reported_with_its_callers(package: Path):
    """The reviewer searched for the callers before it judged."""
    conversation, _ = await review(package)
    (settle,) = [each for each in conversation.findings if "settle" in each.title]
    assert f"`deep/stock.py:{line_of(STOCK, 'return settle(len')}`" in settle.explanation
    assert "2 places" in settle.explanation


async def test_the_offline_reviewer_is_deterministic(package: Path):
    """The same code gives the same conversation, to the last byte."""
    first, _ = await review(package)
    second, _ = await review(package)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


async def test_a_review_goes_on_from_any_checkpoint(package: Path):
    """A new reviewer with a decoded checkpoint says exactly what the old one would have said."""
    conversation, workspace = Conversation.start("pkg"), Workspace(package)
    while True:
        _, old = await hear(OfflineReviewer(), conversation)
        copy = msgspec.json.decode(msgspec.json.encode(conversation), type=Conversation)
        _, new = await hear(OfflineReviewer(), copy)
        assert new == old
        if not old.tool_calls:
            break
        conversation = use_tools(conversation.add(old), old.tool_calls, workspace).compact()


async def test_the_offline_reviewer_concludes_when_it_has_no_tools(package: Path):
    """In the last iteration that it is granted it sums up instead of asking."""
    conversation, _ = await review(package, iterations=3)
    tokens, message = await hear(OfflineReviewer(), conversation, offered=())
    assert message.tool_calls == ()
    assert "of 2 files" in message.content
    assert "".join(tokens) == message.content
    assert decide(Conversation.start("x").messages, may_call=False).calls == ()


async def test_an_empty_folder_is_reviewed_without_findings(tmp_path: Path):
    """There is nothing to say about nothing."""
    conversation, said = await review(tmp_path)
    assert conversation.findings == ()
    assert "nothing here needs to change" in said[-1].content


async def test_a_file_that_is_not_python_does_not_stop_the_review(tmp_path: Path):
    """A syntax error is a finding, and the review ends as always."""
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "odd.py").write_bytes(b"x = '\\d'\n\0\xff\n")
    (tmp_path / "good.py").write_text("def g(a=[]):\n    '''G.'''\n    return a\n")
    conversation, said = await review(tmp_path)
    assert not said[-1].tool_calls
    places = {each.place: each.severity for each in conversation.findings}
    assert places["broken.py:2"] == "high"
    assert "good.py:1" in places


async def test_the_offline_reviewer_reads_real_code():
    """The example reviews itself: every finding is at a line that exists, within the bounds."""
    root = Path(tools.__file__).parent
    conversation, said = await review(root)
    assert not said[-1].tool_calls
    assert len(said) <= expected_iterations(99) + 1
    for each in conversation.findings:
        assert (root / each.file).read_text().splitlines()[each.line - 1].strip()[:160] == (
            each.evidence
        )
