"""Every exception DagNats raises, in one tree. The branch says who must act.

    DagNatsError
    ├── DefinitionError        the author: a workflow, task or option is wrong
    │   ├── UnknownOption
    │   ├── UnknownTask
    │   ├── DuplicateName
    │   └── LoadError          the module named on the command line
    ├── RequestError           the caller: what was asked cannot be done
    │   ├── WorkflowNotFound
    │   ├── RunNotFound
    │   ├── LetterNotFound
    │   ├── RunAlreadyStarted
    │   ├── SignalRefused
    │   ├── AlreadyDecided
    │   ├── InvalidInput
    │   └── PayloadTooLarge
    ├── RunError               how a run ended, from ``result()``
    │   ├── RunFailed
    │   │   └── BudgetExceeded
    │   ├── RunCancelled
    │   ├── CallFailed
    │   │   ├── SignalTimeout
    │   │   └── ControlPlaneError
    │   └── ResultTimeout
    ├── OutsideError           the world: retried by us where that can help, then told
    │   ├── BrokerUnavailable
    │   ├── BrokerUnsuitable
    │   ├── NotPermitted
    │   ├── PayloadGone
    │   ├── PublishFailed
    │   │   ├── WrongSequence
    │   │   └── NoRoom
    │   └── LeaseLost
    ├── CodecError             bytes that are not what they should be
    └── InvariantBroken        us: a bug in DagNats

A class's docstring is its default message. Messages say what happened, where, and what to do.
"""

from __future__ import annotations

from typing import Any


class DagNatsError(Exception):
    """Something went wrong in DagNats."""

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.facts = facts
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")


def _rebuild(kind: type[DagNatsError], message: str, facts: dict[str, Any]) -> DagNatsError:
    return kind(message, **facts)


class DefinitionError(DagNatsError):
    """A workflow definition is not valid; every problem is listed, each with its cure."""


class UnknownOption(DefinitionError):
    """An option is not one that DagNats knows; look for a typing mistake in its name."""


class UnknownTask(DefinitionError):
    """A task is not registered; decorate its function with @app.task or correct the name."""


class DuplicateName(DefinitionError):
    """Two tasks or two workflows have the same name; give one of them another with ``name=``."""


class LoadError(DefinitionError):
    """The module with the app could not be loaded; pass MODULE, MODULE:app or a path to a file."""


class RequestError(DagNatsError):
    """The request cannot be carried out as it was made."""


class WorkflowNotFound(RequestError):
    """No such workflow; `dagnats workflow list` shows what is registered."""


class RunNotFound(RequestError):
    """No such run; `dagnats run list` shows the runs there are."""


class LetterNotFound(RequestError):
    """No such dead letter; `dagnats dlq list` shows those there are."""


class TriggerNotFound(RequestError):
    """No such trigger; `dagnats trigger list` shows those there are."""


class RunAlreadyStarted(RequestError):
    """A run with this id was started before; choose another id or use its handle."""


class SignalRefused(RequestError):
    """The run takes no signals any more: it has ended."""


class AlreadyDecided(RequestError):
    """The question has been answered already, or its time is over: this answer does not count."""


class InvalidInput(RequestError):
    """The input does not fit what the workflow or task takes."""


class PayloadTooLarge(RequestError):
    """A payload is above the limit; store it elsewhere and pass a reference."""


class RunError(DagNatsError):
    """The run did not complete."""


class RunFailed(RunError):
    """The run failed."""


class BudgetExceeded(RunFailed):
    """The budget of the run is used up; `dagnats run raise` gives it more, and lets it go on."""


class RunCancelled(RunError):
    """The run was cancelled."""


class CallFailed(RunError):
    """A durable call of a handler failed for good, after all of its own attempts."""


class SignalTimeout(CallFailed):
    """The signal that a handler waited for did not come in time."""


class ControlPlaneError(CallFailed):
    """The control plane refused what a handler asked for; ``kind`` says for what reason."""

    @property
    def kind(self) -> str:
        """One of the kinds of refusal, such as ``denied`` or ``quota_exceeded``."""
        return str(self.failure)


class ResultTimeout(RunError):
    """The run had not ended when the time given to wait was over; it goes on."""


class OutsideError(DagNatsError):
    """Something outside DagNats is not as it must be."""


class BrokerUnavailable(OutsideError):
    """No NATS server answers; start one with `dagnats serve` or set DAGNATS_URL."""


class BrokerUnsuitable(OutsideError):
    """The NATS server cannot hold DagNats; see the message for what it lacks."""


class NotPermitted(OutsideError):
    """The credential in use lacks a right; `dagnats auth show` lists what each may do."""


class PayloadGone(OutsideError):
    """A large payload is no longer in the object store; its retention is over."""


class PublishFailed(OutsideError):
    """The log did not store a message."""


class WrongSequence(PublishFailed):
    """The subject was written by somebody else in between."""


class NoRoom(PublishFailed):
    """The NATS server has no room left for a message; raise its storage limit, or shorten the retention."""


class LeaseLost(OutsideError):
    """This process no longer holds the lease it needs for writing."""


class CodecError(DagNatsError):
    """Bytes could not be decoded; they may come from a newer DagNats: upgrade this process."""


class InvariantBroken(DagNatsError):
    """A bug in DagNats; please report it with the run id and the sequence in this message."""
