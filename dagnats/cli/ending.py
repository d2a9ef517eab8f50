"""How runs end: waiting for it, and telling it."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from msgspec import Raw, Struct

from dagnats.cli.output import emit_json, run_async
from dagnats.cli.render import harmless
from dagnats.client import Client
from dagnats.core.views import ErrorView, view_error
from dagnats.endings import words_of
from dagnats.payloads import restore

_INTERRUPTED = 130


class Ended(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run ended, for programs."""

    run_id: str
    workflow: str
    status: str
    output: Any = msgspec.UNSET
    error: ErrorView | None = None
    duration_ms: int = 0


async def ended(client: Client, run_id: str, timeout: float | None) -> Ended:
    """Wait until a run has ended.

    Raises:
        ResultTimeout, RunNotFound.
    """
    mark = await client.wait_closed(run_id, timeout)
    output: Any = msgspec.UNSET
    if mark.status == "completed":
        output = await restore(client.outside.blobs, mark.output or Raw(b"null"))
    return Ended(
        run_id=run_id,
        workflow=mark.workflow,
        status=mark.status,
        output=output,
        error=view_error(mark.error),
        duration_ms=max(0, mark.closed_ms - mark.started_ms),
    )


def tell_end(how: Ended, as_json: bool) -> int:
    """Print a run's output, or why there is none; 0 when it completed."""
    completed = how.status == "completed"
    if as_json:
        emit_json(how)
    elif completed:
        emit_json(how.output)
    else:
        reason = how.error.message if how.error else "no reason was given"
        why = "" if reason == how.status else f": {harmless(reason)}"  # nobody said why
        click.echo(f"dagnats: run {how.run_id} {words_of(how.status)}{why}", err=True)
    return 0 if completed else 1


def waiting(work: Any, *args: Any, told: str = "no longer waiting; the run goes on") -> Any:
    """Run async work that may take long; Ctrl-C ends the waiting, and only that: this is ``told``."""
    try:
        return run_async(work, *args)
    except KeyboardInterrupt:
        click.echo(told, err=True)
        sys.exit(_INTERRUPTED)
