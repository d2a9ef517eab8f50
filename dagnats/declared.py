"""What a file declares: workflows, triggers and the policy, in TOML (``dagnats.toml``) or YAML (``dagnats.yaml``).

A file is judged as a whole, with what is registered already, before anything changes. A wrong one changes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import watchfiles
from msgspec import Struct

from dagnats.client import Client
from dagnats.core.control import Policy, policy_problem, reserved_problems
from dagnats.core.definition import read_workflow, workflow_triggers
from dagnats.core.model import Problem, Workflow
from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_trigger
from dagnats.core.triggers.model import Trigger
from dagnats.core.triggers.validate import trigger_problems
from dagnats.core.validate import problems_of
from dagnats.errors import (
    BrokerUnsuitable,
    DagNatsError,
    DefinitionError,
    InvalidInput,
    OutsideError,
    RequestError,
)
from dagnats.limits import DECLARED_MAX, DECLARED_SIZE_MAX_BYTES
from dagnats.settings import DECLARED

try:
    import yaml
except ImportError:  # an extra
    yaml = None

log = logging.getLogger("dagnats.declared")

FILES: Final = ("dagnats.yaml", "dagnats.yml", "dagnats.toml")
_DEBOUNCE_MS: Final = 500
_LOOK_MS: Final = 2_000


class Declared(Struct, frozen=True, kw_only=True):
    """What a file says; ``policy`` is None where it says nothing of it."""

    workflows: tuple[Workflow, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    policy: Policy | None = None

    def __bool__(self) -> bool:
        return bool(self.workflows or self.triggers or self.policy is not None)


# -- reading ---------------------------------------------------------------------------------------


def find_declared(directory: Path) -> Path | None:
    """The file of a directory that declares something, or would if it were right.

    Settings alone declare nothing.
    """
    for path in (directory / name for name in FILES):
        if path.is_file() and (path.suffix != ".toml" or _mentions(path)):
            return path
    return None


def _mentions(path: Path) -> bool:
    try:
        return any(key in tomllib.loads(path.read_text()) for key in DECLARED)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False  # as settings, it is refused anyway


def read_declared(path: Path) -> Declared:
    """A file, read and judged by itself.

    Raises:
        DefinitionError: with every problem, each in one line.
    """
    data, reader = _parsed(path), Reader()
    if path.suffix != ".toml":  # in TOML the other keys are settings
        reader.keys(path.name, data, DECLARED)
    workflows: list[Workflow] = []
    triggers: list[Trigger] = []
    problems: list[Problem] = []
    for number, raw in enumerate(reader.get(path.name, data, "workflows", list, [])):
        workflow, found = read_workflow(raw)
        if workflow is not None:
            known = {(each.where, each.what) for each in found}
            meant = (*reserved_problems(workflow.name), *problems_of(workflow))
            found += [each for each in meant if (each.where, each.what) not in known]
            workflows.append(workflow)
            triggers += workflow_triggers(Reader(), workflow.name, cast("dict[str, Any]", raw))
        name = f'workflows[{number}] "{workflow.name if workflow else ""}"'
        problems += [Problem(f"{name}: {each.where}", each.what, each.cure) for each in found]
    for number, raw in enumerate(reader.get(path.name, data, "triggers", list, [])):
        trigger = read_trigger(reader, f"triggers[{number}]", raw)
        if trigger is not None:
            triggers.append(trigger)
            problems += trigger_problems(trigger)
    policy = _read_policy(reader, data)
    problems = [*reader.problems, *problems, *_too_many(workflows, triggers)]
    if problems:
        raise DefinitionError("\n".join(map(str, problems)), problems=problems)
    return Declared(workflows=tuple(workflows), triggers=tuple(triggers), policy=policy)


def _too_many(workflows: list[Workflow], triggers: list[Trigger]) -> list[Problem]:
    named = {"workflows": [w.name for w in workflows], "triggers": [t.id for t in triggers]}
    problems: list[Problem] = []
    for what, names in named.items():
        if len(names) > DECLARED_MAX:
            problems.append(Problem(what, f"{len(names)} are declared", f"at most {DECLARED_MAX}"))
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [Problem(what, f'"{name}" is declared twice', "keep one") for name in twice]
    return problems


def _read_policy(reader: Reader, data: Mapping[str, Any]) -> Policy | None:
    policy = reader.get("file", data, "policy", dict, None)
    if policy is None:
        return None
    reader.keys("policy", policy, ("control_plane",))
    rules = reader.get("policy", policy, "control_plane", dict, None)
    if rules is None:
        return None
    where = "policy.control_plane"
    reader.keys(where, rules, ("grant", "promote"))
    grant, promote = (reader.strings(where, rules, key) for key in ("grant", "promote"))
    found = Policy(tuple(sorted(set(grant))), tuple(sorted(set(promote))))
    if problem := policy_problem(found):
        reader.problem(where, problem, "correct it")
    return found


def _parsed(path: Path) -> dict[str, Any]:
    """The file as builtins, as if it were JSON."""
    try:
        raw = path.read_bytes()
        if len(raw) > DECLARED_SIZE_MAX_BYTES:
            limit = f"{DECLARED_SIZE_MAX_BYTES // 2**20} MB"
            raise DefinitionError(f"{path.name} has {len(raw):,} bytes; at most {limit} are read")
        text = raw.decode()
        data = tomllib.loads(text) if path.suffix == ".toml" else _yaml(path, text)
        plain = msgspec.json.decode(msgspec.json.encode(data if data is not None else {}))
    except RecursionError:
        raise DefinitionError(f"{path.name} cannot be read: it is nested too deeply") from None
    except (OSError, TypeError, ValueError, OverflowError) as error:
        raise DefinitionError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(plain, dict):
        raise DefinitionError(f"{path.name} is no table: begin it with workflows: or triggers:")
    return cast("dict[str, Any]", plain)


def _yaml(path: Path, text: str) -> Any:
    if yaml is None:
        raise DefinitionError(
            f"{path.name} is YAML: `pip install dagnats[yaml]`, or write dagnats.toml"
        )
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few lines of them can stand for gigabytes
                raise DefinitionError(f"{path.name} has an alias (*{event.anchor}); write it out")
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise DefinitionError(f"{path.name} cannot be read: {line}") from error
    _refuse_keys(path, data)
    return data


def _refuse_keys(path: Path, data: object) -> None:
    """In JSON all keys are strings; in YAML 1.1 ``on`` is true, and ``1`` a number."""
    if isinstance(data, list):
        for each in cast("list[object]", data):
            _refuse_keys(path, each)
    if not isinstance(data, dict):
        return
    for key, value in cast("dict[object, object]", data).items():
        if not isinstance(key, str):
            read = {True: "on, yes or true", False: "off, no or false", None: "null"}
            known = isinstance(key, bool) or key is None
            what = f"the key {read[key] if known else repr(key)} is no string in YAML"
            raise DefinitionError(f"{path.name} cannot be read: {what}; put it in quotes")
        _refuse_keys(path, value)


# -- applying --------------------------------------------------------------------------------------


async def apply_declared(client: Client, path: Path) -> list[str]:
    """Have the deployment be as a file says; what changed, in words.

    Triggers that the file no longer has are deleted; workflows stay.

    Raises:
        DefinitionError, RequestError, BrokerUnsuitable: nothing was changed.
        OutsideError: the server went away; doing it again completes it.
    """
    declared = read_declared(path)
    source = f"file:{path.name}"
    workflows = {workflow.name: workflow for workflow in declared.workflows}
    await client.check_triggers(source, declared.triggers, workflows)
    changed: list[str] = []
    for workflow in declared.workflows:
        before = await client.registry.current(workflow.name)
        digest = await client.register(workflow)
        if before is None or before.definition != digest:
            changed.append(f"workflow {workflow.name}")
    triggers = await client.keep_triggers(source, None, declared.triggers)
    changed += [f"trigger {name}" for name in triggers]
    if declared.policy is not None and declared.policy != await client.policy.read():
        await client.policy.keep(declared.policy)
        changed.append("policy")
    return changed


async def keep_declared(client: Client, path: Path) -> None:
    """Apply a file, and again whenever it has changed, until cancelled. What is wrong is told, and changes nothing.

    Given a directory, the file of it that declares something, as soon as there is one.
    """
    following = Following(client, path)
    await following.look()
    # Looked at now and then besides: a change in the moment before the first look tells nobody.
    async for _ in watchfiles.awatch(
        following.directory, debounce=_DEBOUNCE_MS, recursive=False, rust_timeout=_LOOK_MS, yield_on_timeout=True
    ):  # fmt: skip
        await following.look()


class Following:
    """A file that is followed: what of it was applied, or refused for good, and what was said of it last."""

    def __init__(self, client: Client, path: Path) -> None:
        self.directory = path if path.is_dir() else path.parent
        self._client = client
        self._file = None if path.is_dir() else path
        self._done = b""
        self._told = ""

    async def look(self) -> None:
        """Apply the file unless its content is what was applied."""
        self._file = self._file or find_declared(self.directory)
        digest = _digest(self._file) if self._file else b""
        if self._file is None or digest in (b"", self._done):
            return  # an editor is at it, or it is gone: what it said stays
        try:
            changed = await apply_declared(self._client, self._file)
        except (OutsideError, RequestError, TimeoutError) as error:
            # A worker may bring what is not there yet; a server may come back.
            unsuitable = isinstance(error, BrokerUnsuitable | InvalidInput)
            self._done = digest if unsuitable else self._done
            self._tell(error, "is not applied" if unsuitable else "waits")
        except DagNatsError as error:
            self._done = digest
            self._tell(error, "is not applied")
        else:
            self._done, self._told = digest, ""
            what = ", ".join(changed) or "nothing has changed"
            log.info("%s applied: %s", self._file.name, what)

    def _tell(self, error: Exception, state: str) -> None:
        """Say what is wrong, once."""
        words = error.message if isinstance(error, DagNatsError) else str(error)
        text = f"{state}, all stays as it was: {'; '.join(words.splitlines())}"
        if text != self._told and self._file is not None:
            self._told = text
            log.error("%s %s", self._file.name, text)


def _digest(path: Path) -> bytes:
    """The hash of a file's content; nothing for one that is gone or empty."""
    try:
        content = path.read_bytes()
    except OSError:
        return b""
    return hashlib.sha256(content).digest() if content.strip() else b""
