"""Settings: one frozen record.

Arguments win over the environment (``DAGNATS_*``), that over ``[tool.dagnats]`` in pyproject.toml,
that over dagnats.toml, that over the defaults.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from dagnats.errors import DefinitionError
from dagnats.limits import (
    CONCURRENCY_DEFAULT,
    CONCURRENCY_MAX,
    PARTITIONS_DEFAULT,
    PARTITIONS_MAX,
    PROCESSES_MAX,
    REPLICAS_MAX,
)

ENVIRONMENT: Final = "DAGNATS_"
# What dagnats.toml may declare beside settings: see ``dagnats.declared``.
DECLARED: Final = ("workflows", "triggers", "policy")
ALIASES: Final = {"DAGNATS_NATS_URL": "url", "NATS_URL": "url"}


class Access(Struct, frozen=True):
    """Paths of files: a credential (an nkey seed or a ``.creds`` file), and certificates; empty is none."""

    creds: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting with its default. Durations are strings such as "30s".

    ``url``: where NATS is. ``data_dir``: where ``serve`` keeps its data. ``nats_port``: the port ``serve``
    gives NATS (0: any free one). ``partitions``: into how many parts a new deployment divides its runs.
    ``replicas``: copies of every stream (1, 3 or 5). ``concurrency``: handlers at once in a worker
    process. ``processes``: worker processes. ``lease``: how long a worker's silence is taken for work.
    ``drain_timeout``: how long a stopping worker lets handlers finish. ``group``: the worker's group.
    ``control_plane_grant`` and ``control_plane_promote``: the workflows, with commas between, that a new
    deployment lets use the control plane, and promote definitions (``dagnats policy`` changes it later).
    ``control_plane_grace``: how long after its root run a definition made by a handler stays; without it,
    for ever. ``archive_after``: how long finished runs stay in the log before they move to the archive (empty:
    for ever). ``retention``: how long the archive keeps them. ``creds``: the file with this process's
    credential. ``tls_ca``: whom to trust for the server's certificate; ``tls_cert`` and ``tls_key``: our own.
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
    control_plane_grant: str = ""
    control_plane_promote: str = ""
    control_plane_grace: str = ""
    archive_after: str = "3d"
    retention: str = "30d"
    creds: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    log_level: str = "info"
    log_json: bool = False

    @property
    def access(self) -> Access:
        """What the server wants to see of this process."""
        return Access(self.creds, self.tls_ca, self.tls_cert, self.tls_key)


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
            place = ENVIRONMENT + name.upper() if source == "environment" else ""
            found[name] = Sourced(_checked(name, value, source, place), source)
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
            data = data.get(key, {}) if isinstance(data, dict) else data
        if isinstance(data, dict) and not table:
            data = {key: value for key, value in data.items() if key not in DECLARED}
        if not isinstance(data, dict):
            raise DefinitionError(f"{name}: [{'.'.join(table)}] is {data!r}; it must be a table")
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


def _checked(name: str, value: Any, source: str, variable: str = "") -> Any:
    defaults = _defaults()
    if name not in defaults:
        close = difflib.get_close_matches(name, defaults, n=1)
        hint = f"did you mean {close[0]}?" if close else f"settings: {', '.join(defaults)}"
        raise DefinitionError(f"{source}: unknown setting {name}; {hint}")
    kind = type(defaults[name])
    if kind is bool and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if kind is int and isinstance(value, str) and _WHOLE.match(value):
        value = int(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise DefinitionError(
            f"{source}: {variable or name} is {value!r}; it must be {_KINDS[kind]}"
        )
    least, most = _RANGES.get(name, (0, 0))
    if most and not least <= int(value) <= most:
        raise DefinitionError(
            f"{source}: {variable or name} is {value}; it must be {least} to {most}"
        )
    if name == "url":
        _check_url(value, f"{source}: {variable or name}")
    return value


def _check_url(url: str, what: str) -> None:
    """Refuse what would look as if no server answered; an address without a scheme is fine."""
    for address in url.split(","):
        scheme, found, _ = address.strip().partition("://")
        if found and scheme not in _SCHEMES:
            raise DefinitionError(
                f"{what} begins with {scheme}://; addresses of NATS begin with nats://"
            )


_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}\Z")
_RANGES: Final = {
    "nats_port": (0, 65_535),
    "partitions": (1, PARTITIONS_MAX),
    "replicas": (1, REPLICAS_MAX),
    "concurrency": (1, CONCURRENCY_MAX),
    "processes": (1, PROCESSES_MAX),
}
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
