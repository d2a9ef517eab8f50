"""The show: a review that is streamed to the terminal, killed half-way, and finished all the same.

Run it with ``python -m examples.code_review.demo [PATH]``.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule

from dagnats import DagNatsError
from examples.code_review.ledger import Execution, Ledger, executions
from examples.code_review.offline import OfflineReviewer, expected_iterations
from examples.code_review.processes import REPOSITORY, ChildError, Stage
from examples.code_review.review import (
    ReportFile,
    ReviewRequest,
    app,
    choose_reviewer,
    code_review,
)
from examples.code_review.workspace import ToolError, Workspace

#: How many seconds the built-in reviewer spends on talking, in all.
DEFAULT_PACE_S = "26"
#: A model's review has no known length; by then it is in the middle of something.
KILL_AT_WITH_MODEL = 3
#: So many pieces of an iteration are shown before its worker is killed.
PIECES_BEFORE_KILL = 6
#: The last words may arrive after the result.
LAST_WORDS_S = 2.0


class Plan(Struct, frozen=True):
    """What the demo is going to do. Iterations are counted from 1, as people count."""

    path: Path
    output: Path
    run_id: str
    files: int
    reviewer: str
    kill_at: int | None

    @property
    def ledger(self) -> Ledger:
        """The file in which every execution of an iteration leaves a line."""
        return Ledger(self.output / "ledger.jsonl")


class Show:
    """What the audience sees, and the kill."""

    def __init__(self, plan: Plan, stage: Stage, console: Console) -> None:
        self._plan = plan
        self._stage = stage
        self._console = console
        self._iteration = 0
        self._pieces = 0
        self._killed = False

    async def play(self) -> ReportFile:
        """Start the run, show its words, and return what it wrote."""
        request = ReviewRequest(str(self._plan.path), str(self._plan.output))
        handle = await code_review.start(request, id=self._plan.run_id)
        self._console.print(f"[dim]run {handle.run_id} started; its words, as they come:[/dim]")
        words = asyncio.create_task(self._show_words(handle.stream()))
        result = asyncio.create_task(handle.result())
        broken = asyncio.create_task(self._stage.broken())
        tasks = {words, result, broken}
        try:
            pending = tasks
            while not result.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # Raises what went wrong.
            with suppress(TimeoutError):
                await asyncio.wait_for(words, LAST_WORDS_S)
            return result.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _show_words(self, chunks: AsyncIterator[Any]) -> None:
        async for chunk in chunks:
            self._show(chunk.iteration + 1, str(chunk.data))
            if self._is_time_to_kill():
                await self._kill()

    def _show(self, iteration: int, words: str) -> None:
        if iteration != self._iteration:
            self._begin(iteration)
        self._pieces += 1
        self._console.print(words, end="", markup=False, highlight=False, soft_wrap=True)

    def _begin(self, iteration: int) -> None:
        title = f"iteration {iteration} · worker {self._stage.worker.pid}"
        self._console.print()
        self._console.print(Rule(title, align="left", style="cyan"))
        self._iteration, self._pieces = iteration, 0

    def _is_time_to_kill(self) -> bool:
        due = self._plan.kill_at is not None and self._iteration >= self._plan.kill_at
        return due and not self._killed and self._pieces >= PIECES_BEFORE_KILL

    async def _kill(self) -> None:
        """Kill the worker, but only in the middle of an iteration: freeze it, look, then decide."""
        worker = self._stage.worker
        await worker.freeze()
        running = self._running()
        if running is None:
            worker.thaw()
            return
        await worker.kill()
        self._killed = True
        self._plan.ledger.append("killed", running.worker)
        successor = await self._stage.start_worker()
        self._console.print("\n")
        self._console.print(
            Panel(
                f"kill -9 {worker.pid}, in the middle of iteration {running.iteration + 1}.\n"
                f"Worker {successor.pid} starts. It knows nothing but the checkpoint.",
                style="bold red",
                expand=False,
            )
        )
        self._iteration = 0

    def _running(self) -> Execution | None:
        runs = executions(self._plan.ledger.entries())
        return next((run for run in reversed(runs) if run.ended is None), None)


async def perform(plan: Plan, console: Console) -> ReportFile:
    """Set the stage, play, clear up; SIGTERM clears up as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with Stage({"DEMO_PACE": os.environ.get("DEMO_PACE", DEFAULT_PACE_S)}) as stage:
        os.environ["DAGNATS_URL"] = stage.url
        console.print(f"[dim]dagnats serve: ready at {stage.url}[/dim]", soft_wrap=True)
        async with app:
            return await Show(plan, stage, console).play()


def make_plan(path: Path, output: Path, kill_at: int | None, *, kill: bool) -> Plan:
    """Look at what is to be reviewed, and decide when to kill.

    Raises:
        ToolError: When there is no Python code at the path.
    """
    files = len(Workspace(path).files)
    if not files:
        raise ToolError(f"there is no Python file to review at {path}")
    reviewer = choose_reviewer()
    offline = isinstance(reviewer, OfflineReviewer)
    half = (expected_iterations(files) + 1) // 2 if offline else KILL_AT_WITH_MODEL
    run_id = f"review-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    folder = output.resolve() / run_id
    return Plan(
        path.resolve(), folder, run_id, files, reviewer.name, (kill_at or half) if kill else None
    )


@click.command()
@click.argument("path", default=REPOSITORY / "dagnats", type=click.Path(path_type=Path))
@click.option(
    "--output", default="build/code-review", type=click.Path(path_type=Path), help="For reports."
)
@click.option(
    "--kill-at", type=click.IntRange(1), help="The iteration in which the worker is killed."
)
@click.option("--kill/--no-kill", default=True, help="Whether to kill the worker half-way.")
def main(path: Path, output: Path, kill_at: int | None, *, kill: bool) -> None:
    """Review the Python code at PATH (default: DagNats) with an agent that survives kill -9."""
    console = Console()
    try:
        plan = make_plan(path, output, kill_at, kill=kill)
        console.print(Panel(_opening(plan), title="DagNats code review", expand=False))
        report = asyncio.run(perform(plan, console))
    except (ToolError, ChildError, DagNatsError) as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\n[dim]stopped; nothing is left running[/dim]")
        sys.exit(130)
    console.print("\n")
    console.print(Panel(_ending(report), style="green" if report.kept else "red", expand=False))
    click.echo(_shown(Path(report.path)))
    sys.exit(0 if report.kept else 1)


def _opening(plan: Plan) -> str:
    kill = f"killed in iteration {plan.kill_at}" if plan.kill_at else "left alone"
    subject = f"{_shown(plan.path)} · Python files: {plan.files}"
    return f"{subject}\nby the {plan.reviewer}\nthe worker will be {kill}"


def _shown(path: Path) -> Path:
    """The path as people in this directory would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def _ending(report: ReportFile) -> str:
    counts = ", ".join(f"{count} {severity}" for severity, count in report.findings.items())
    return f"Findings: {counts}.\n{report.verdict}"


if __name__ == "__main__":
    main()
