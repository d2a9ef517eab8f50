"""``dagnats auth``: credentials with no more rights than each process needs, and the server's side of them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from dagnats.cli import render
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option
from dagnats.errors import DefinitionError, RequestError
from dagnats.jetstream.access import new_seed, public_of
from dagnats.jetstream.accounts import accounts_text
from dagnats.jetstream.rights import (
    ADMIN,
    API,
    CLIENT,
    EXTRAS,
    ROLES,
    SCHEDULER,
    WORKER,
    Grant,
    Queue,
    rights_of,
)

_GIVEN: Final = "credentials.json"
_ACCOUNTS: Final = "accounts.conf"
_SERVER: Final = "nats-server.conf"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SUBJECT: Final = re.compile(r"(?!dagnats\.|\$|_)[^\s.]+(\.[^\s.]+)*\Z")
_SERVER_TEXT: Final = """\
# A nats-server for DagNats: nats-server -c {here}
# Yours to change: only {accounts} is made anew by `dagnats auth`.
listen: "127.0.0.1:4222"
jetstream {{
  store_dir: {store}
  sync_interval: "100ms"  # how much a power cut may take
}}
# For connections that leave this machine:
# tls {{
#   cert_file: "server.pem"
#   key_file: "server.key"
# }}
include {accounts}
"""


class Given(Struct, frozen=True, kw_only=True):
    """What has been given out. Nothing in it is secret."""

    version: int = 1
    credentials: tuple[Grant, ...] = ()
    captured: tuple[str, ...] = ()


@click.group(cls=Commands)
def auth() -> None:
    """Credentials for each kind of process, and the configuration of a NATS server that knows them."""


def _options_of_workers(function: Any) -> Any:
    extras = click.Choice(sorted(EXTRAS))
    text = "What else they may do: " + "; ".join(f"{name}: {why}" for name, why in EXTRAS.items())
    return click.option("--with", "extras", multiple=True, type=extras, help=text + ".")(function)


@auth.command("init", epilog=examples("dagnats auth init auth --task resize --task notify:mail"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--task", "tasks", multiple=True, metavar="TASK[:GROUP]",
    help="A worker for this task, with a credential of its own; may be repeated.",
)  # fmt: skip
@click.option(
    "--subject", "captured", multiple=True, metavar="SUBJECT",
    help="What others publish and triggers wait for, such as orders.>; may be repeated.",
)  # fmt: skip
@_options_of_workers
@json_option
def init(
    directory: Path,
    tasks: tuple[str, ...],
    captured: tuple[str, ...],
    extras: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a server's configuration and a credential for each role into DIRECTORY.

    Each process is given its file with --creds, or DAGNATS_CREDS. Keep the files apart: a file is the right.
    """
    if (directory / _GIVEN).exists():
        raise RequestError(
            f"{directory} has credentials already; add one with `dagnats auth add-worker {directory}`"
        )
    for subject in captured:
        if not _SUBJECT.match(subject):
            raise RequestError(
                f"--subject {subject}: DagNats' own and the server's subjects are given out by role"
            )
    wanted = [Grant(name=role, role=role, public="") for role in (ADMIN, SCHEDULER, API, CLIENT)]
    wanted += [_worker((each,), extras) for each in tasks]
    directory.mkdir(parents=True, exist_ok=True)
    made = _added(directory, Given(captured=captured), wanted)
    server = directory / _SERVER
    store = json.dumps(str(directory.absolute() / "data"))
    server.write_text(_SERVER_TEXT.format(here=server, accounts=_ACCOUNTS, store=store))
    _tell(directory, made, as_json=as_json)
    if not as_json:
        click.echo(f"start the server: nats-server -c {server}")


@auth.command(
    "add-worker", epilog=examples("dagnats auth add-worker auth --task ocr --with client")
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--task", "tasks", multiple=True, required=True, metavar="TASK[:GROUP]",
    help="A task it serves; may be repeated.",
)  # fmt: skip
@click.option("--name", default="", help="What the credential is called (default: by its task).")
@_options_of_workers
@json_option
def add_worker(
    directory: Path, tasks: tuple[str, ...], name: str, extras: tuple[str, ...], as_json: bool
) -> None:
    """One more credential, for a worker of these tasks together. Then: nats-server --signal reload."""
    made = _added(directory, _given(directory), [_worker(tasks, extras, name)])
    _tell(directory, made, as_json=as_json)
    if not as_json:
        click.echo("tell the server: nats-server --signal reload")


@auth.command("remove", epilog=examples("dagnats auth remove auth worker-ocr"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name")
@json_option
def remove(directory: Path, name: str, as_json: bool) -> None:
    """Take a credential away, and its file. Then: nats-server --signal reload, which ends its connections."""
    given = _given(directory)
    found = _named(directory, given, name)
    kept = tuple(each for each in given.credentials if each is not found)
    _keep(directory, msgspec.structs.replace(given, credentials=kept))
    (directory / f"{name}.nk").unlink(missing_ok=True)
    if as_json:
        emit_json({"removed": name})
    else:
        click.echo("tell the server: nats-server --signal reload")


@auth.command("show", epilog=examples("dagnats auth show auth worker-resize"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name", required=False)
@json_option
def show(directory: Path, name: str | None, as_json: bool) -> None:
    """The credentials there are; of one that is named, every subject it may use."""
    given = _given(directory)
    if name is None:
        if as_json:
            emit_json(given.credentials)
            return
        table = render.table("CREDENTIAL", "ROLE", "TASKS", "ALSO")
        for each in given.credentials:
            table.add_row(
                each.name, each.role, ", ".join(map(_text, each.queues)), ", ".join(each.extras)
            )
        render.show(table)
        return
    found = _named(directory, given, name)
    rights = rights_of(found, given.captured)
    if as_json:
        emit_json(rights)
        return
    click.echo(f"{found.name} {ROLES[found.role]}")
    for word, listed in (("publishes to", rights.publish), ("subscribes to", rights.subscribe)):
        for subject in listed:
            click.echo(f"{word:13} {subject}")


def _worker(tasks: tuple[str, ...], extras: tuple[str, ...], name: str = "") -> Grant:
    queues = tuple(Queue(task, group) for task, _, group in (each.partition(":") for each in tasks))
    if not all(queue.task for queue in queues):
        raise RequestError("--task needs the name of a task, or TASK:GROUP")
    first = queues[0]
    called = name or "worker-" + re.sub(
        r"[^A-Za-z0-9_-]", "_", "-".join(filter(None, (first.task, first.group)))
    )
    if not _NAME.match(called):
        raise RequestError(
            f"a credential cannot be called {called!r}: letters, digits, _ and -, at most 64; use --name"
        )
    return Grant(
        name=called, role=WORKER, public="", queues=queues, extras=tuple(dict.fromkeys(extras))
    )


def _added(directory: Path, given: Given, wanted: list[Grant]) -> list[Grant]:
    """Make the credentials; their files first, so that the server never knows one that nobody has."""
    names = [each.name for each in (*given.credentials, *wanted)]
    for name in (name for name in names if names.count(name) > 1):
        raise RequestError(f"there is a credential {name} already; choose another --name")
    made = [msgspec.structs.replace(each, public=_written(directory, each.name)) for each in wanted]
    given = msgspec.structs.replace(given, credentials=(*given.credentials, *made))
    _keep(directory, given)
    return made


def _keep(directory: Path, given: Given) -> None:
    (directory / _ACCOUNTS).write_text(accounts_text(given.credentials, given.captured))
    (directory / _GIVEN).write_bytes(msgspec.json.format(msgspec.json.encode(given)))


def _named(directory: Path, given: Given, name: str) -> Grant:
    found = next((each for each in given.credentials if each.name == name), None)
    if found is None:
        have = ", ".join(each.name for each in given.credentials)
        raise RequestError(f"{directory} has no credential {name}; it has: {have}")
    return found


def _written(directory: Path, name: str) -> str:
    """Write a new seed, for its owner's eyes only; the public key."""
    seed = new_seed()
    path = directory / f"{name}.nk"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RequestError(f"{path} is there already; move it away first") from None
    with os.fdopen(file, "w") as out:
        out.write(seed + "\n")
    return public_of(seed)


def _given(directory: Path) -> Given:
    path = directory / _GIVEN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Given)
    except FileNotFoundError:
        raise RequestError(f"no {path}; `dagnats auth init {directory}` makes it") from None
    except (OSError, msgspec.DecodeError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from None


def _tell(directory: Path, made: list[Grant], *, as_json: bool) -> None:
    if as_json:
        emit_json(
            [{"name": each.name, "creds": str(directory / f"{each.name}.nk")} for each in made]
        )
        return
    for each in made:
        click.echo(f"{directory / each.name}.nk  {ROLES[each.role]}")


def _text(queue: Queue) -> str:
    return f"{queue.task}:{queue.group}" if queue.group else queue.task
