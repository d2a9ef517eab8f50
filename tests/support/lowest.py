"""Prints the oldest versions that pyproject.toml promises to work with, as pins for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def pins(project: Path) -> list[str]:
    """``name==version`` for the lower bound of every dependency."""
    found = []
    for line in tomllib.loads(project.read_text())["project"]["dependencies"]:
        name, version = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line).groups()
        found.append(f"{name}=={version}")
    return found


if __name__ == "__main__":
    print(*pins(Path("pyproject.toml")))
