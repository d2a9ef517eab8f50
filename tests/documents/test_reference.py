"""The reference says neither more nor less than the code: headings, defaults, keys, names and examples."""

import inspect
import json
import re
from pathlib import Path

import msgspec
import pytest

from dagnats import AgentContext, App, Client, Handle, Task, WorkflowBuilder, errors, settings
from dagnats.archive import Record
from dagnats.core import definition
from dagnats.core.events import AUTHORS, Fact
from dagnats.core.kinds import FILE_NAMES, KINDS
from dagnats.core.matching import MATCH_KEYS
from dagnats.core.templates import holes
from dagnats.core.validate import problems_of
from dagnats.jetstream.plans import plans
from dagnats.wire import subjects
from dagnats.wire.messages import (
    Chunks,
    ClosedMark,
    ControlMark,
    Enquiry,
    HandedOver,
    Offer,
    OfferAnswer,
    TaskMessage,
)
from tests.documents import pages
from tests.documents.pages import REFERENCE, Fence

HANDING_OVER = {"run": Offer, "says": OfferAnswer, "message": HandedOver}  # by their first member


def text(name: str) -> str:
    """A page of the reference."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def headings(name: str, level: int = 2) -> list[str]:
    """The headings of a page, without their marks."""
    found = re.findall(rf"^{'#' * level} (.+)$", text(name), flags=re.MULTILINE)
    return [heading.strip("`") for heading in found]


def code_words(name: str) -> set[str]:
    """Everything that stands in code spans of a page."""
    spans = (token.content for token in pages.inline(REFERENCE / name, "code_inline"))
    return {word for span in spans for word in (span, span.strip('"'))}


def test_errors_have_a_heading_each():
    """Every exception has a section of its own, in the order of the tree."""
    tree = [
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.DagNatsError)
    ]

    assert headings("errors.md") == [*tree, "Not errors"]


def test_failures_are_explained():
    """Every kind of failure that the code can give is in the table of ``RunFailed``."""
    kinds = {
        "max_iterations",
        "max_duration",
        "invalid_input",
        "invalid_output",
        "definition_missing",
    }
    kinds |= {"retriable", "non_retriable", "retry_after", "timeout", "worker_lost"}
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("core", "worker")
        for path in (pages.ROOT / "dagnats" / folder).rglob("*.py")
    )

    assert kinds <= code_words("errors.md")
    assert all(f'"{kind}"' in code for kind in kinds)


def test_settings_have_a_heading_and_a_default_each():
    """Every setting has a section that begins with its default."""
    fields = zip(
        settings.Settings.__struct_fields__, settings.Settings.__struct_defaults__, strict=True
    )
    for name, default in fields:
        written = f"## `{name}`\n\nDefault: `{json.dumps(default)}`"

        assert written in text("settings.md"), f"describe {name}: {written!r}"
    assert headings("settings.md") == list(settings.Settings.__struct_fields__)


def test_workflow_files_have_every_key():
    """Every key and every type of a workflow file is on its page."""
    known = {*definition.WORKFLOW_KEYS, *definition.STEP_KEYS, *definition.RETRY_KEYS}
    known |= {*definition.CANCEL_KEYS, *MATCH_KEYS, *FILE_NAMES, "step_id", "field", "op", "value"}
    known |= {key for name in FILE_NAMES.values() for key in KINDS[name].CONFIG_KEYS}
    missing = (
        known - code_words("workflow-file.md") - set(re.findall(r"\w+", text("workflow-file.md")))
    )

    assert not missing


def test_streams_buckets_and_facts_are_on_the_wire_page():
    """Every stream, bucket, fact and author is described."""
    words = set(re.findall(r"[\w.]+", text("wire.md")))
    names = {plan["name"].removeprefix("KV_").removeprefix("OBJ_") for plan in plans(16, 1, -1)}
    facts = {str(kind.__struct_config__.tag) for kind in AUTHORS}

    assert not names - words
    assert not facts - words
    for header in (subjects.MSG_ID, subjects.SCHEDULE, subjects.EXPECTED_LAST_SUBJECT):
        assert f"`{header}" in text("wire.md")


def examples(page: Path) -> list[object]:
    """The JSON blocks of a page."""
    found = [fence for fence in pages.fences("json") if fence.page == page]
    return [pytest.param(fence, id=fence.place) for fence in found]


@pytest.mark.parametrize("fence", examples(REFERENCE / "wire.md"))
def test_messages_on_the_wire_page_can_be_read(fence: Fence):
    """Every example of a message decodes as the message that it shows, with no member it does not have."""
    shown = json.loads(fence.content)
    if "allowed" in shown:
        read = msgspec.json.decode(fence.content, type=ControlMark)
    elif "type" in shown:
        read = msgspec.json.decode(fence.content, type=Fact)
    elif "answer_to" in shown:
        read = msgspec.json.decode(fence.content, type=TaskMessage)
    elif "parts" in shown:
        read = msgspec.json.decode(fence.content, type=Record)
    elif "closed_ms" in shown:
        read = msgspec.json.decode(fence.content, type=ClosedMark)
    elif "after_seq" in shown:
        read = msgspec.json.decode(fence.content, type=Enquiry)
    elif "chunks" in shown:
        read = msgspec.json.decode(fence.content, type=Chunks)
    elif (kind := HANDING_OVER.get(next(iter(shown)))) is not None:
        read = msgspec.json.decode(fence.content, type=kind)
    else:
        return

    assert json.loads(msgspec.json.encode(read)) == shown


@pytest.mark.parametrize("fence", examples(pages.DOCS / "how-to" / "workflow-files.md"))
def test_workflow_files_shown_are_valid(fence: Fence):
    """Every workflow file in the how-to can be registered."""
    workflow, problems = definition.read_workflow(json.loads(fence.content))

    assert workflow is not None
    assert not [*problems, *problems_of(workflow)]
    assert [hole for step in workflow.steps for hole in holes(step.input)]


@pytest.mark.parametrize(
    "fence", [pytest.param(fence, id=fence.place) for fence in pages.fences("json")]
)
def test_json_blocks_are_json(fence: Fence):
    """Every JSON block can be parsed."""
    assert json.loads(fence.content) is not None


def test_methods_shown_exist():
    """Every `client.…`, `handle.…`, `app.…`, `task.…`, `ctx.…` and builder method in a code span exists."""
    owners = {"app": App, "client": Client, "ctx": AgentContext, "handle": Handle, "task": Task}
    call = re.compile(r"(?<![\w.])(app|client|ctx|handle|task|WorkflowBuilder)\.([a-z]\w*)")
    missing = [
        f"{page.name}: {owner}.{name}"
        for page in pages.pages()
        for token in pages.inline(page, "code_inline")
        for owner, name in call.findall(token.content)
        if name != "py" and not hasattr(owners.get(owner, WorkflowBuilder), name)
    ]
    instance = {
        "bulk",
        "dead",
        "policy",
        "run_id",
        "log",
        "tasks",
        "name",
        "url",
    }  # set in __init__

    assert not [place for place in missing if place.rpartition(".")[2] not in instance]
