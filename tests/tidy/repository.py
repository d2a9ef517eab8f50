"""What the rules look at: the files that belong to the repository."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
Node = TypeVar("Node", bound=ast.AST)
CODE = ("dagnats", "contrib", "tests", "examples")


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file git has or would take; without git, every file outside dot folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return tuple(sorted(_walk(ROOT)))
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name != "__pycache__":
            yield from _walk(path)
        elif path.is_file():
            yield path


def python(*folders: str) -> list[Path]:
    """The Python files of some top-level folders; of all code when none is named."""
    wanted = folders or CODE
    return [path for path in tracked() if path.suffix == ".py" and relative(path)[0] in wanted]


def relative(path: Path) -> tuple[str, ...]:
    """The parts of a path, seen from the top of the repository."""
    return path.relative_to(ROOT).parts


@functools.cache
def text(path: Path) -> str | None:
    """What a file says; nothing for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def nodes(path: Path, *kinds: type[Node]) -> Iterator[Node]:
    """Every node of some kinds in a file."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, kinds))


def place(path: Path, line: int | None = None) -> str:
    """A place as editors open it: file:line."""
    name = "/".join(relative(path))
    return name if line is None else f"{name}:{line}"
