"""A small file system of a test's own, which can be filled to the last byte and emptied again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK_BYTES = 4_096
_SIZE = "64m"


class Disk:
    """Mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave_bytes: int) -> None:
        """Take all but so much of what is free."""
        left = os.statvfs(self.path)
        blocks = (left.f_bavail * left.f_frsize - leave_bytes) // _BLOCK_BYTES
        with self._ballast.open("wb") as file:
            for _ in range(blocks):
                file.write(bytes(_BLOCK_BYTES))

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()


@contextmanager
def small_disk(directory: Path, kind: str) -> Iterator[Disk]:
    """A disk of 64 MB: a ``tmpfs``, or an ``ext4`` in a file. Skips the test where nothing can be mounted."""
    path, image = directory / "disk", directory / "image"
    path.mkdir()
    if kind == "tmpfs":
        commands = [["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(path)]]
    else:
        commands = [
            ["truncate", "-s", _SIZE.upper(), str(image)],
            ["mkfs.ext4", "-q", "-m", "0", str(image)],
            ["mount", "-o", "loop", str(image), str(path)],
        ]
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"no {kind} can be mounted here: {problem}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
