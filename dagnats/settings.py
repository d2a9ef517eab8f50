"""Settings: one frozen record.

Arguments win over the environment (``DAGNATS_*``), that over ``[tool.dagnats]`` in pyproject.toml,
that over dagnats.toml, that over the defaults.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from dagnats.errors import DefinitionError
from dagnats.limits import CONCURRENCY_DEFAULT, PARTITIONS_DEFAULT

ENVIRONMENT: Final = "DAGNATS_"
ALIASES: Final = {"DAGNATS_NATS_URL": "url", "NATS_URL": "url"}


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting with its default. Durations are strings such as "30s".

    ``url``: where NATS is. ``data_dir``: where ``serve`` keeps its data. ``nats_port``: the port ``serve``
    gives NATS (0: any free one). ``partitions``: into how many parts a new deployment divides its runs.
    ``replicas``: copies of every stream (1, 3 or 5). ``concurrency``: handlers at once in a worker
    process. ``processes``: worker processes. ``lease``: how long a worker's silence is taken for work.
    ``drain_timeout``: how long a stopping worker lets handlers finish. ``group``: the worker's group.
    ``log_level``: of DagNats' own log. ``log_json``: one JSON object a line.
    """

    url: str = "nats://127.0.0.1:4222"
    data_dir: str = ".dagnats"
    nats_port: int = 4222
    partitions: int = PARTITIONS_DEFAULT
    replicas: int = 1
    concurrency: int = CONCURRENCY_DEFAULT
    processes: int = 1
    lease: str = "15s"
    drain_timeout: str = "30s"
    group: str = ""
    log_level: str = "info"
    log_json: bool = False


class Sourced(Struct, frozen=True):
    """A setting's value and where it came from."""

    value: Any
    source: str


def load_sourced(
    environ: Mapping[str, str] | None = None, directory: Path | None = None, **arguments: Any
) -> dict[str, Sourced]:
    """Every setting with its source; arguments that are None or empty strings do not count.

    Raises:
        DefinitionError: a setting is unknown or has the wrong type; the message says where.
    """
    environ = os.environ if environ is None else environ
    directory = directory or Path.cwd()
    found = {name: Sourced(default, "default") for name, default in _defaults().items()}
    for source, values in (*_files(directory), ("environment", _from_environment(environ))):
        for name, value in values.items():
            found[name] = Sourced(_checked(name, value, source), source)
    for name, value in arguments.items():
        if value is not None and value != "":
            found[name] = Sourced(_checked(name, value, "argument"), "argument")
    return found


def load_settings(
    environ: Mapping[str, str] | None = None, directory: Path | None = None, **arguments: Any
) -> Settings:
    """The settings in force.

    Raises:
        DefinitionError: as ``load_sourced``.
    """
    return Settings(
        **{
            name: sourced.value
            for name, sourced in load_sourced(environ, directory, **arguments).items()
        }
    )


def _defaults() -> dict[str, Any]:
    return dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))


def _files(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """Settings files, the weaker first."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, table in (("dagnats.toml", ()), ("pyproject.toml", ("tool", "dagnats"))):
        path = directory / name
        if not path.is_file():
            continue
        try:
            data: Any = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DefinitionError(f"{name} cannot be read: {error}") from error
        for key in table:
            data = data.get(key, {})
        found.append((name, data))
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, name in ALIASES.items():
        if environ.get(variable):
            values[name] = environ[variable]
    for name in Settings.__struct_fields__:
        value = environ.get(ENVIRONMENT + name.upper())
        if value:
            values[name] = value
    return values


def _checked(name: str, value: Any, source: str) -> Any:
    defaults = _defaults()
    if name not in defaults:
        close = difflib.get_close_matches(name, defaults, n=1)
        hint = f"did you mean {close[0]}?" if close else f"settings: {', '.join(defaults)}"
        raise DefinitionError(f"{source}: unknown setting {name}; {hint}")
    kind = type(defaults[name])
    if kind is bool and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if kind is int and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise DefinitionError(f"{source}: {name} is {value!r}; it must be {_KINDS[kind]}")
    return value


_BOOLEANS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_KINDS: Final = {str: "text", int: "a whole number", bool: "true or false"}
