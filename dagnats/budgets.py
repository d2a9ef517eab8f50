"""Budgets as users write them, and as handlers see them: ``Budget(usd=2, tokens=200_000)``, ``ctx.budget``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from dagnats.core import budgets as core
from dagnats.core.amounts import nano_of
from dagnats.core.durations import Duration
from dagnats.core.limiting import limit_problems, write_limits
from dagnats.core.model import SHARED_BUDGETS, Limit
from dagnats.core.model import Budget as Bounds
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.limits import BUDGET_SOFT_DEFAULT
from dagnats.options import milliseconds, path_option, whole_number


class Budget:
    """What a run or an agent loop may use: ``Budget(usd=2, tokens=200_000, wall="20m")``.

    What is left out has no bound. With ``per`` or ``key`` it is what the runs of a workflow may use together:
    ``Budget(usd=100, per="1d", key="input.tenant")`` is $100 a day for each tenant.

    Args:
        usd: US dollars, as handlers report them.
        tokens: Those that go in and those that come out, together.
        wall: Time, from the beginning of the run or the loop, whatever it does.
        iterations: Of agent loops.
        soft: From this part of any of them on, handlers are warned (``ctx.budget.low``); default: 0.8.
        per: Of a budget that runs share, the period; days begin at midnight, UTC. Default: ever, until it is raised.
        key: Of a budget that runs share, a path into the input: it holds for each value there. Default: for all.
        on_limit: Of a budget that runs share, whether runs ``"wait"`` for more (the default), or are refused
            (``"refuse"``).

    Raises:
        DefinitionError.
    """

    __slots__ = ("bounds", "limits")

    def __init__(
        self, *, usd: float = 0, tokens: int = 0, wall: Duration | None = None, iterations: int = 0,
        soft: float = BUDGET_SOFT_DEFAULT, per: Duration | None = None, key: str = "",
        on_limit: Literal["wait", "refuse"] = "wait",
    ) -> None:  # fmt: skip
        self.bounds = Bounds(
            usd_nano=nano_of(_number("Budget: usd", usd)),
            tokens=whole_number("Budget: tokens", tokens),
            wall_ms=milliseconds("Budget: wall", wall),
            iterations=whole_number("Budget: iterations", iterations),
            soft=_number("Budget: soft", soft),
        )
        for problem in core.budget_problems("Budget", self.bounds):
            raise DefinitionError(str(problem))
        self.limits = self._shared(per, key, on_limit)

    def _shared(
        self, per: Duration | None, key: str, on_limit: Literal["wait", "refuse"]
    ) -> tuple[Limit, ...]:
        """The limits of a budget that runs share; none for one that they do not."""
        if per is None and not key:
            if on_limit != "wait":
                raise DefinitionError(
                    "Budget: on_limit is for a budget that runs share; give per or key"
                )
            return ()
        if self.bounds.wall_ms or self.bounds.iterations:
            text = "Budget: runs share usd and tokens; wall and iterations are each run's own (without per and key)"
            raise DefinitionError(text)
        amounts = {"usd": self.bounds.usd_nano, "tokens": self.bounds.tokens}
        limits = tuple(
            Limit(
                kind=kind, limit=amounts[kind], key=path_option("Budget: key", key), soft=self.bounds.soft,
                period_ms=milliseconds("Budget: per", per), mode=on_limit,
            )
            for kind in SHARED_BUDGETS if amounts[kind]
        )  # fmt: skip
        for problem in limit_problems("Budget", limits, of_runs=True):
            raise DefinitionError(str(problem))
        return limits

    def __repr__(self) -> str:
        said = core.write_budget(self.bounds)
        for limit in self.limits[:1]:
            written = write_limits([limit])[0]
            said |= {
                name: written[name] for name in ("period", "key", "on_limit") if name in written
            }
        return f"Budget({', '.join(f'{name}={value!r}' for name, value in said.items())})"


def _number(where: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise DefinitionError(f"{where}={given!r}; give a number")
    return given


def bounds_of(where: str, given: object) -> Bounds | None:
    """What ``budget=`` was given.

    Raises:
        DefinitionError: it is no ``Budget``.
    """
    if given is None:
        return None
    if not isinstance(given, Budget):
        raise DefinitionError(f"{where}: budget={given!r}; write Budget(usd=2, tokens=200_000)")
    if given.limits:
        raise DefinitionError(
            f"{where}: budget={given!r}: only the runs of a workflow can share one"
        )
    return given.bounds


def run_budgets(where: str, given: object) -> tuple[Bounds | None, tuple[Limit, ...]]:
    """What ``budget=`` of a workflow was given: of each run, and what runs share. One, or several.

    Raises:
        DefinitionError: it is no ``Budget``, or several are of each run.
    """
    several = cast("Sequence[object]", given) if isinstance(given, list | tuple) else [given]
    own: Bounds | None = None
    limits: list[Limit] = []
    for each in several:
        if isinstance(each, Budget) and each.limits:
            limits += each.limits
        elif own is not None:
            raise DefinitionError(
                f"{where}: budget={given!r}: two are of each run; give one of them per= or key=, or keep one"
            )
        else:
            own = bounds_of(where, each)
    return own, tuple(limits)


def more_of(usd: float, tokens: int, wall: Duration | None, iterations: int) -> Bounds:
    """What is to be added to a budget.

    Raises:
        InvalidInput: nothing is, or it is no amount.
    """
    if not (usd or tokens or wall or iterations):
        raise InvalidInput("how much more? give usd, tokens, wall or iterations")
    try:
        more = Budget(usd=usd, tokens=tokens, wall=wall, iterations=iterations)
    except DefinitionError as error:
        raise InvalidInput(error.message.replace("Budget", "more budget", 1)) from error
    return more.bounds


def parsed(text: str) -> Budget:
    """A budget from the command line: ``usd=2,tokens=200000,wall=20m``.

    Raises:
        InvalidInput.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in core.BUDGET_KEYS or not value:
            known = ", ".join(core.BUDGET_KEYS)
            raise InvalidInput(
                f'budget {text!r}: write for example "usd=2,tokens=200000" ({known})'
            )
        given[name] = value
    kinds: dict[str, Callable[[str], Any]] = {
        "tokens": int, "iterations": int, "usd": float, "soft": float, "wall": str,
    }  # fmt: skip
    read: dict[str, Any] = {}
    for name, value in given.items():
        try:
            read[name] = kinds[name](value)
        except ValueError:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise InvalidInput(f"budget {text!r}: {name} takes {kind}, not {value!r}") from None
    try:
        return Budget(**read)
    except DefinitionError as error:
        raise InvalidInput(f"budget {text!r}: {error}") from error
