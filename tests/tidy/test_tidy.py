"""The repository's rules. Each message says where, and what to do."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.tidy import repository
from tests.tidy.repository import ROOT, nodes, place, python, relative, text, tracked, tree

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
CLASS_METHODS_MAX = 15
TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "contrib",
    "dagnats",
    "docs",
    "examples",
    "pyproject.toml",
    "tests",
}
SUBJECT_ROOTS = "ask|cron|dead|desk|due|event|fact|live|mark|queue|stream|task|timer"
SUBJECT = re.compile(rf"^dagnats\.(?:(?:{SUBJECT_ROOTS})\.|[*>])")
SUBJECTS_HOME = "dagnats/wire/subjects.py"
RIGHTS_HOME = "dagnats/jetstream/rights.py"  # wildcards over them: who may use which
MACHINE_PATH = re.compile(r"(?<![\w.\-~*$}])/(?:home|root|tmp|Users|work)/\w")
OPEN_END = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def found(problems: list[str], cure: str) -> str:
    """The message of a broken rule: what to do, then every place."""
    return "\n  ".join([cure, *problems])


def test_there_is_something_to_check():
    """The rules below would hold of nothing; make sure they look at this repository."""
    assert Path(__file__).resolve() in python("tests")
    assert python("dagnats")


def test_files_fit_in_the_head():
    """A file has at most 400 lines."""
    sizes = {path: len((text(path) or "").splitlines()) for path in python()}
    problems = [
        f"{place(path)} has {size} lines" for path, size in sizes.items() if size > FILE_LINES_MAX
    ]

    assert not problems, found(problems, f"Split along its concepts (max {FILE_LINES_MAX} lines):")


def test_functions_fit_on_a_screen():
    """A function has at most 70 lines."""
    problems = [
        f"{place(path, function.lineno)} {function.name} has {length} lines"
        for path in python()
        for function in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert not problems, found(problems, f"Name its stages and split (max {FUNCTION_LINES_MAX}):")


def test_classes_stay_small():
    """A class has at most 15 methods."""
    problems = [
        f"{place(path, node.lineno)} {node.name} has {count} methods"
        for path in python()
        for node in nodes(path, ast.ClassDef)
        if (count := len(methods(node))) > CLASS_METHODS_MAX
    ]

    assert not problems, found(problems, "Move a concern into a function or a class of its own:")


def methods(node: ast.ClassDef) -> set[str]:
    """The names of a class's methods; overloads and a property's setter count once."""
    return {item.name for item in node.body if isinstance(item, Function)}


def test_nothing_is_global():
    """No function rebinds a module's name."""
    problems = [place(path, node.lineno) for path in python() for node in nodes(path, ast.Global)]

    assert not problems, found(problems, "Pass the value, or keep it on an object with an owner:")


def test_there_are_no_mixins():
    """Behaviour is composed, not mixed in."""
    problems = [
        f"{place(path, node.lineno)} {node.name}"
        for path in python()
        for node in nodes(path, ast.ClassDef)
        if node.name.endswith("Mixin")
    ]

    assert not problems, found(problems, "Compose: give the class what it needs as a value:")


def test_the_package_does_not_print():
    """Only the command line writes to the terminal."""
    problems = [
        place(path, node.lineno)
        for path in python("dagnats")
        if relative(path)[1] != "cli"
        for node in nodes(path, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]

    assert not problems, found(problems, "Log it, return it, or leave it to dagnats/cli:")


def test_open_ends_name_their_issue():
    """An open end in a comment carries the number of its issue."""
    problems = [
        f"{place(path, line)} {comment}"
        for path in python()
        for line, comment in comments(path)
        if OPEN_END.search(comment)
    ]

    assert not problems, found(problems, "Open an issue and write it as TODO(#123), or do it:")


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a Python file, with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_the_top_level_is_the_users():
    """Only agreed entries, and dot files, live at the top of the repository."""
    entries = {relative(path)[0] for path in tracked()}
    problems = sorted(entry for entry in entries - TOP_LEVEL if not entry.startswith("."))

    assert not problems, found(problems, "Move it into a folder, or agree on it and list it here:")


def test_subjects_are_written_in_one_file():
    """Subject names are spelled in dagnats/wire/subjects.py alone."""
    problems = [
        f"{place(path, line)} {value!r}"
        for path in python("dagnats")
        if place(path) not in (SUBJECTS_HOME, RIGHTS_HOME)
        for line, value in strings(path)
        if SUBJECT.match(value)
    ]

    assert not problems, found(problems, f"Add a function to {SUBJECTS_HOME} and call it:")


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """The string constants of a file, f-string parts included, statements on their own left out."""
    prose = {id(node.value) for node in nodes(path, ast.Expr)}
    for node in nodes(path, ast.Constant):
        if isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_no_file_knows_a_machine():
    """No file names a place that exists on one machine only."""
    problems = [
        f"{place(path, number)} {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate((text(path) or "").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]

    assert not problems, found(problems, "Use a relative path, a setting, or pytest's tmp_path:")


def test_imports_stand_at_the_top():
    """Only the command line, which must start fast, imports inside functions."""
    problems = [
        f"{place(path, node.lineno)} in {function.name}"
        for path in python("dagnats")
        if relative(path)[1] != "cli"
        for function in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert not problems, found(problems, "Import at the top; a cycle means a wrong layer:")


def test_examples_are_tested():
    """Every example is named by a test that runs it."""
    tests = "\n".join(text(path) or "" for path in python("tests"))
    examples = {Path(relative(path)[1]).stem for path in python("examples")} - {"__init__"}
    problems = sorted(name for name in examples if not re.search(rf"\b{name}\b", tests))

    assert not problems, found(problems, "Write a test that runs the example:")


def test_every_rule_reads_every_file():
    """A file Python cannot parse would slip through; there is none."""
    assert all(tree(path) for path in python())
    assert repository.CODE == ("dagnats", "contrib", "tests", "examples")
    assert ROOT.joinpath("pyproject.toml").is_file()
