"""The lines of ``dagnats doctor``: a verdict each, and the cure when it is not good."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

OK: Final = "ok"
WARNING: Final = "warning"
ERROR: Final = "error"


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: what was looked at, how it is, and what to do."""

    check: str
    state: str
    detail: str
    cure: str = ""


def good(check: str, detail: str) -> Check:
    """Nothing to do."""
    return Check(check=check, state=OK, detail=detail)


def warning(check: str, detail: str, cure: str) -> Check:
    """Work goes on, but somebody should look."""
    return Check(check=check, state=WARNING, detail=detail, cure=cure)


def error(check: str, detail: str, cure: str) -> Check:
    """Work does not go on."""
    return Check(check=check, state=ERROR, detail=detail, cure=cure)


def bytes_text(size: float) -> str:
    """``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
