"""A package with planted problems, and a review of it without an engine."""

import json
from pathlib import Path

from examples.code_review.conversation import CHECKPOINT_LIMIT_BYTES, Conversation
from examples.code_review.model import Message, Reply, Reviewer, Token, ToolCall
from examples.code_review.offline import OfflineReviewer
from examples.code_review.tools import TOOLS, use_tools
from examples.code_review.workspace import Workspace

LONG_BODY = "\n".join(f"    total += price * {number}" for number in range(70))

SHOP = f'''"""A shop."""
import os
import time


async def wait_a_bit():
    """Wait."""
    time.sleep(1)


def add(item, basket=[]):
    basket.append(item)
    return basket


def settle(price):
    """Settle."""
    total = 0
{LONG_BODY}
    return total
'''

STOCK = '''"""Stock."""

from shop import settle


def count(path):
    """Count."""
    try:
        return settle(len(path))
    except Exception:
        pass


def guess(path):
    """Guess."""
    try:
        return settle(0)
    except Exception:  # a guess may fail: the caller has a default
        return None


def later():
    """Do it later."""
    # TODO: count the cellar too
    assert later
'''


def plant(folder: Path) -> Path:
    """Write the package."""
    root = folder / "pkg"
    (root / "deep").mkdir(parents=True)
    (root / "shop.py").write_text(SHOP)
    (root / "deep" / "stock.py").write_text(STOCK)
    (root / "notes.txt").write_text("not python")
    (root / ".hidden.py").write_text("x = 1\n")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "old.py").write_text("x = 1\n")
    return root


def line_of(source: str, text: str) -> int:
    """The number of the first line with a text."""
    return next(n for n, line in enumerate(source.splitlines(), 1) if text in line)


async def hear(reviewer: Reviewer, conversation: Conversation, offered=TOOLS):
    """One whole reply: its tokens and its message."""
    pieces = [piece async for piece in reviewer.reply(conversation.messages, offered)]
    assert isinstance(pieces[-1], Reply)
    return [piece.text for piece in pieces if isinstance(piece, Token)], pieces[-1].message


async def review(path: Path, iterations: int = 24) -> tuple[Conversation, list[Message]]:
    """The agent's loop without an engine."""
    workspace, conversation = Workspace(path), Conversation.start(path.name)
    said: list[Message] = []
    for _ in range(iterations):
        _, message = await hear(OfflineReviewer(), conversation)
        said.append(message)
        conversation = conversation.add(message)
        if not message.tool_calls:
            break
        conversation = use_tools(conversation, message.tool_calls, workspace).compact()
        assert conversation.size_bytes <= CHECKPOINT_LIMIT_BYTES
    return conversation, said


def ask(root: Path, tool: str, /, **arguments: object) -> str:
    """Call one tool as a model would, and return the answer."""
    call = ToolCall("1", tool, json.dumps(arguments))
    conversation = Conversation.start("x").add(Message("assistant", "", (call,)))
    return use_tools(conversation, [call], Workspace(root)).messages[-1].content
