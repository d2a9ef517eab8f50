"""``ctx.control_plane``: what a granted handler may ask for besides: workflows of its own making, and runs of them.

Each request is a durable call: asked again in the same order it is answered from the record, so that a
handler that runs again registers and starts nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict, cast

import msgspec
from msgspec import Raw

from dagnats import convert
from dagnats.answer import Answer
from dagnats.core.control import REFUSALS
from dagnats.core.definition import write_workflow
from dagnats.core.model import ControlConfig, Step, Workflow
from dagnats.errors import CallFailed, ControlPlaneError, InvalidInput

_FAILING: Mapping[str, type[CallFailed]] = dict.fromkeys(REFUSALS, ControlPlaneError)


class TreeBudget(TypedDict):
    """What the tree of runs has used up, and of how much."""

    active_runs: int
    max_active_runs: int
    registered_defs: int
    max_registered_defs: int


class Ask(Protocol):
    """Makes a durable call."""

    def __call__(
        self, step: Step, input: Raw, read: Callable[[Raw], Any], *, failing: Mapping[str, type[CallFailed]]
    ) -> Answer[Any]:  # fmt: skip
        """Ask; ``failing`` says which error a failure is told as."""
        ...


class ControlPlane:
    """Registers definitions and starts runs, for the ticket that brought it along.

    What is refused raises ``ControlPlaneError``; its ``kind`` says why.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def register_workflow(self, definition: Any, *, promote: bool = False) -> Answer[str]:
        """Store a definition; the answer is the name to start it by.

        That is ``agent.<root run>.<name>``, which is removed some time after the root run has ended; with
        ``promote`` it is ``promoted.<name>``, which stays and is for everybody.

        Args:
            definition: A traced workflow, what the builder built, or a workflow file: a dict or JSON.
            promote: Store it for good; the policy must allow that.

        Raises:
            InvalidInput: it is none of these.
            ControlPlaneError: refused.
        """
        written = _written(definition)
        config = ControlConfig(action="register", name=written["name"], promote=promote)
        return self._asked(config, convert.encode(written))

    def start_run(self, workflow: str, input: Any = None) -> Answer[str]:
        """Start a run, as a child that nobody waits for; the answer is its run id.

        Args:
            workflow: What ``register_workflow`` gave, or the name of any registered workflow.
            input: Its input.

        Raises:
            ControlPlaneError: refused.
        """
        return self._asked(ControlConfig(action="start", name=workflow), convert.encode(input))

    def budget(self) -> Answer[TreeBudget]:
        """What the runs that descend from the same root have used up.

        Raises:
            ControlPlaneError: refused.
        """
        return self._asked(ControlConfig(action="budget"), convert.NULL)

    def _asked(self, config: ControlConfig, given: Raw) -> Answer[Any]:
        step = Step(id="call", kind="control", config=config)
        return self._ask(step, given, convert.plain, failing=_FAILING)


def _written(definition: Any) -> dict[str, Any]:
    """A definition in the form of a workflow file, with a name."""
    for maker in ("build", "definition"):
        make = getattr(definition, maker, None)
        if callable(make):
            definition = make()
            break
    if isinstance(definition, str | bytes):
        try:
            definition = msgspec.json.decode(definition)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"the definition is no JSON: {error}") from error
    if isinstance(definition, Workflow):
        return write_workflow(definition)
    if not isinstance(definition, dict):
        raise InvalidInput(
            f"{type(definition).__name__} is no definition; give a workflow, or its file as a dict or JSON"
        )
    written = cast("dict[str, Any]", definition)
    if not isinstance(written.get("name"), str):
        raise InvalidInput('the definition has no name; give it one: {"name": "…", "steps": […]}')
    return written
