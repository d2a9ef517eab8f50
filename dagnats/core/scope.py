"""What a step kind sees of its run when it decides, and the answers that kinds share."""

from __future__ import annotations

from msgspec import Raw, Struct
from msgspec.structs import replace

from dagnats.core.graph import Node
from dagnats.core.inputs import States, lookup_in, step_input
from dagnats.core.model import ABSENT, RetryPolicy, Step
from dagnats.core.run import Run
from dagnats.core.state import COMPLETED, FAILED, WAITING, StepError, StepState, ticket_text
from dagnats.core.templates import Lookup


class Scope(Struct, frozen=True):
    """One step at one moment: ``at_ms`` is the log's time of the fact that is being folded.

    ``states`` are those of all steps as of now; what belongs to the run as a whole is in ``run``.
    """

    run: Run
    node: Node
    state: StepState
    policy: RetryPolicy | None
    at_ms: int
    states: States

    @property
    def ticket(self) -> str:
        """The ticket of the step's current attempt."""
        return ticket_text(self.node.step.id, self.state)

    def lookup(self) -> Lookup:
        """Outputs by step id; the empty name is the run's input."""
        graph = self.run.graph
        if graph is None:
            return lambda _: ABSENT
        return lookup_in(graph, self.states, self.run.input)

    def input(self) -> Raw:
        """What the step receives.

        Raises:
            PathMissing: its template asks for a field that is not there.
        """
        graph = self.run.graph
        return step_input(graph, self.node, self.states, self.run.input) if graph else ABSENT


class Growth(Struct, frozen=True):
    """A step's next state, together with steps that from now on exist and are its own.

    ``items``: so many elements, with their ``inputs``; else ``steps``, each with its input or the default
    rule's (ABSENT).
    """

    state: StepState
    steps: tuple[Step, ...] = ()
    items: int = 0
    inputs: tuple[Raw, ...] = ()


Next = StepState | Growth


def waiting(scope: Scope, due_ms: int = 0, **changes: object) -> StepState:
    """The step parked: on a timer when there is a ``due_ms``."""
    began = scope.state.began_ms or scope.at_ms
    return replace(scope.state, status=WAITING, due_ms=due_ms, began_ms=began, **changes)


def completed(scope: Scope, output: Raw) -> StepState:
    """The step done, with its output."""
    return replace(
        scope.state,
        status=COMPLETED,
        output=output,
        error=None,
        checkpoint=ABSENT,
        due_ms=0,
        bound_ms=0,
        began_ms=scope.state.began_ms or scope.at_ms,
        ended_ms=scope.at_ms,
    )


def failed(scope: Scope, error: StepError, **changes: object) -> StepState:
    """The step given up."""
    return replace(
        scope.state,
        status=FAILED,
        due_ms=0,
        bound_ms=0,
        error=error,
        began_ms=scope.state.began_ms or scope.at_ms,
        ended_ms=scope.at_ms,
        **changes,
    )
