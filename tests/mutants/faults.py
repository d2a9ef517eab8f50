"""The planted faults: each is a mistake that somebody could make, in one place of the engine."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """Replace ``old`` (it stands once in ``file``) by ``new``."""

    what: str
    file: str
    old: str
    new: str


MACHINE, SETTLE, LOOP = "core/machine.py", "core/settle.py", "core/kinds/agent_loop.py"
SCOPE, PARTITION, LOADING = "core/scope.py", "scheduler/partition.py", "scheduler/loading.py"
PERFORM, HANDOVER = "scheduler/perform.py", "worker/handover.py"
CONTROL, CONTROL_PLANE = "core/control.py", "scheduler/control.py"
APPLY, ATTEMPTS = "core/apply.py", "core/attempts.py"

FAULTS = (
    # -- applying ----------------------------------------------------------------------------------
    Fault("a fact folds twice", MACHINE, "event.seq <= run.seq", "event.seq < run.seq"),
    Fault(
        "a closed run goes on",
        MACHINE,
        "    if run.closed:\n        return _reopen(",
        "    if False:\n        return _reopen(",
    ),
    Fault(
        "a stale ticket is honoured", APPLY, " and ticket == ticket_text(node.step.id, state)", ""
    ),
    Fault(
        "an answer counts during the back-off",
        APPLY,
        "state.status == status and ticket",
        "state.status in (status, WAITING) and ticket",
    ),
    Fault(
        "an early timer is ignored",
        MACHINE,
        "max(event.at_ms, min(fact.due_ms, run.armed_ms))",
        "event.at_ms",
    ),
    Fault("a forged timer is believed", MACHINE, "min(fact.due_ms, run.armed_ms)", "fact.due_ms"),
    # -- timers ------------------------------------------------------------------------------------
    Fault(
        "a fired timer is not armed again",
        MACHINE,
        "KINDS[node.step.kind].on_due(draft.scope(node)))\n    return _conclude(draft, before, rearm=True)",
        "KINDS[node.step.kind].on_due(draft.scope(node)))\n    return _conclude(draft, before)",
    ),
    Fault(
        "a later deadline replaces an earlier",
        MACHINE,
        "due < after.armed_ms",
        "due > after.armed_ms",
    ),
    Fault(
        "the run's own deadline is not armed",
        MACHINE,
        "    if run.deadline_ms:\n        dues.append(run.deadline_ms)\n",
        "",
    ),
    Fault(
        "the run's time ends too late",
        MACHINE,
        "draft.at_ms >= run.deadline_ms",
        "draft.at_ms > run.deadline_ms",
    ),
    Fault("an owner forgets the timer", MACHINE, "    if run.armed_ms:\n", "    if False:\n"),
    Fault(
        "a back-off outlasts its loop",
        "core/state.py",
        "min(self.due_ms, self.bound_ms)",
        "max(self.due_ms, self.bound_ms)",
    ),
    Fault(
        "a loop's bound is not armed",
        "core/state.py",
        "return self.bound_ms if self.status in (QUEUED, WAITING) else 0",
        "return 0",
    ),
    # -- settling ----------------------------------------------------------------------------------
    Fault(
        "bypassing ends after one step",
        SETTLE,
        "parent.status == RECOVERED or parent.bypassed",
        "parent.status == RECOVERED",
    ),
    Fault(
        "what is below a recovery runs",
        SETTLE,
        "return parent.status == RECOVERED or parent.bypassed",
        "return False",
    ),
    Fault("a join does not wait", SETTLE, "if state.blockers == 0:", "if state.blockers <= 1:"),
    Fault("a handler is not counted", SETTLE, "        draft.open += 1\n", ""),
    Fault(
        "a handler runs again and again",
        "core/settle.py",
        "handler is not None and draft[handler.position].status == PENDING",
        "handler is not None",
    ),
    Fault(
        "`when` means its opposite",
        SETTLE,
        "and not holds(step.when, lookup)",
        "and holds(step.when, lookup)",
    ),
    Fault("recovery is forgotten", SETTLE, "        _recover(draft, node)\n", "        pass\n"),
    Fault(
        "abandoned tickets are not noticed",
        SETTLE,
        "abandoned or state.status == QUEUED",
        "abandoned or state.status == PENDING",
    ),
    Fault(
        "closing leaves steps open",
        SETTLE,
        "state.status not in OPEN:\n            continue\n        ab",
        "state.status != QUEUED:\n            continue\n        ab",
    ),
    Fault(
        "handlers hold a run open",
        "core/graph.py",
        "counted=sum(not node.aux for node in nodes)",
        "counted=len(nodes)",
    ),
    Fault(
        "inputs are not tried before dispatch",
        "core/graph.py",
        "return any(path for _, path in holes(step.input))",
        "return False",
    ),
    Fault(
        "outputs of the same fact are not seen",
        "core/draft.py",
        "return self.run.steps[position] if changed is None else changed",
        "return self.run.steps[position]",
    ),
    # -- kinds and retries -------------------------------------------------------------------------
    Fault(
        "one iteration too many",
        LOOP,
        "following >= config.max_iterations",
        "following > config.max_iterations",
    ),
    Fault("a checkpoint is lost", LOOP, "fact.checkpoint or state.checkpoint", "fact.checkpoint"),
    Fault(
        "a late Continue goes on",
        LOOP,
        "_out_of_time(scope):\n        return _too_long(scope)\n    if isinst",
        "False:\n        pass\n    if isinst",
    ),
    Fault(
        "a retried iteration is the next",
        "core/kinds/agent_loop.py",
        "queued(scope, state.attempt + 1, state.iteration)",
        "queued(scope, state.attempt + 1, state.iteration + 1)",
    ),
    Fault(
        "a retry has its predecessor's ticket",
        ATTEMPTS,
        "queued(scope, scope.state.attempt + 1, iteration=0)",
        "queued(scope, scope.state.attempt, iteration=0)",
    ),
    Fault(
        "one attempt too many", ATTEMPTS, "attempt >= policy.attempts", "attempt > policy.attempts"
    ),
    Fault("what cannot be retried is", ATTEMPTS, 'error.failure == "non_retriable" or ', ""),
    Fault("a completed step keeps its error", SCOPE, "error=None,", "error=scope.state.error,"),
    Fault(
        "chance decides",
        "core/retry.py",
        "zlib.crc32(ticket.encode())",
        "(hash(ticket) & 0xFFFFFFFF)",
    ),
    Fault("back-off is one step ahead", "core/retry.py", "float(retry - 1)", "float(retry)"),
    Fault(
        "a huge back-off overflows",
        "core/retry.py",
        "except OverflowError",
        "except ZeroDivisionError",
    ),
    # -- values ------------------------------------------------------------------------------------
    Fault(
        "a handler is told of another failure",
        "core/inputs.py",
        "and state.error and state.status in (FAILED, RECOVERED)",
        "and state.error",
    ),
    Fault(
        "unreadable JSON ends the process",
        "core/templates.py",
        "except (ValueError, RecursionError):  #",
        "except ZeroDivisionError:  #",
    ),
    Fault(
        "true equals 1",
        "core/conditions.py",
        "if isinstance(left, bool) or isinstance(right, bool):",
        "if False:",
    ),
    Fault(
        "a snapshot forgets the timer",
        "core/snapshot.py",
        'not in ("version", "steps")',
        'not in ("version", "steps", "armed_ms")',
    ),
    Fault(
        "anybody may write any fact",
        "wire/codec.py",
        "if AUTHORS[type(fact)] != author:",
        "if False:",
    ),
    # -- the scheduler -----------------------------------------------------------------------------
    Fault("after a failure, memory is trusted", PARTITION, "        self._runs.clear()\n", ""),
    Fault(
        "what a loaded run owes is dropped",
        PARTITION,
        "        await self._collect(slot, loaded.missing, batch)\n",
        "",
    ),
    Fault(
        "nothing is ever missing",
        LOADING,
        "if c.id not in stored and not await self._done(c)]",
        "if False]",
    ),
    Fault(
        "acknowledged although the first was not stored",
        PARTITION,
        "for messages in (batch.first, batch.appends):",
        "for messages in (batch.first, batch.appends[1:]):",
    ),
    Fault(
        "dead letters are not written",
        PARTITION,
        "for messages in (batch.first, batch.appends):",
        "for messages in (batch.appends,):",
    ),
    Fault(
        "acknowledged although the server failed",
        PARTITION,
        "            except PayloadTooLarge:\n",
        "            except Exception:\n                continue\n            except PayloadTooLarge:\n",
    ),
    Fault(
        "a forged answer is folded",
        PARTITION,
        "if not self._loader.authentic(run_id, event):",
        "if False:",
    ),
    Fault(
        "a forged answer is folded on loading",
        LOADING,
        "if self.authentic(run_id, event) else run",
        "if True else run",
    ),
    Fault(
        "a snapshot hides the tail",
        LOADING,
        "history(run_id, run.seq if run else 0)",
        "history(run_id, run.seq if run else 0) if run is None else ()",
    ),
    Fault(
        "every run is announced as completed", PERFORM, "status=run.status,", 'status="completed",'
    ),
    Fault(
        "a dispatch has no id",
        PERFORM,
        "Append(subject, await self._encoded(message), command.id)",
        "Append(subject, await self._encoded(message))",
    ),
    # -- sticky runs -------------------------------------------------------------------------------
    Fault(
        "who failed is bound to the run",
        APPLY,
        "not known or isinstance(fact, StepFailed)",
        "not known",
    ),
    Fault("a hard sticky run changes its worker", APPLY, " or not draft.run.worker:", " or True:"),
    Fault(
        "what was handed over late is begun",
        HANDOVER,
        "if until is None or until < self._clock.monotonic_ms():",
        "if until is None:",
    ),
    Fault(
        "what was not promised is begun",
        HANDOVER,
        "if until is None or until < self._clock.monotonic_ms():",
        "if until is not None and until < self._clock.monotonic_ms():",
    ),
    Fault(
        "a ticket is handed over after a late yes",
        HANDOVER,
        "if not answers or now > since_ms + self._patience_ms:",
        "if not answers:",
    ),
    Fault(
        "who handed a ticket over runs it too",
        HANDOVER,
        "            await self._hand_over(delivery, answer.at)\n            return True\n",
        "            await self._hand_over(delivery, answer.at)\n            return False\n",
    ),
    Fault(
        "what was handed over keeps its old lease",
        HANDOVER,
        "        self._queue.renew(given.reply)  # the sender has held it for a while\n",
        "",
    ),
    # -- the control plane -------------------------------------------------------------------------
    Fault(
        "a step without the capability asks",
        CONTROL,
        "if not capable or workflow not in policy.grant:",
        "if workflow not in policy.grant:",
    ),
    Fault(
        "a workflow that is not granted asks",
        CONTROL,
        "if not capable or workflow not in policy.grant:",
        "if not capable:",
    ),
    Fault(
        "whoever may register may promote",
        CONTROL,
        "if promote and workflow not in policy.promote:",
        "if promote and workflow not in policy.grant:",
    ),
    Fault(
        "another tree's definition is started",
        CONTROL,
        'if name.startswith(EPHEMERAL) and not name.startswith(f"{EPHEMERAL}{root}."):',
        "if False:",
    ),
    Fault(
        "old registrations count for ever",
        CONTROL,
        "if each.at_ms > at_ms - _MINUTE_MS)",
        ")",
    ),
    Fault(
        "a registration made again counts twice", CONTROL, "if tree.knows(request):", "if False:"
    ),
    Fault("a run that is started again counts twice", CONTROL, "if run in tree.runs:", "if False:"),
    Fault("runs start runs without end", CONTROL, "if depth > GENERATIONS_MAX:", "if False:"),
    Fault(
        "everybody is given the control plane",
        CONTROL_PLANE,
        "return refusal is None, [",
        "return True, [",
    ),
    Fault(
        "a decision that was cut short is made otherwise",
        CONTROL_PLANE,
        "if refusal is not None and not (await self._trees.read(root)).knows(request):",
        "if refusal is not None:",
    ),
    Fault(
        "a start that was cut short is refused",
        CONTROL_PLANE,
        "if refusal is not None and child not in tree.runs:",
        "if refusal is not None:",
    ),
    Fault(
        "a child registers in its own name",
        CONTROL_PLANE,
        "root, state = run.root or run.id, run.steps",
        "root, state = run.id, run.steps",
    ),
    Fault(
        "runs that have ended count for ever",
        CONTROL_PLANE,
        "        if tree.full:\n            await self._trees.settle(root)\n",
        "",
    ),
    Fault(
        "an answer is stored before what it implies",
        PERFORM,
        "return [*map(Before, first), answer]",
        "return [*first, answer]",
    ),
)
