"""The agent: a loop that reviews code, and a task that writes the report.

This file is everything that DagNats needs to know. One iteration is one thought: the model speaks,
its tools run, and the conversation becomes the checkpoint. A worker may die at any moment; the next
one starts from the last checkpoint, so at most the thought that was interrupted is thought again.
"""

import asyncio
import os
from pathlib import Path

from msgspec import Struct

from dagnats import AgentContext, App, Continue, Fail, Retry
from examples.code_review.conversation import Conversation
from examples.code_review.endpoint import EndpointError, EndpointReviewer
from examples.code_review.findings import Severity, count_by_severity
from examples.code_review.ledger import Ledger, judge
from examples.code_review.model import Message, Reply, Reviewer, Token
from examples.code_review.offline import OfflineReviewer
from examples.code_review.report import render
from examples.code_review.tools import TOOLS, use_tools
from examples.code_review.workspace import ToolError, Workspace

app = App("code_review")


class ReviewRequest(Struct, frozen=True):
    """What to review, and the directory for the report and the ledger."""

    path: str
    output: str


class Review(Struct, frozen=True):
    """A finished review."""

    request: ReviewRequest
    reviewer: str
    summary: str
    conversation: Conversation


class ReportFile(Struct, frozen=True):
    """Where the report is, and its essence."""

    path: str
    findings: dict[Severity, int]
    verdict: str
    kept: bool


def choose_reviewer() -> Reviewer:
    """A model when ``OPENAI_BASE_URL`` or ``OPENAI_API_KEY`` is set, else the built-in reviewer."""
    model = EndpointReviewer.from_environment(os.environ)
    return model or OfflineReviewer(pace_s=float(os.environ.get("DEMO_PACE", "0")))


@app.agent_loop(
    max_iterations=24,
    max_duration="10m",
    timeout="2m",
    retry=Retry(3, backoff="exponential"),
)
async def review(
    ctx: AgentContext[Conversation], request: ReviewRequest
) -> Review | Continue[Conversation]:
    """Think once: listen to the reviewer, run the tools it asks for, keep the conversation."""
    workspace = _open(request)
    reviewer = choose_reviewer()
    conversation = ctx.checkpoint or Conversation.start(workspace.target.name)
    with _ledger(request).execution(ctx.iteration, ctx.attempt):
        said = await _listen(ctx, reviewer, conversation)
        conversation = conversation.add(said)
        if not said.tool_calls:
            return Review(request, reviewer.name, said.content, conversation.compact())
        conversation = await asyncio.to_thread(
            use_tools,
            conversation,
            said.tool_calls,
            workspace,
            tell=lambda line: ctx.emit(f"\n  → {line}"),
        )
    return Continue(conversation.compact())


@app.task(timeout="1m")
def write_report(review: Review) -> ReportFile:
    """Write the Markdown report next to the ledger."""
    request = review.request
    entries = _ledger(request).entries()
    subject = _open(request).target.name
    text = render(subject, review.reviewer, review.summary, review.conversation, entries)
    path = Path(request.output) / "report.md"
    path.write_text(text, encoding="utf-8")
    verdict = judge(entries)
    counts = count_by_severity(review.conversation.findings)
    return ReportFile(str(path), counts, verdict.sentence, verdict.kept)


@app.workflow(timeout="30m")
def code_review(request: ReviewRequest) -> ReportFile:
    """Review, then write the report."""
    return write_report(review(request))


async def _listen(
    ctx: AgentContext[Conversation], reviewer: Reviewer, conversation: Conversation
) -> Message:
    """Pass on the reviewer's words as they come; return the whole reply."""
    # Without tools the reviewer has to conclude: so the last iteration still gives a report.
    tools = () if ctx.last_iteration else TOOLS
    try:
        async for piece in reviewer.reply(conversation.messages, tools):
            match piece:
                case Token(text):
                    await ctx.emit(text)
                case Reply(message):
                    return message
    except EndpointError as error:
        if error.permanent:
            raise Fail(str(error)) from error
        raise
    raise EndpointError("the reviewer stopped before its reply was complete")


def _open(request: ReviewRequest) -> Workspace:
    try:
        return Workspace(request.path)
    except ToolError as error:
        raise Fail(str(error)) from error


def _ledger(request: ReviewRequest) -> Ledger:
    return Ledger(Path(request.output) / "ledger.jsonl")
