"""The code review's tools: the fence around the code, each tool, the facts."""

import json
from pathlib import Path

import pytest

from examples.code_review import tools
from examples.code_review.conversation import (
    Conversation,
)
from examples.code_review.facts import outline
from examples.code_review.model import ToolCall
from examples.code_review.tools import TOOLS, call_to, use_tools
from examples.code_review.workspace import FILE_LIMIT_BYTES, ToolError, Workspace
from tests.examples.planted import SHOP, STOCK, ask, line_of, plant


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package with planted problems."""
    return plant(tmp_path)


# --- the fence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../outside.py",
        "deep/../../outside.py",
        "/etc/passwd",
        "/etc/passwd.py",
        "link.py",
        "linked/outside.py",
        "../pkg-twin/twin.py",
        "shop.py\0.txt",
        "x" * 5000,
        "notes.txt",
        ".hidden.py",
        "__pycache__/old.py",
        "huge.py",
        "deep",
        "missing.py",
        "",
    ],
)
def test_a_path_that_leaves_the_fence_is_refused(package: Path, name: str):
    """Escapes, links to the outside, other kinds of files and oversized ones cannot be named."""
    outside = package.parent / "outside.py"
    outside.write_text("SECRET = 1\n")
    (package.parent / "pkg-twin").mkdir()
    (package.parent / "pkg-twin" / "twin.py").write_text("SECRET = 1\n")
    (package / "link.py").symlink_to(outside)
    (package / "linked").symlink_to(package.parent)
    (package / "huge.py").write_text("#" * (FILE_LIMIT_BYTES + 1))
    workspace = Workspace(package)
    with pytest.raises(ToolError):
        workspace.resolve(name)
    for tool in ("read_file", "outline"):
        answer = ask(package, tool, path=name)
        assert answer.startswith("error:")
        assert "SECRET" not in answer
    assert "nothing contains" in ask(package, "search", text="SECRET")
    assert "outside" not in ask(package, "list_files")


@pytest.mark.parametrize("name", ["../pkg-twin/twin.py", "../nothing.py", "/etc/passwd"])
def test_outside_the_fence_nothing_can_be_learned(package: Path, name: str):
    """The refusal is the same whether the file exists or not."""
    (package.parent / "pkg-twin").mkdir()
    (package.parent / "pkg-twin" / "twin.py").write_text("SECRET = 1\n")
    with pytest.raises(ToolError, match="outside the code under review"):
        Workspace(package).resolve(name)


def test_the_fence_around_one_file_holds_just_that_file(package: Path):
    """A review of a file does not reach its neighbours."""
    workspace = Workspace(package / "shop.py")
    assert [file.path for file in workspace.files] == ["shop.py"]
    assert "basket" in workspace.read("shop.py")
    (package / "other.py").write_text("x = 1\n")
    with pytest.raises(ToolError, match="outside"):
        workspace.resolve("other.py")


def test_a_missing_path_is_named(tmp_path: Path):
    """The error says which path does not exist."""
    with pytest.raises(ToolError, match="nowhere"):
        Workspace(tmp_path / "nowhere")


# --- the tools ---------------------------------------------------------------------------------


def test_list_files_shows_python_files_by_length(package: Path):
    """Hidden files, caches and other kinds are left out; the longest file comes first."""
    lines = [line.split() for line in ask(package, "list_files").splitlines()]
    assert lines == [
        [str(len(SHOP.splitlines())), "shop.py"],
        [str(len(STOCK.splitlines())), "deep/stock.py"],
    ]


def test_read_file_numbers_its_lines(package: Path):
    """A window begins where it was asked to, with the numbers of the file."""
    line = line_of(SHOP, "def add")
    answer = ask(package, "read_file", path="shop.py", start=line, lines=2)
    assert answer.splitlines() == [
        f"{line:>5} def add(item, basket=[]):",
        f"{line + 1:>5}     basket.append(item)",
    ]
    assert ask(package, "read_file", path="shop.py", start=9999).startswith("error:")


def test_search_finds_alternatives_with_places(package: Path):
    """Each match is a path, a line and its text; the text is no pattern."""
    answer = ask(package, "search", text="TODO|time.sleep(")
    assert f"shop.py:{line_of(SHOP, 'time.sleep')}: time.sleep(1)" in answer
    assert f"deep/stock.py:{line_of(STOCK, 'TODO')}: # TODO: count the cellar too" in answer
    assert "nothing contains" in ask(package, "search", text=".*")


def test_check_reports_what_ruff_finds(package: Path):
    """The unused import is found at its line."""
    if tools.find_ruff() is None:
        pytest.skip("ruff is not installed")
    answer = ask(package, "check")
    assert f"shop.py:{line_of(SHOP, 'import os')}: F401" in answer
    assert ask(package, "check", path="deep/stock.py") == "no problems"
    assert not (package / ".ruff_cache").exists()


def test_check_without_ruff_compiles(package: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that is not Python is found without ruff."""
    monkeypatch.setattr(tools, "find_ruff", lambda: None)
    assert ask(package, "check") == "no problems"
    (package / "broken.py").write_text("x = 1\ndef f(:\n")
    assert ask(package, "check").startswith("broken.py:2: invalid-syntax")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("rm", "{}", "there is no tool 'rm'"),
        ("read_file", "{broken", "do not fit"),
        ("read_file", '{"path": 1}', "do not fit"),
        ("read_file", '{"path": "shop.py", "colour": "red"}', "colour"),
        ("search", '{"text": ""}', "do not fit"),
    ],
)
def test_a_wrong_call_is_answered_not_raised(package, name, arguments, expected):
    """The model reads what was wrong and can do better."""
    call = ToolCall("7", name, arguments)
    answered = use_tools(Conversation.start("x"), [call], Workspace(package)).messages[-1]
    assert answered.tool_call_id == "7"
    assert answered.content.startswith("error:")
    assert expected in answered.content


def test_a_finding_must_be_at_a_line_that_exists(package: Path):
    """A made-up place is refused; a real one is kept with its line of code."""
    workspace, start = Workspace(package), Conversation.start("x")

    def record(file: str, line: int) -> Conversation:
        call = call_to(tools.RecordFinding(file, line, "low", "T", "E", "S"), "1")
        return use_tools(start, [call], workspace)

    assert record("shop.py", 9999).findings == ()
    assert record("ghost.py", 1).findings == ()
    assert record("shop.py", line_of(SHOP, "async def wait") - 1).findings == ()  # empty
    (finding,) = record("shop.py", line_of(SHOP, "def add")).findings
    assert finding.evidence == "def add(item, basket=[]):"


def test_answers_are_bounded(package: Path):
    """Neither one answer, nor all answers of a reply, nor the number of calls can grow."""
    (package / "wide.py").write_text("\n".join(f"x{n} = '{'y' * 150}'" for n in range(400)))
    calls = [call_to(tools.ReadFile("wide.py", 1, 120), str(n)) for n in range(tools.CALLS_MAX + 3)]
    answers = use_tools(Conversation.start("x"), calls, Workspace(package)).messages[2:]
    assert len(answers) == len(calls)
    assert max(len(answer.content) for answer in answers) <= tools.ANSWER_CHARS + 40
    total = sum(len(answer.content) for answer in answers)
    assert total <= tools.ANSWERS_CHARS + 60 * len(answers)


def test_tools_describe_themselves():
    """A model gets a plain object schema for each tool, without references."""
    by_name = {tool.name: tool for tool in TOOLS}
    assert set(by_name) == {
        "list_files", "read_file", "outline", "search", "check", "record_finding",
    }  # fmt: skip
    schema = by_name["record_finding"].parameters
    assert schema["type"] == "object"
    assert set(schema["required"]) == {
        "file", "line", "severity", "title", "explanation", "suggestion",
    }  # fmt: skip
    assert "$ref" not in json.dumps([tool.parameters for tool in TOOLS])
    assert all(tool.description for tool in TOOLS)


# --- facts -------------------------------------------------------------------------------------


def test_facts_measure_functions():
    """Length, nesting, branches, parameters and docstrings are what the source shows."""
    source = (
        "def f(self, a, *, b):\n"
        "    '''Doc.'''\n"
        "    for x in a:\n"
        "        if x and b:\n"
        "            with x:\n"
        "                pass\n"
        "        elif b:\n"
        "            pass\n"
        "    def _inner():\n"
        "        while True: pass\n"
    )
    f, inner = outline("f.py", source).functions
    assert (f.name, f.line, f.lines, f.depth, f.branches, f.parameters) == ("f", 1, 10, 3, 5, 2)
    assert f.documented
    assert f.public
    assert (inner.name, inner.public, inner.branches) == ("_inner", False, 2)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("try: f()\nexcept: pass", "broad_except"),
        ("try: f()\nexcept BaseException: pass", "broad_except"),
        ("try: f()\nexcept Exception: raise", None),
        ("try: f()\nexcept ValueError: pass", None),
        ("def f(a={}): pass", "mutable_default"),
        ("def f(a=()): pass", None),
        ("assert x", "assert"),
        ("from a import *", "star_import"),
        ("import asyncio\nasyncio.create_task(f())", "dropped_task"),
        ("import asyncio\nt = asyncio.create_task(f())", None),
        ("async def f(): time.sleep(1)", "blocking_call"),
        ("def f(): time.sleep(1)", None),
        ("async def f():\n  def g(): time.sleep(1)", None),
        ("eval(x)", "dynamic_code"),
        ("run(x, shell=True)", "shell"),
        ("run(x, shell=False)", None),
        ("pickle.loads(x)", "unsafe_load"),
        ("yaml.load(x, Loader=yaml.SafeLoader)", None),
        ("datetime.utcnow()", "naive_time"),
    ],
)
def test_facts_name_smells(source: str, kind: str | None):
    """Each smell is seen, and its harmless look-alike is not."""
    assert [smell.kind for smell in outline("f.py", source).smells] == ([kind] if kind else [])
