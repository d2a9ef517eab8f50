"""DagNats' own log on stderr: lines for people, or one JSON object a line. The root logger is not touched."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final

import click

from dagnats.errors import DefinitionError

_IDS: Final = {"run_id": "run", "step_id": "step", "attempt": "attempt"}
_COLOURS: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "cyan"}
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def setup_log(level: str = "info", *, as_json: bool = False) -> None:
    """Send the logger ``dagnats`` to stderr; again is fine.

    Raises:
        DefinitionError: there is no such level.
    """
    if level.lower() not in _LEVELS:
        raise DefinitionError(f"log_level is {level!r}; levels: {', '.join(_LEVELS)}")
    logger = logging.getLogger("dagnats")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else People(colours=sys.stderr.isatty()))
    for before in list(logger.handlers):
        logger.removeHandler(before)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False  # a user's basicConfig would print each line again


class People(logging.Formatter):
    """``10:03:21 WARNING worker     what happened (run 3f…, step fetch)``."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the trace after it when there is one."""
        name = record.name.removeprefix("dagnats.")
        level = f"{record.levelname:<7}"
        if self._colours and record.levelname in _COLOURS:
            level = click.style(level, fg=_COLOURS[record.levelname])
        line = f"{self.formatTime(record, self.datefmt)} {level} {name:<10} {record.getMessage()}"
        ids = ids_of(record)
        if ids:
            line += f" ({', '.join(f'{_IDS[key]} {value}' for key, value in ids.items())})"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonLines(logging.Formatter):
    """``{"time": …, "level": "warning", "logger": …, "message": …, "run_id": …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **ids_of(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def ids_of(record: logging.LogRecord) -> dict[str, Any]:
    """The run, step and attempt that a record is about, as far as it says."""
    found = {key: getattr(record, key, None) for key in _IDS}
    return {key: value for key, value in found.items() if value not in (None, "")}
