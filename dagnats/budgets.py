"""Budgets as users write them, and as handlers see them: ``Budget(usd=2, tokens=200_000)``, ``ctx.budget``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagnats.core import budgets as core
from dagnats.core.durations import Duration
from dagnats.core.model import Budget as Bounds
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.limits import BUDGET_SOFT_DEFAULT
from dagnats.options import milliseconds, whole_number


class Budget:
    """What a run or an agent loop may use: ``Budget(usd=2, tokens=200_000, wall="20m")``.

    What is left out has no bound.

    Args:
        usd: US dollars, as handlers report them.
        tokens: Those that go in and those that come out, together.
        wall: Time, from the beginning of the run or the loop, whatever it does.
        iterations: Of agent loops.
        soft: From this part of any of them on, handlers are warned (``ctx.budget.low``); default: 0.8.

    Raises:
        DefinitionError.
    """

    __slots__ = ("bounds",)

    def __init__(
        self, *, usd: float = 0, tokens: int = 0, wall: Duration | None = None, iterations: int = 0,
        soft: float = BUDGET_SOFT_DEFAULT,
    ) -> None:  # fmt: skip
        self.bounds = Bounds(
            usd_nano=core.nano_of(_number("Budget: usd", usd)),
            tokens=whole_number("Budget: tokens", tokens),
            wall_ms=milliseconds("Budget: wall", wall),
            iterations=whole_number("Budget: iterations", iterations),
            soft=_number("Budget: soft", soft),
        )
        for problem in core.budget_problems("Budget", self.bounds):
            raise DefinitionError(str(problem))

    def __repr__(self) -> str:
        said = core.write_budget(self.bounds)
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
    return given.bounds


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
