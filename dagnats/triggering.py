"""``@app.cron`` and ``@app.on_event``: triggers beside the workflow or the task that they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UnsetType

from dagnats.core.triggers.model import Cron, Hold, Overlap, Subject, Trigger
from dagnats.core.triggers.validate import trigger_problems
from dagnats.errors import DefinitionError, DuplicateName, InvalidInput
from dagnats.holding import Batch, Debounce
from dagnats.outcome import UNSET
from dagnats.task import Startable

S = TypeVar("S", bound=Startable[..., Any])
L = TypeVar("L", bound=Callable[..., Any])
_DATA = {"$input": "data"}


class Triggering:
    """The triggers of an app, and the decorators that make them."""

    def __init__(self) -> None:
        self.triggers: dict[str, Trigger] = {}
        self.trigger_types: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {}

    def cron(
        self, expression: str, *, tz: str = "", backfill: bool = False, overlap: Overlap = "allow",
        input: Any = UNSET, id: str = "",
    ) -> Callable[[S], S]:  # fmt: skip
        """Start the workflow or task below by a schedule: a decorator above ``@app.workflow`` or ``@app.task``.

        Args:
            expression: Minute, hour, day, month, weekday; or ``@every 10m``, ``@daily`` and the like.
            tz: The time zone of the expression, such as ``"Europe/Berlin"``; default: UTC.
            backfill: Make up for the instants that passed while nothing could fire, at most 100, oldest first.
            overlap: What to do while a run of it still goes on: ``"allow"`` (start another), ``"skip"``,
                ``"queue"``, ``"cancel-running"``.
            input: The run's input; default: that of a call without arguments.
            id: The trigger's name; default: the workflow's, with ``-cron``.

        Raises:
            DefinitionError, DuplicateName.
        """

        def decorate(started: S) -> S:
            _check(started, "@app.cron")
            given = _scheduled_input(started) if input is UNSET else _literal(input)
            name = id or self._free(f"{started.name}-cron")
            self._add(Trigger(
                id=name, workflow=started.name, on=Cron(expression, tz, backfill), overlap=overlap, input=given,
            ))  # fmt: skip
            return started

        return decorate

    def on_event(
        self, event: str = "", *, subject: str = "", filter: str = "", overlap: Overlap = "allow",
        debounce: Debounce | None = None, batch: Batch | None = None, input: Any = UNSET, id: str = "",
    ) -> Callable[[S], S]:  # fmt: skip
        """Start the workflow or task below by external events, or by messages of a NATS subject.

        Args:
            event: The event's name, as in ``client.publish_event(name, data)``.
            subject: Instead of an event: a NATS subject; wildcards are fine.
            filter: A condition on the data: ``amount > 100 and country == "DE"``.
            overlap: As for ``cron``.
            debounce: Of events in quick succession only the last starts a run: ``Debounce("5s", key="id")``.
            batch: Events are collected, and one run is given a list of them: ``Batch(100, timeout="5s")``.
            input: A template over the envelope, such as ``{"$input": "data.order_id"}``; default: the data.
            id: The trigger's name; default: the workflow's, with ``-on-`` and what it waits for.

        Raises:
            DefinitionError, DuplicateName.
        """
        if bool(event) == bool(subject):
            raise DefinitionError("@app.on_event takes an event's name, or subject=, and not both")
        hold = _hold(debounce, batch)

        def decorate(started: S) -> S:
            _check(started, "@app.on_event")
            usual = _DATA if started.signature.parameters else None
            name = id or self._free(f"{started.name}-on-{event or subject}")
            self._add(Trigger(
                id=name, workflow=started.name, on=Subject(subject, event), overlap=overlap, filter=filter,
                input=usual if input is UNSET else input, hold=hold,
            ))  # fmt: skip
            return started

        return decorate

    def trigger_type(
        self, name: str, *, config_schema: dict[str, Any] | None = None, payload_schema: dict[str, Any] | None = None,
        description: str = "", version: int = 1,
    ) -> Callable[[L], L]:  # fmt: skip
        """A kind of trigger of your own: an async function that notices what each of its triggers waits for.

        The function is given one trigger (``id``, ``workflow``, ``config``, ``await fire(data, key=…)``), and runs in
        one worker of those that have it, until the trigger is disabled or changed; then it is cancelled. When it
        raises, it is begun again.

        Args:
            name: The kind, as triggers name it: ``"external": {"kind": name, "config": …}``.
            config_schema: JSON Schema of their config; default: anything.
            payload_schema: JSON Schema of what they are fired with; default: anything.
            description: For people.
            version: To be raised whenever the schemas change.

        Raises:
            DuplicateName.
        """

        def decorate(listen: L) -> L:
            if name in self.trigger_types:
                raise DuplicateName(f'two trigger types are named "{name}"')
            about = {
                "version": version, "description": description, "config_schema": config_schema,
                "payload_schema": payload_schema,
            }  # fmt: skip
            self.trigger_types[name] = (about, listen)
            return listen

        return decorate

    def _free(self, name: str) -> str:
        """A name that no other trigger has: the second one's is numbered."""
        number = 1
        while (found := name if number == 1 else f"{name}-{number}") in self.triggers:
            number += 1
        return found

    def _add(self, trigger: Trigger) -> None:
        if trigger.id in self.triggers:
            text = f'two triggers are named "{trigger.id}"; give one of them another id='
            raise DuplicateName(text)
        problems = list(trigger_problems(trigger))
        if problems:
            raise DefinitionError("; ".join(map(str, problems)), problems=problems)
        self.triggers[trigger.id] = trigger


def _hold(debounce: Debounce | None, batch: Batch | None) -> Hold | UnsetType:
    if debounce is not None and batch is not None:
        raise DefinitionError("@app.on_event: debounce= and batch= contradict; keep one")
    for name, given, kind, example in (
        ("debounce", debounce, Debounce, 'Debounce("5s")'),
        ("batch", batch, Batch, 'Batch(100, timeout="5s")'),
    ):
        if given is not None and not isinstance(given, kind):
            raise DefinitionError(f"@app.on_event: {name}={given!r}; write {example}")
    given = debounce or batch
    return given.hold if given is not None else msgspec.UNSET


def _check(started: Any, what: str) -> None:
    if not isinstance(started, Startable):
        raise DefinitionError(
            f"{what} stands above @app.workflow or @app.task, which make {started!r} startable"
        )


def _scheduled_input(started: Startable[..., Any]) -> Any:
    """A call without arguments: a schedule brings no data."""
    try:
        raw = started.signature.encode_call((), {}, fill=started.fills_defaults)
    except InvalidInput as error:
        raise DefinitionError(
            f"@app.cron on {started.name}: {error.message}; a schedule brings no data: say input="
        ) from error
    return _literal(msgspec.json.decode(raw))


def _literal(value: Any) -> Any:
    return {"$literal": value} if isinstance(value, dict | list) else value
