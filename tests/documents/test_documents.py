"""The documentation says what is true: its code compiles, its commands and links exist."""

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from dagnats import errors, settings
from tests.documents import commands, pages
from tests.documents.pages import ROOT, Fence

TARGETS_PROMISED = {
    *("help", "setup", "demo", "test", "check", "bench", "mutants"),
    *("lint", "types", "arch", "unit", "laws", "sim", "integration"),
}


def blocks(language: str, *tags: str) -> list[object]:
    """The blocks of a language that carry all the tags, one test case each."""
    found = [fence for fence in pages.fences(language) if {*tags} <= {*fence.tags}]
    return [pytest.param(fence, id=fence.place) for fence in found]


def makefile_targets() -> set[str]:
    """The targets the Makefile defines."""
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", rules, flags=re.MULTILINE))


@pytest.mark.parametrize("fence", blocks("python"))
def test_python_blocks_compile(fence: Fence):
    """Every Python block is Python; awaiting at the top level is allowed."""
    compile(fence.content, fence.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("fence", blocks("python", "test"))
def test_python_blocks_marked_test_run(fence: Fence, tmp_path: Path):
    """Every block marked `python test` runs as a program of its own."""
    program = tmp_path / "block.py"
    program.write_text(fence.content, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    ended = subprocess.run(
        [sys.executable, program],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, f"{fence.place} fails:\n{ended.stderr}"


@pytest.mark.parametrize("fence", blocks("console"))
def test_commands_shown_exist(fence: Fence):
    """Every `$ dagnats …` line names a command and options that exist."""
    calls = list(commands.shown(fence.content))
    if not calls:
        return
    root = commands.root_command()
    problems = [found for call in calls if (found := commands.problem(root, call))]

    assert not problems, f"{fence.place}: {'; '.join(problems)}"


def test_a_wrong_command_would_be_noticed():
    """The reader of console blocks tells right calls from wrong ones."""
    run = click.Group("run", commands=[click.Command("start", params=[click.Option(["--id"])])])
    root = click.Group("dagnats", commands=[run])
    block = "$ X=1 dagnats run start --id a '{}' | jq .\n$ dagnats run begin; ls -l\n$ ls --all\n"
    verdicts = [commands.problem(root, call) for call in commands.shown(block)]

    assert verdicts == [None, "`dagnats run` has no command begin"]
    assert commands.problem(root, ["run", "start", "--at", "x"])


def test_make_targets_shown_exist():
    """Every `make …` shown in the README and the docs is a target, and the promised ones exist."""
    shown: set[str] = set()
    for fence in pages.fences("console"):
        shown.update(re.findall(r"^\$ make ([a-z-]+)", fence.content, flags=re.MULTILINE))
    for page in pages.pages():
        spans = (token.content for token in pages.inline(page, "code_inline"))
        shown.update(span.split()[1] for span in spans if re.match(r"make [a-z-]+\b", span))

    missing = {*shown, *TARGETS_PROMISED} - makefile_targets()

    assert not missing, f"Add to the Makefile, or correct the page: {sorted(missing)}"


def test_settings_are_documented():
    """Every setting has a mention in docs/reference."""
    known = settings.Settings
    names = getattr(known, "__struct_fields__", None) or [
        field.name for field in dataclasses.fields(known)
    ]
    missing = pages.unmentioned(list(names))

    assert not missing, f"Describe these settings in docs/reference: {missing}"


def test_errors_are_documented():
    """Every error a user can meet has a mention in docs/reference."""
    names = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == errors.__name__
        and not name.startswith("_")
    ]
    missing = pages.unmentioned(names)

    assert names
    assert not missing, f"Describe these errors in docs/reference: {missing}"


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    hrefs = [str(token.attrs["href"]) for token in pages.inline(page, "link_open")]
    hrefs += [str(token.attrs["src"]) for token in pages.inline(page, "image")]
    broken = []
    for href in hrefs:
        if re.match(r"[a-z][a-z0-9+.-]*:", href):
            continue
        path, _, anchor = unquote(href).partition("#")
        target = (page.parent / path).resolve() if path else page
        headings = pages.anchors(target) if target.suffix == ".md" and target.is_file() else None
        if not target.exists() or (anchor and headings is not None and anchor not in headings):
            broken.append(href)
    return broken


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    """Every relative link, and its anchor, exists."""
    broken = broken_links(page)

    assert not broken, f"{page.relative_to(ROOT)} links to nothing: {broken}"


def test_a_broken_link_would_be_noticed(tmp_path: Path):
    """The reader of links tells right ones from wrong ones, anchors included."""
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n[a](#a-b-c) [b](#nowhere) [c](gone.md) [d](https://x.io/y)\n")

    assert broken_links(page) == ["#nowhere", "gone.md"]
