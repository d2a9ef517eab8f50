"""Watching a run: a live view on a terminal, a line for each event anywhere else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from dagnats.cli import render
from dagnats.cli.layout import Line, lines_of
from dagnats.cli.output import console, emit_json
from dagnats.client import Client, Handle
from dagnats.clock import SystemClock
from dagnats.core.state import CLOSED, COMPLETED
from dagnats.core.views import RunView
from dagnats.streaming import ChunkView, Superseded

_REFRESH_S: Final = 0.25
_LOAD_PART: Final = 4  # looking again takes at most a fifth of the time
_TOKENS_MAX: Final = 4_000
_TOKEN_LINES: Final = 8
_FRAME_LINES: Final = 8  # of a terminal's height, kept for the header and the tokens' frame


async def watch(client: Client, run_id: str, *, as_json: bool = False, tokens: bool = True) -> int:
    """Show a run until it has ended; 0 when it completed, else 1.

    Raises:
        RunNotFound.
    """
    handle = client.handle(run_id)
    if as_json:
        async for event in handle.events():
            emit_json(event)
    elif console().is_terminal:
        await _LiveView(client, handle, tokens=tokens).run()
    else:
        async for event in handle.events():
            render.show(render.event_line(event))
    mark = await client.closed_mark(run_id)
    return 0 if mark is not None and mark.status == COMPLETED else 1


async def drawn(client: Client, run: RunView) -> list[Line]:
    """Where the steps of a run are drawn; nothing when its definition is gone."""
    graph = await client.registry.graph(run.definition)
    return lines_of(graph.workflow) if graph else []


def text_of(data: Any) -> str:
    """A chunk for people: text as it is, everything else as JSON on a line of its own."""
    return data if isinstance(data, str) else msgspec.json.encode(data).decode() + "\n"


class Tokens:
    """The last words of each stream, by step."""

    def __init__(self) -> None:
        self._texts: dict[str, deque[tuple[int, str]]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, chunk: ChunkView | Superseded) -> None:
        """Take one chunk, or take back what no longer counts; what is far back is forgotten."""
        parts = self._texts.setdefault(chunk.step, deque())
        size = self._sizes.get(chunk.step, 0)
        if isinstance(chunk, Superseded):
            while parts and parts[-1][0] == chunk.iteration:
                size -= len(parts.pop()[1])
        else:
            text = text_of(chunk.data)
            parts.append((chunk.iteration, text))
            size += len(text)
        while size > _TOKENS_MAX and len(parts) > 1:
            size -= len(parts.popleft()[1])
        self._sizes[chunk.step] = size

    def panels(self, width: int) -> list[RenderableType]:
        """A panel for each of the streams that said something last."""
        made: list[RenderableType] = []
        for step, parts in list(self._texts.items())[-2:]:
            rows = Text("".join(text for _, text in parts)).wrap(console(), max(10, width - 4))[
                -_TOKEN_LINES:
            ]
            made.append(
                Panel(
                    Text("\n").join(rows), title=Text(step), title_align="left", border_style="dim"
                )
            )
        return made


def visible(rows: Sequence[Text], statuses: Sequence[str], height: int) -> list[Text]:
    """As many rows as fit, around the first step that is not over; the others are counted."""
    if len(rows) <= height:
        return list(rows)
    room = max(1, height - 2)
    active = next(
        (n for n, status in enumerate(statuses) if status in ("running", "queued", "waiting")), -1
    )
    if active < 0:
        active = next(
            (n for n, status in enumerate(statuses) if status == "pending"), len(rows) - 1
        )
    first = min(max(0, active - room // 3), len(rows) - room)
    above, below = first, len(rows) - first - room
    shown = list(rows[first : first + room])
    if above:
        shown.insert(0, Text(f"… {above} above", "dim"))
    if below:
        shown.append(Text(f"… {below} below", "dim"))
    return shown


class _LiveView:
    """One run on one terminal."""

    def __init__(self, client: Client, handle: Handle, *, tokens: bool) -> None:
        self._client = client
        self._handle = handle
        self._tokens = Tokens()
        self._listens = tokens
        self._lines: list[Line] | None = None
        self._changed = asyncio.Event()
        self._clock = SystemClock()

    async def run(self) -> None:
        """Draw until the run has ended; the last picture stays."""
        view = await self._handle.status()
        self._lines = await drawn(self._client, view)
        with Live(
            self._picture(view), console=console(), auto_refresh=False, transient=False
        ) as live:
            async with asyncio.TaskGroup() as group:
                listeners = [group.create_task(self._hear_events())]
                if self._listens:
                    listeners.append(group.create_task(self._hear_tokens()))
                while view.status not in CLOSED:
                    await self._pause()
                    began = self._clock.monotonic_ms()
                    view = await self._handle.status()
                    live.update(self._picture(view), refresh=True)
                    cost = (self._clock.monotonic_ms() - began) / 1000
                    await asyncio.sleep(max(_REFRESH_S, cost * _LOAD_PART))
                for listener in listeners:
                    listener.cancel()
            live.update(self._picture(view, whole=True), refresh=True)

    async def _pause(self) -> None:
        """Until something happens, or a second: durations go on, and workers come and go."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), 1)
        self._changed.clear()

    async def _hear_events(self) -> None:
        async for _ in self._handle.events():
            self._changed.set()

    async def _hear_tokens(self) -> None:
        async for chunk in self._handle.stream():
            self._tokens.add(chunk)
            self._changed.set()

    def _picture(self, view: RunView, *, whole: bool = False) -> RenderableType:
        parts: list[Any] = [render.run_header(view), Text("")]
        panels = self._tokens.panels(console().width)
        rows = render.step_lines(view, self._lines or [])
        order = [line.step.id for line in self._lines or []] or [step.id for step in view.steps]
        statuses = {step.id: step.status for step in view.steps}
        room = console().height - _FRAME_LINES - len(panels) * (_TOKEN_LINES + 2)
        parts += (
            rows
            if whole
            else visible(rows, [statuses.get(name, "") for name in order], max(3, room))
        )
        return render.Harmless(Group(*parts, *panels))
