"""The code under review, and the fence around it.

Tools name files by paths that a model made up. `Workspace` is the only place that turns such a path
into a file: it must be Python source, below the root, reached without leaving it, and of a bearable
size.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from msgspec import Struct

#: Larger files are neither listed nor read: nobody writes them by hand.
FILE_LIMIT_BYTES = 1_000_000
#: Directories that hold other people's code, or none.
SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})


class ToolError(Exception):
    """A tool cannot do what it was asked; the model reads why, and may do better."""


class SourceFile(Struct, frozen=True):
    """A file that may be reviewed."""

    path: str
    lines: int


class Workspace:
    """The Python files at or below one path. Nothing outside it can be named, listed or read."""

    def __init__(self, path: Path | str) -> None:
        self.target = Path(path).resolve()
        if not self.target.exists():
            raise ToolError(f"there is nothing to review at {path}: no such file or directory")
        self.root = self.target if self.target.is_dir() else self.target.parent

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """Every file under review, the longest first."""
        listed = [
            SourceFile(name, len(self.read_lines(name)))
            for name in map(self._name_of, filter(self._is_reviewable, self._candidates()))
        ]
        return tuple(sorted(listed, key=lambda file: (-file.lines, file.path)))

    def resolve(self, name: str) -> Path:
        """Find the file that ``name`` means, or refuse it.

        Raises:
            ToolError: When it leaves the root (by ``..``, an absolute path or a link), does not
                exist, or is not a Python file of a bearable size.
        """
        try:
            path = (self.root / name).resolve()
            exists = path.exists()
        except (OSError, ValueError, RuntimeError) as error:
            raise ToolError(f"{name!r} is not a path: {error}") from error
        if not (path == self.target or path.is_relative_to(self.target)):
            raise ToolError(f"{name!r} is outside the code under review; paths are relative to it")
        if not exists:
            raise ToolError(f"there is no {name!r} here; list_files shows what there is")
        if not self._is_reviewable(path):
            raise ToolError(f"{name!r} is not a Python file that may be reviewed")
        return path

    def read(self, name: str) -> str:
        """The text of a file; bytes that are no text become visible marks."""
        path = self.resolve(name)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise ToolError(f"{name!r} cannot be read: {error}") from error

    def read_lines(self, name: str) -> list[str]:
        """The lines of a file, without their ends, counted as Python counts them."""
        return self.read(name).removesuffix("\n").split("\n")

    def line(self, name: str, number: int) -> str:
        """One line of a file, counted from 1, without its indentation."""
        lines = self.read_lines(name)
        if not 1 <= number <= len(lines):
            raise ToolError(f"{name} has {len(lines)} lines; there is no line {number}")
        return lines[number - 1].strip()

    def _candidates(self) -> Iterator[Path]:
        if self.target.is_file():
            yield self.target
            return
        for folder, subfolders, names in os.walk(self.target):
            subfolders[:] = [name for name in subfolders if not _is_skipped(name)]
            yield from (Path(folder, name) for name in names)

    def _is_reviewable(self, path: Path) -> bool:
        resolved = path.resolve()
        # A name that cannot be printed could not be talked about either.
        if path.suffix != ".py" or not path.name.isprintable() or not path.is_file():
            return False
        if not resolved.is_relative_to(self.target) or not os.access(path, os.R_OK):
            return False
        inside = resolved.relative_to(self.root).parts
        return not any(map(_is_skipped, inside)) and path.stat().st_size <= FILE_LIMIT_BYTES

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED_DIRECTORIES
