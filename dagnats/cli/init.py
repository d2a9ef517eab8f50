"""``dagnats init``: a project folder that runs as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from dagnats.cli import skeleton
from dagnats.cli.output import emit_json, json_option
from dagnats.errors import RequestError

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


@click.command()
@click.argument("path", metavar="NAME", type=click.Path(path_type=Path))
@json_option
def init(path: Path, as_json: bool) -> None:
    """Make the folder NAME with a task, an agent loop and a workflow, ready to run."""
    name = path.name
    if name in ("", ".."):
        raise RequestError(f"{path} is a folder that exists; give the name of a new one")
    if not _NAME.match(name):
        raise RequestError(
            f"{name!r} cannot be a project's name: letters, digits, - and _, beginning with a letter"
        )
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise RequestError(f"{path} exists; nothing was changed. Choose another name") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be made: {error.strerror}") from error
    files = skeleton.files(name)
    for file, text in files.items():
        (path / file).write_text(text, encoding="utf-8")
    if as_json:
        emit_json({"created": [str(path / file) for file in files]})
    else:
        click.echo(skeleton.next_steps(str(path)))
