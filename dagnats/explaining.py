"""Why is it waiting? Everything around a run that the answer needs, read for the engine to tell."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from dagnats import reading
from dagnats.clock import Clock
from dagnats.core.explain import Around, Reason, explain, gates_asked
from dagnats.core.state import QUEUED
from dagnats.errors import NotPermitted
from dagnats.gates import GateRequests, read_gate
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.messages import WorkerRecord

_record = msgspec.json.Decoder(WorkerRecord)


async def workers_of(outside: Outside) -> list[WorkerRecord]:
    """The live workers, as they told the directory."""
    entries = await outside.documents(subjects.WORKERS).all()
    workers: list[WorkerRecord] = []
    for value, _ in entries.values():
        with suppress(msgspec.DecodeError):
            workers.append(_record.decode(value))
    return sorted(workers, key=lambda each: each.worker)


def serves(worker: WorkerRecord, task: str, group: str) -> bool:
    """Whether a worker runs a task. One without a group of its own takes each task's: it may serve any."""
    return task in worker.tasks and worker.group in ("", group)


class Explaining(GateRequests):
    """What can be asked about waiting. ``Client`` brings the connection."""

    registry: Registry
    clock: Clock

    async def explain(self, run_id: str) -> list[Reason]:
        """Why each open step of a run is not done yet; nothing when the run has ended.

        Raises:
            RunNotFound.
        """
        return await explain_run(self.outside, self.registry, run_id, self.clock.wall_ms())


async def explain_run(
    outside: Outside, registry: Registry, run_id: str, now_ms: int = 0
) -> list[Reason]:
    """Why each open step of a run is not done yet.

    Raises:
        RunNotFound.
    """
    run = (await reading.read_run(outside, registry, run_id)).run
    gates = {gate: (await read_gate(outside, gate)).gate for gate in gates_asked(run)}
    queued = {
        (node.step.task, node.step.group)
        for node, state in zip(run.graph.nodes if run.graph else (), run.steps, strict=False)
        if state.status == QUEUED and not run.closed
    }
    at_work = await reading.ask_workers(outside, run_id) if queued else {}
    workers = await workers_of(outside) if queued else []
    served = {pair for pair in queued if any(serves(worker, *pair) for worker in workers)}
    taken = {pair: await _last_taken(outside, *pair) for pair in queued - served}
    around = Around(gates=gates, at_work=at_work, served=served, taken_ms=taken, now_ms=now_ms)
    return explain(run, around)


async def _last_taken(outside: Outside, task: str, group: str) -> int:
    """When somebody last took a ticket; 0 also where this credential may not ask."""
    try:
        return await outside.queue.last_taken_ms(task, group)
    except NotPermitted:
        return 0
