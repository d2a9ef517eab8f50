"""Requests to runs that are under way, or have ended: signals, decisions, events, going on, forking.

Each is a fact in the run's own history. Whoever asks folds that history with the engine itself up to the own
fact, and so knows exactly whether it counted, whatever others asked at the same time.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from dagnats import convert, payloads, reading, signalling
from dagnats.core import fork as forking
from dagnats.core import reopen
from dagnats.core.events import ApprovalDecided, BudgetRaised, Event, RetryRequested, RunStarted
from dagnats.core.graph import Node
from dagnats.core.model import ABSENT, ApprovalConfig, PlannerConfig
from dagnats.core.questions import came_too_late, form_problem
from dagnats.core.run import Run
from dagnats.core.state import WAITING, StepState, ticket_text
from dagnats.core.views import text_of_time
from dagnats.errors import AlreadyDecided, CodecError, DagNatsError, InvalidInput, RequestError
from dagnats.ids import new_run_id
from dagnats.limits import QUESTIONS_LISTED_MAX
from dagnats.outcome import UNSET
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode, run_of
from dagnats.wire.messages import Asked

_asked = msgspec.json.Decoder(Asked)


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open question to people. ``show`` is what it is about, ``votes`` who has approved already."""

    run_id: str
    workflow: str
    step: str
    ticket: str
    description: str = ""
    subject: str = ""
    expires_at: str = ""
    quorum: int = 1
    votes: tuple[str, ...] = ()
    show: Any = None
    form: Any = None


class Decided(Struct, frozen=True, kw_only=True):
    """What an answer came to: the step's status after it, and how many approvals are still missing."""

    run_id: str
    step: str
    status: str
    missing: int = 0


class Requests:
    """What can be asked of a run. ``Client`` brings the connection."""

    outside: Outside
    registry: Registry

    # -- signals and events ------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None) -> None:
        """Send data to a run; kept until it waits for a signal of that name.

        Raises:
            RunNotFound, SignalRefused: there is no such run, or it has ended.
            InvalidInput, PayloadTooLarge.
        """
        raw = payload if isinstance(payload, Raw) else convert.encode(payload)
        await signalling.send_signal(self.outside, run_id, name, raw)

    async def publish_event(self, name: str, payload: Any = None) -> int:
        """Publish an external event for whoever waits for it; its sequence.

        Raises:
            InvalidInput, PayloadTooLarge.
        """
        return await signalling.publish_event(self.outside, name, payload)

    # -- decisions ---------------------------------------------------------------------------------

    async def approvals(self, run_id: str = "") -> list[Question]:
        """The questions that are open, newest first; of one run, or of all.

        At most QUESTIONS_LISTED_MAX of the newest are looked at.
        """
        seen: set[tuple[str, str]] = set()
        questions: list[Question] = []
        asked = self.outside.log.newest(subjects.asked(run_id or "*"))
        try:
            async for page in asked:
                for entry in page:
                    place = (run_of(entry.subject), _ticket_of(entry.payload))
                    if place in seen or len(seen) >= QUESTIONS_LISTED_MAX:
                        continue
                    seen.add(place)
                    question = await self._question(*place)
                    questions += [question] if question else []
                if len(seen) >= QUESTIONS_LISTED_MAX:
                    break
        finally:
            await asked.aclose()
        return questions

    async def _question(self, run_id: str, ticket: str) -> Question | None:
        try:
            run = (await reading.read_run(self.outside, self.registry, run_id)).run
            node, state = _asking(run, ticket.partition("/")[0])
        except DagNatsError:
            return None
        if ticket != ticket_text(node.step.id, state):
            return None
        config = _config(node)
        show = state.output if node.step.kind == "planner" else reading.input_of(run, node.position)
        return Question(
            run_id=run_id, workflow=run.workflow, step=node.step.id, ticket=ticket,
            description=config.description, subject=config.subject,
            expires_at=text_of_time(state.bound_ms), quorum=config.quorum, votes=state.votes,
            show=convert.plain(await payloads.restore(self.outside.blobs, show)), form=config.form,
        )  # fmt: skip

    async def approve(
        self, run_id: str, step: str, *, comment: str = "", answer: Any = UNSET, by: str = ""
    ) -> Decided:
        """Say yes to a question; ``answer`` is what its form asks for, ``by`` who says so.

        Raises:
            RunNotFound, RequestError: there is no such question.
            AlreadyDecided: others were faster, its time is over, or this person has approved already.
            InvalidInput: the answer does not fit the form.
        """
        raw = ABSENT if answer is UNSET else convert.encode(answer)
        return await self._decide(run_id, step, approved=True, comment=comment, answer=raw, by=by)

    async def reject(self, run_id: str, step: str, *, comment: str = "", by: str = "") -> Decided:
        """Say no to a question: its step fails.

        Raises:
            RunNotFound, RequestError, AlreadyDecided: as ``approve``.
        """
        return await self._decide(
            run_id, step, approved=False, comment=comment, answer=ABSENT, by=by
        )

    async def _decide(
        self, run_id: str, step: str, *, approved: bool, comment: str, answer: Raw, by: str
    ) -> Decided:
        run = (await reading.read_run(self.outside, self.registry, run_id)).run
        node, state = _asking(run, step)
        config = _config(node)
        problem = form_problem(config, answer) if approved else ""
        if problem:
            raise InvalidInput(f'the answer to step "{step}": {problem}')
        if approved and config.quorum > 1 and not by:
            text = f"{config.quorum} people must approve; say who you are (by=, --by)"
            raise InvalidInput(text)
        fact = ApprovalDecided(
            ticket=ticket_text(node.step.id, state), approved=approved, comment=comment, by=by,
            answer=answer, decision=new_run_id(),
        )  # fmt: skip
        before, after = await self._asked(run_id, fact, f"{fact.ticket}:decided:{fact.decision}")
        was, now = before.steps[node.position], after.steps[node.position]
        too_late = came_too_late(was, now)
        if was == now or too_late:
            state = "over, its time has passed" if too_late else now.status
            raise AlreadyDecided(
                f'the question of step "{step}" in run {run_id} is {state}: this answer does not count',
                run_id=run_id, step=step,
            )  # fmt: skip
        left = config.quorum - len(now.votes) if now.status == WAITING else 0
        return Decided(run_id=run_id, step=step, status=now.status, missing=max(0, left))

    # -- going on ----------------------------------------------------------------------------------

    async def retry(self, run_id: str, reason: str = "") -> None:
        """Open a failed run again: it goes on at the step that failed, and keeps what was done.

        Raises:
            RunNotFound.
            RequestError: it has not failed, or cannot go on.
        """
        run = (await reading.read_run(self.outside, self.registry, run_id)).run
        refusal = reopen.refusal(run)
        if refusal:
            raise RequestError(
                f"run {run_id} cannot go on: {refusal}; `dagnats run rerun {run_id}` starts it anew",
                run_id=run_id,
            )
        fact = RetryRequested(epoch=run.epoch + 1, reason=reason)
        _, after = await self._asked(run_id, fact, f"retry:{fact.epoch}")
        if after.opened != fact.epoch:
            raise RequestError(f"run {run_id} was opened by somebody else", run_id=run_id)

    async def _asked(
        self, run_id: str, fact: ApprovalDecided | RetryRequested | BudgetRaised, what: str
    ) -> tuple[Run, Run]:
        """Store a request; the run right before it, and right after."""
        log = self.outside.log
        place = subjects.partition_of(run_id, log.partitions)
        subject = subjects.fact(place, run_id, "client")
        [stored] = await log.append([Append(subject, encode(fact), f"{run_id}/{what}")])
        found: list[tuple[Run, Run]] = []

        def until(before: Run, after: Run, event: Event) -> bool:
            if event.seq == stored.seq:
                found.append((before, after))
            return event.seq >= stored.seq

        await reading.read_run(self.outside, self.registry, run_id, until)
        if not found:
            raise CodecError(f"the request {what} of run {run_id} cannot be read back")
        return found[0]

    async def forked(
        self, run_id: str, step: str, iteration: int = 0, input: Any = UNSET
    ) -> tuple[Run, RunStarted]:
        """The first fact of a run that shares the history of another up to a step's iteration (from 0).

        Raises:
            RunNotFound.
            RequestError: the run never came there, or the step's input cannot be another.
        """
        places: list[int] = []

        def until(_before: Run, after: Run, event: Event) -> bool:
            if forking.reached(after, step, iteration):
                places.append(event.at_ms)
            return bool(places)

        run = (await reading.read_run(self.outside, self.registry, run_id, until)).run
        if not places:
            turn = f" iteration {iteration + 1}" if iteration else ""
            known = ", ".join(node.step.id for node in run.graph.nodes) if run.graph else "none"
            raise RequestError(
                f'run {run_id} never came to step "{step}"{turn}; its steps: {known}', run_id=run_id
            )
        given = ABSENT if input is UNSET else convert.encode(input)
        try:
            state = forking.taken(run, step, iteration, places[0], given)
        except ValueError as error:
            raise RequestError(str(error), run_id=run_id) from error
        what = f"state of run {run_id}"
        fact = RunStarted(
            workflow=run.workflow, definition=run.definition, input=run.input,
            metadata=run.metadata, tags=run.tags, start=new_run_id(),
            fork=await payloads.offload(self.outside.blobs, state, what),
        )  # fmt: skip
        return run, fact


def _asking(run: Run, step: str) -> tuple[Node, StepState]:
    """The step that has asked people, and still waits.

    Raises:
        RequestError: there is none.
        AlreadyDecided: it has been answered.
    """
    position = run.graph.index.get(step) if run.graph else None
    if run.graph is None or position is None or position >= len(run.steps):
        raise RequestError(f'run {run.id} has no step "{step}"', run_id=run.id)
    node, state = run.graph.nodes[position], run.steps[position]
    if node.step.kind not in ("approval", "planner"):
        raise RequestError(f'step "{step}" of run {run.id} asks nobody', run_id=run.id)
    open_question = state.status == WAITING and state.bound_ms and state.owned is None
    if not open_question:
        if state.ended_ms or state.owned is not None:
            raise AlreadyDecided(
                f'the question of step "{step}" in run {run.id} is {state.status}', run_id=run.id
            )
        text = f'step "{step}" of run {run.id} is {state.status}; it has not asked yet'
        raise RequestError(text, run_id=run.id)
    return node, state


def _config(node: Node) -> ApprovalConfig:
    config = node.step.config
    if isinstance(config, PlannerConfig):
        config = config.preview
    return config if isinstance(config, ApprovalConfig) else ApprovalConfig()


def _ticket_of(payload: bytes) -> str:
    try:
        return _asked.decode(payload).ticket
    except msgspec.DecodeError:
        return ""
