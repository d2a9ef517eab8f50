"""Tests that documents name as proof are there."""

from __future__ import annotations

import ast
import re

from tests.documents import pages
from tests.tidy.repository import ROOT

_TEST = re.compile(r"(tests/[\w/]+\.py)(?:::(test_\w+))?\Z")


def test_every_test_that_is_named_exists():
    """`tests/….py` and `tests/….py::test_…` in a code span are a file, and a function of it."""
    named = {
        (page.name, *found.groups())
        for page in pages.pages()
        for token in pages.inline(page, "code_inline")
        if (found := _TEST.match(token.content))
    }
    missing = [(page, file, name) for page, file, name in named if not _exists(file, name)]

    assert len(named) > 20
    assert not missing


_PROVEN = (
    "When something dies",
    "Leases and clocks",
    "Duplicates",
    "Cancelling",
    "How long things are kept",
)


def test_whatever_is_promised_names_its_test():
    """In the guarantees: each row of a table that has a column for it, and each paragraph of these sections."""
    page = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    sections = {
        each.partition("\n")[0]: each for each in re.split(r"^## ", page, flags=re.MULTILINE)
    }
    bare: list[str] = []
    for name, section in sections.items():
        for block in section.split("\n\n")[1:]:
            head, *rows = block.strip().splitlines() or [""]
            if head.startswith("|"):
                proven = rows[1:] if "shown by" in head else []
            else:
                proven = [block] if name in _PROVEN and head else []
            bare += [each for each in proven if "`tests/" not in each]

    assert set(_PROVEN) <= set(sections)
    assert not bare


def _exists(file: str, name: str | None) -> bool:
    path = ROOT / file
    if not path.is_file():
        return False
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return name is None or any(
        isinstance(node, functions) and node.name == name
        for node in ast.walk(ast.parse(path.read_text()))
    )
