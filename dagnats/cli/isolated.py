"""``python -m dagnats.cli.isolated``: the process of isolated handlers. Started by a worker, never by people."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence

from dagnats.app import App
from dagnats.cli.logs import setup_log
from dagnats.cli.output import run_async
from dagnats.cli.processes import PARENT, child_environment, die_with_parent
from dagnats.errors import DagNatsError
from dagnats.settings import Settings
from dagnats.worker.frames import Ready
from dagnats.worker.isolated import Isolated, Link
from dagnats.worker.isolation import Isolates
from dagnats.worker.loader import load_app
from dagnats.worker.process import LOOK


def isolates(target: str, settings: Settings) -> Isolates:
    """The processes of a worker of a module."""
    log = [settings.log_level, "json" if settings.log_json else "text"]
    command = [sys.executable, "-m", "dagnats.cli.isolated", target, *log]
    return Isolates(command, child_environment(), settings.concurrency)


def main(arguments: Sequence[str]) -> int:
    """Load a module and run its handlers, until the worker is gone."""
    target, level, form, connection, trace = arguments
    for number in (int(connection), int(trace)):
        os.set_inheritable(number, False)  # noqa: FBT003  (its only form)
    # The worker passes on signals of the terminal. Its own death must reach a handler that holds the interpreter, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)
    if os.environ.pop(PARENT, "") != str(os.getppid()):
        return 1
    faulthandler.enable(int(trace))
    faulthandler.register(LOOK, int(trace))
    setup_log(level, as_json=form == "json")
    link = Link(socket.socket(fileno=int(connection)))
    try:
        app = load_app(target)
    except DagNatsError as error:
        link.send(Ready(error.message))
        return 1
    run_async(_serve, app, link)
    return 0


async def _serve(app: App, link: Link) -> None:
    await Isolated(app.tasks, link).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
