"""The documentation as the tests read it: fences, code spans, headings and links."""

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


@dataclasses.dataclass(frozen=True)
class Fence:
    """A fenced block: where it stands, its tags, and what it says."""

    page: Path
    line: int
    tags: tuple[str, ...]
    content: str

    @property
    def place(self) -> str:
        """Where the block stands, as file:line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The README and every page of the documentation."""
    found = sorted(DOCS.glob("**/*.md"))
    readme = ROOT / "README.md"
    return [readme, *found] if readme.exists() else found


@functools.cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The Markdown tokens of a page."""
    return tuple(MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")))


def fences(language: str) -> list[Fence]:
    """Every fenced block of a language."""
    found = (fence for page in pages() for fence in _fences(page))
    return [fence for fence in found if fence.tags[:1] == (language,)]


def _fences(page: Path) -> Iterator[Fence]:
    for token in tokens(page):
        if token.type == "fence":
            line = token.map[0] + 2 if token.map else 1
            yield Fence(page, line, tuple(token.info.split()), token.content)


def inline(page: Path, kind: str) -> list[Token]:
    """The inline tokens of a kind: code spans, links, images."""
    children = (child for token in tokens(page) for child in token.children or ())
    return [child for child in children if child.type == kind]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for token, following in itertools.pairwise(tokens(page)):
        if token.type == "heading_open":
            words = "".join(child.content for child in following.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return frozenset(found)


def reference() -> str:
    """All text of docs/reference; a missing folder skips the test, and fails it in CI."""
    found = sorted(REFERENCE.glob("**/*.md"))
    if not found:
        absent("docs/reference has no pages yet")
    return "\n".join(page.read_text(encoding="utf-8") for page in found)


def absent(what: str) -> None:
    """Skip for something that is not there yet; in CI, where all must be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: CI needs it")
    pytest.skip(what)


def unmentioned(names: list[str]) -> list[str]:
    """Which of some names the reference does not mention as a word."""
    words = set(re.findall(r"\w+", reference()))
    return [name for name in names if name not in words]
