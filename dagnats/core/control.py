"""The control plane's rules: who may, under which names, and how much. Data in, data or a refusal out.

Runs that start one another form a tree. What a tree has registered and started is kept by its root's name
(``Tree``); asking for something twice under the same ticket is asking once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.model import Problem
from dagnats.core.problems import name_problems
from dagnats.limits import (
    DEFINITIONS_PER_TREE_MAX,
    GENERATIONS_MAX,
    REGISTRATIONS_PER_MINUTE_MAX,
    RUNS_PER_TREE_MAX,
)

EPHEMERAL: Final = "agent."
PROMOTED: Final = "promoted."
REFUSALS: Final = (
    "denied", "promotion_unsupported", "invalid_def", "namespace", "unresolvable_name",
    "depth_exceeded", "quota_exceeded", "rate_limited",
)  # fmt: skip

_MINUTE_MS: Final = 60_000
_SCOPE = re.compile(r"\A(agent\.[^.]+|promoted)\.(?=[^.]+\Z)")


class Refusal(Struct, frozen=True):
    """Why not; ``kind`` is one of ``REFUSALS``."""

    kind: str
    message: str


# -- who may ---------------------------------------------------------------------------------------


class Policy(Struct, frozen=True):
    """The workflows whose steps may use the control plane, and which of these may promote definitions."""

    grant: tuple[str, ...] = ()
    promote: tuple[str, ...] = ()

    def granting(self, workflow: str, *, promote: bool) -> Policy:
        """The policy that grants one more."""
        return Policy(
            _with(self.grant, workflow), _with(self.promote, workflow) if promote else self.promote
        )

    def revoking(self, workflow: str, *, only_promote: bool) -> Policy:
        """The policy that grants one less."""
        grant = self.grant if only_promote else tuple(n for n in self.grant if n != workflow)
        return Policy(grant, tuple(n for n in self.promote if n != workflow))


NO_POLICY: Final = Policy()


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(sorted({*names, name}))


def policy_problem(policy: Policy) -> str:
    """What is wrong with a policy; empty when nothing is."""
    for name in (*policy.grant, *policy.promote):
        for problem in name_problems(f"workflow {name!r}", name):
            return str(problem)
    extra = [name for name in policy.promote if name not in policy.grant]
    return f'"{extra[0]}" may promote, but is not granted; grant it, too' if extra else ""


def forbidden(policy: Policy, workflow: str, *, capable: bool, promote: bool) -> Refusal | None:
    """Why a step of a workflow may not ask. ``capable``: it lists the capability."""
    if not capable or workflow not in policy.grant:
        what = f'workflow "{workflow}" may not use the control plane'
        return Refusal("denied", f"{what}; `dagnats policy grant` lets it")
    if promote and not policy.promote:
        return Refusal("promotion_unsupported", "nobody may promote definitions in this deployment")
    if promote and workflow not in policy.promote:
        what = f'workflow "{workflow}" may not promote definitions'
        return Refusal("denied", f"{what}; `dagnats policy grant --promote` lets it")
    return None


# -- names -----------------------------------------------------------------------------------------


def scoped_name(root: str, name: str, *, promote: bool) -> str:
    """Under which name a definition is stored: the handler never chooses the place."""
    return f"{PROMOTED}{name}" if promote else f"{EPHEMERAL}{root}.{name}"


def bare_name(name: str) -> str:
    """A name without the scope that the control plane gave it."""
    return _SCOPE.sub("", name, count=1)


def reserved(name: str) -> bool:
    """Whether only the control plane may register a name."""
    return name.startswith((EPHEMERAL, PROMOTED))


def reserved_problems(name: str) -> Iterator[Problem]:
    """What is wrong with a name that people register."""
    if reserved(name):
        prefix = name.partition(".")[0]
        what = f'names that begin with "{prefix}." belong to the control plane'
        yield Problem("workflow.name", what, "choose another name")


def misnamed(name: str) -> Refusal | None:
    """Why a definition cannot be registered under a name."""
    if ":" in name or "." in name:
        return Refusal("namespace", f'"{name}" has a "." or ":"; the control plane adds the scope')
    for problem in name_problems("name", name):
        return Refusal("namespace", str(problem))
    return None


def foreign(root: str, name: str) -> Refusal | None:
    """Why a tree may not start a workflow of a name: it is another tree's."""
    if name.startswith(EPHEMERAL) and not name.startswith(f"{EPHEMERAL}{root}."):
        return Refusal("namespace", f'"{name}" belongs to the tree of another run')
    return None


# -- how much --------------------------------------------------------------------------------------


class Registration(Struct, frozen=True):
    """A definition was registered: by which request, and when (Unix milliseconds of the log)."""

    request: str
    at_ms: int


class Tree(Struct, frozen=True, omit_defaults=True):
    """What the runs below a root have used up.

    ``definitions`` are the names they registered, ``runs`` those they started that may not have ended,
    ``recent`` the registrations of the last minute.
    """

    definitions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    recent: tuple[Registration, ...] = ()

    @property
    def full(self) -> bool:
        """Whether as many runs are under way as may be."""
        return len(self.runs) >= RUNS_PER_TREE_MAX

    def knows(self, request: str) -> bool:
        """Whether a registration was let pass before."""
        return any(each.request == request for each in self.recent)


def with_definition(tree: Tree, name: str, request: str, at_ms: int) -> Tree | Refusal:
    """The tree with one more registration; one of a known name replaces it."""
    if tree.knows(request):
        return tree
    recent = tuple(each for each in tree.recent if each.at_ms > at_ms - _MINUTE_MS)
    if len(recent) >= REGISTRATIONS_PER_MINUTE_MAX:
        text = f"{REGISTRATIONS_PER_MINUTE_MAX} registrations within a minute; wait, and ask again"
        return Refusal("rate_limited", text)
    known = name in tree.definitions
    if not known and len(tree.definitions) >= DEFINITIONS_PER_TREE_MAX:
        text = f"{DEFINITIONS_PER_TREE_MAX} definitions are registered; use one again by its name"
        return Refusal("quota_exceeded", text)
    return replace(
        tree,
        definitions=tree.definitions if known else (*tree.definitions, name),
        recent=(*recent, Registration(request, at_ms)),
    )


def with_run(tree: Tree, run: str, depth: int) -> Tree | Refusal:
    """The tree with one more run under way; ``depth`` is how deep below the root it is to be."""
    if run in tree.runs:
        return tree
    if depth > GENERATIONS_MAX:
        return Refusal(
            "depth_exceeded", f"runs start runs down to {GENERATIONS_MAX} levels below the root"
        )
    if tree.full:
        text = f"{RUNS_PER_TREE_MAX} runs of this tree are under way; wait for some to end"
        return Refusal("quota_exceeded", text)
    return replace(tree, runs=(*tree.runs, run))


def budget_of(tree: Tree) -> dict[str, int]:
    """What is used up, and of how much."""
    return {
        "active_runs": len(tree.runs),
        "max_active_runs": RUNS_PER_TREE_MAX,
        "registered_defs": len(tree.definitions),
        "max_registered_defs": DEFINITIONS_PER_TREE_MAX,
    }
