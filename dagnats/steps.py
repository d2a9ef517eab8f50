"""Steps that are no calls of tasks: questions, waiting, answering, external agents. For traced workflows.

Each takes what every call takes: ``after=``, ``when=``, ``skip_if=``, ``on_failure=`` and ``step_id=``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from dagnats import configs
from dagnats.core.durations import Duration
from dagnats.core.model import AGENT_GROUP, Config, EventMatch
from dagnats.errors import DefinitionError
from dagnats.options import refuse_unknown
from dagnats.references import Ref, keys_of, step_of
from dagnats.tracing import (
    CALL_OPTIONS,
    CHILD_OPTIONS,
    PLACE_OPTIONS,
    Trace,
    current_trace,
    step_maker,
    template_at,
)

T = TypeVar("T")
_ABSENT: Any = object()


@overload
def approval(
    description: str = "", *, form: type[T], timeout: Duration | None = None, show: Any = ..., subject: str = "",
    quorum: int = 1, metadata: Mapping[str, str] | None = None, **options: Any,
) -> T: ...  # fmt: skip


@overload
def approval(
    description: str = "", *, form: Mapping[str, Any] | None = None, timeout: Duration | None = None,
    show: Any = ..., subject: str = "", quorum: int = 1, metadata: Mapping[str, str] | None = None, **options: Any,
) -> Any: ...  # fmt: skip


def approval(description: str = "", *, show: Any = _ABSENT, form: Any = None, **given: Any) -> Any:
    """Ask people, and go on when they say yes; a no, or silence, fails the step.

    Args:
        description: The question.
        show: What they are shown: a reference, or any structure of them; default: what came before.
        form: The type of the answer, or its JSON Schema; the reference is to that answer.
        **given: ``timeout`` (default, and the most: 168 hours), ``subject`` of a NATS message that tells of
            the question, ``quorum`` (how many must say yes), ``metadata``; and the options of every step.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here("approval")
    named = ("timeout", "subject", "quorum", "metadata")
    question = {key: given.pop(key) for key in named if key in given}
    refuse_unknown(where, _unknown(given, PLACE_OPTIONS), (*PLACE_OPTIONS, "show", "form", *named))
    config = configs.question_config(where, description=description, form=form, **question)
    shown = None if show is _ABSENT else template_at(where, show)
    gives = form if isinstance(form, type) else Any
    return trace.place("approval", where, shown, given, step_maker("approval", config), gives)


def sleep(
    duration: Duration | None = None,
    *,
    cron: str = "",
    tz: str = "",
    until: Any = None,
    **options: Any,
) -> None:
    """Do nothing for a while, until a cron expression's next match, or until a time in the run's input.

    Args:
        duration: For so long; at most 365 days.
        cron: Until its next match: ``"0 9 * * 1-5"``.
        tz: The time zone of ``cron``; default: UTC.
        until: A reference to a part of the workflow's input: a time in RFC 3339, or Unix milliseconds.
        **options: The options of every step.

    Raises:
        UnknownOption, DefinitionError.
    """
    path = _input_path(until) if until is not None else ""
    trace, where = _here("sleep")
    config = configs.sleep_config(where, duration, cron=cron, tz=tz, until=path)
    made: Any = _placed(trace, "sleep", where, config, options, type(None))
    return made  # type: ignore[no-any-return]  (a reference, for ``after=``)


def _input_path(until: Any) -> str:
    keys = keys_of(until) if isinstance(until, Ref) and not step_of(until) else ()
    if not keys or any("." in key for key in keys):
        raise DefinitionError(
            f"sleep: until= takes a reference to a part of the workflow's input, such as order.due, not {until!r}"
        )
    return ".".join(keys)


def wait_for_event(
    event: str, *, match: Mapping[str, Any] | None = None, timeout: Duration | None = None, **options: Any
) -> Any:  # fmt: skip
    """Wait for an external event; its payload is what the reference stands for.

    When none comes in time, that is ``{"timeout": true}``, and the step has completed all the same.

    Args:
        event: Its name.
        match: One field of the event, and the reference or constant that it must equal:
            ``{"order.id": order.id}``; default: any event of that name.
        timeout: For how long; default, and at the most: 365 days.
        **options: The options of every step.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here(f"wait_for_event {event!r}")
    pair = configs.the_match(where, match)
    found = EventMatch(pair[0], _right(where, pair[1])) if pair else None
    config = configs.event_config(where, event, found, timeout)
    return _placed(
        trace, "wait_for_event", where, config, options, Any, uses=found.right if found else None
    )


def _right(where: str, value: Any) -> Any:
    template = template_at(where, value)
    guarded = isinstance(template, dict) and template.keys() & {"$input", "$step", "$literal"}
    return template if guarded else {"$literal": template}


@overload
def wait_for_signal(
    name: str, *, type: type[T], timeout: Duration | None = None, **options: Any
) -> T: ...


@overload
def wait_for_signal(
    name: str, *, type: None = None, timeout: Duration | None = None, **options: Any
) -> Any: ...


def wait_for_signal(
    name: str, *, type: Any = None, timeout: Duration | None = None, **options: Any
) -> Any:
    """Wait for data that somebody sends to the run under a name; without any in time the step fails.

    Args:
        name: The signal's name.
        type: What its data are.
        timeout: For how long; default: one hour.
        **options: The options of every step.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here(f"wait_for_signal {name!r}")
    config = configs.signal_config(where, name, timeout)
    return _placed(trace, "wait_for_signal", where, config, options, Any if type is None else type)


def respond(
    body: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None,
    content_type: str = "application/json", **options: Any,
) -> Any:  # fmt: skip
    """Answer whoever waits for this run's response; later steps go on.

    Args:
        body: A reference, or any structure of them.
        status: The HTTP status, 200 to 599.
        headers: More headers.
        content_type: Of the body.
        **options: The options of every step.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here("respond")
    config = configs.respond_config(
        where, status=status, headers=headers, content_type=content_type
    )
    refuse_unknown(where, _unknown(options, PLACE_OPTIONS), PLACE_OPTIONS)
    template = template_at(where, body)
    return trace.place("respond", where, template, options, step_maker("respond", config), Any)


def agent(task: str, input: Any = _ABSENT, *, type: Any = Any, **options: Any) -> Any:
    """Have an external agent runtime carry out a task; its workers wait in the group ``agent``.

    Args:
        task: The task's name.
        input: A reference, or any structure of them; default: what came before.
        type: What it gives.
        **options: What calls of tasks take; ``metadata`` are the agent's configuration.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here(f"agent {task!r}")
    refuse_unknown(where, _unknown(options, CALL_OPTIONS), CALL_OPTIONS)
    template = None if input is _ABSENT else template_at(where, input)
    make = step_maker("agent", task=task, group=AGENT_GROUP)
    return trace.place(task, where, template, options, make, type)


def sub_workflow(
    workflow: str, input: Any = _ABSENT, *, detach: bool = False, type: Any = Any, **options: Any
) -> Any:
    """Run a workflow by its name, where there is no function to call: from a file, or of another app.

    Args:
        workflow: Its name.
        input: A reference, or any structure of them; default: what came before.
        detach: Only start it; the reference is to ``{"child_run_id": …}``.
        type: What it gives.
        **options: What calls of tasks take, but for ``group``.

    Raises:
        UnknownOption, DefinitionError.
    """
    trace, where = _here(f"sub_workflow {workflow!r}")
    refuse_unknown(where, _unknown(options, CHILD_OPTIONS), CHILD_OPTIONS)
    template = None if input is _ABSENT else template_at(where, input)
    make = step_maker("sub_workflow", configs.child_config(workflow, detach=detach))
    return trace.place(workflow, where, template, options, make, type)


def _here(call: str) -> tuple[Trace, str]:
    """The workflow that is being traced, and how messages name the place."""
    trace = current_trace(f"{call.partition(' ')[0]}(…)")
    return trace, f"workflow {trace.name}, {call}"


def _unknown(given: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in known}


def _placed(
    trace: Trace, kind: str, where: str, config: Config, options: dict[str, Any], gives: Any, *, uses: Any = None
) -> Any:  # fmt: skip
    """A step that takes no input of its own."""
    refuse_unknown(where, _unknown(options, PLACE_OPTIONS), PLACE_OPTIONS)
    return trace.place(kind, where, None, options, step_maker(kind, config), gives, uses=uses)
