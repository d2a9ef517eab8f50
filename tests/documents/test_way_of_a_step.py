"""The page that leads through the code names functions that exist, where it says they are."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

from tests.documents import pages
from tests.documents.pages import DOCS

PAGE = DOCS / "concepts" / "way-of-a-step.md"
NAMED_MIN = 30


def named(page: Path) -> Iterator[tuple[str, Path]]:
    """Every name a page links to a Python file, with that file."""
    for token in pages.tokens(page):
        children = token.children or ()
        for link, name in itertools.pairwise(children):
            href = str(link.attrs.get("href", "")) if link.type == "link_open" else ""
            if (
                href.endswith(".py")
                and name.type == "code_inline"
                and not name.content.endswith(".py")
            ):
                yield name.content, (page.parent / href).resolve()


def defined(file: Path) -> set[str]:
    """The names a file defines: functions, classes, methods as Class.method, and constants."""
    found: set[str] = set()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            found.update(f"{node.name}.{method.name}" for method in inner)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found.update(target.id for target in targets if isinstance(target, ast.Name))
    return found


def missing(page: Path) -> list[str]:
    """What a page names that is not where it says."""
    return [
        f"{name} in {file.name}"
        for name, file in named(page)
        if not file.is_file() or name.removesuffix("()") not in defined(file)
    ]


def test_the_functions_on_the_way_exist():
    """Every function, class and method that the page links to is in the file it names."""
    assert len(list(named(PAGE))) >= NAMED_MIN
    assert not missing(PAGE), f"{PAGE.name} names what is not there: {missing(PAGE)}"


def test_other_pages_name_what_exists():
    """The same holds of every other page that links a name to a Python file."""
    problems = {page.name: missing(page) for page in pages.pages() if page != PAGE}

    assert not {name: found for name, found in problems.items() if found}


def test_a_wrong_name_would_be_noticed(tmp_path: Path):
    """The reader of links tells names that exist from names that do not."""
    (tmp_path / "code.py").write_text("LIMIT = 1\nclass A:\n    def go(self): ...\n")
    page = tmp_path / "page.md"
    page.write_text("[`A.go`](code.py) [`LIMIT`](code.py) [`A.gone`](code.py) [`x`](nowhere.py)\n")

    assert missing(page) == ["A.gone in code.py", "x in nowhere.py"]
