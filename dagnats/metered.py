"""What a handler has used, and may still use: ``ctx.report_usage(…)``, ``ctx.budget``."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from dagnats.answer import Answer
from dagnats.core import budgets as core
from dagnats.core.amounts import nano_of, usd_of
from dagnats.core.budgets import Allowance
from dagnats.core.events import UsageReported
from dagnats.core.model import NOTHING_USED, Usage
from dagnats.durable import OperationDoors, Operations
from dagnats.errors import BudgetExceeded, InvalidInput
from dagnats.limits import NAME_LENGTH_MAX, USAGE_TOKENS_MAX, USAGE_USD_MAX
from dagnats.wire.messages import TaskMessage


class BudgetLeft:
    """What a handler may still use; ``None`` where nothing bounds it. What it has reported itself is taken off.

    ``usd`` are US dollars, ``tokens`` those in and out, ``wall`` seconds, ``iterations`` of agent loops, this one
    included. ``low``: more than the soft part of something is used. ``exceeded``: more than all of it.
    """

    __slots__ = ("exceeded", "iterations", "low", "tokens", "usd", "wall")

    def __init__(self, allowances: Sequence[Allowance], used: Usage, now_ms: float) -> None:
        self.usd: float | None = None
        self.tokens: int | None = None
        self.wall: float | None = None
        self.iterations: int | None = None
        self.low = self.exceeded = False
        for allowance in allowances:
            self._take(allowance, allowance.used + used, now_ms)

    def _take(self, allowance: Allowance, used: Usage, now_ms: float) -> None:
        bounds = allowance.budget
        if bounds.usd_nano:
            left = usd_of(bounds.usd_nano - used.usd_nano)
            self.usd = left if self.usd is None else min(self.usd, left)
        if bounds.tokens:
            most = bounds.tokens - used.tokens
            self.tokens = most if self.tokens is None else min(self.tokens, most)
        if bounds.iterations:
            most = bounds.iterations - used.iterations
            self.iterations = most if self.iterations is None else min(self.iterations, most)
        if allowance.until_ms:
            seconds = (allowance.until_ms - now_ms) / 1_000
            self.wall = seconds if self.wall is None else min(self.wall, seconds)
        self.low = self.low or core.low(allowance, used, now_ms)
        if not allowance.hint:
            self.exceeded = self.exceeded or bool(core.exceeded(bounds, used))

    def __repr__(self) -> str:
        names = ("usd", "tokens", "wall", "iterations")
        known = [(name, getattr(self, name)) for name in names]
        said = [f"{name}={value!r}" for name, value in known if value is not None]
        return f"<budget left: {', '.join(said) or 'no bounds'}>"


class MeteredDoors(OperationDoors, Protocol):
    """Where reports go."""

    async def report_usage(self, message: TaskMessage, fact: UsageReported) -> None:
        """Store, after those that came before."""
        ...


class Reports:
    """What one execution of a handler uses: its reports, numbered, and stored in order."""

    def __init__(self, message: TaskMessage, door: MeteredDoors) -> None:
        self._message = message
        self._door = door
        self._numbers = itertools.count()
        self._turn = asyncio.Lock()
        self.used = NOTHING_USED

    def left(self, now_ms: float) -> BudgetLeft:
        """What may still be used."""
        return BudgetLeft(self._message.budgets, self.used, now_ms)

    def fact(
        self, *, input_tokens: int, output_tokens: int, usd: float, model: str
    ) -> UsageReported:
        """The next report.

        Raises:
            InvalidInput: what was used is no amount.
        """
        fact = UsageReported(
            ticket=self._message.ticket,
            nonce=self._message.nonce,
            n=next(self._numbers),
            model=_model(model),
            input_tokens=_tokens("input_tokens", input_tokens),
            output_tokens=_tokens("output_tokens", output_tokens),
            usd_nano=_usd(usd),
        )
        self.used += Usage(
            reports=1,
            input_tokens=fact.input_tokens,
            output_tokens=fact.output_tokens,
            usd_nano=fact.usd_nano,
        )
        return fact

    async def store(self, fact: UsageReported, *, over: bool) -> None:
        """Have a report stored; ``over``: the budget had been exceeded before it."""
        async with self._turn:
            await self._door.report_usage(self._message, fact)
        if over:
            run = self._message.run
            raise BudgetExceeded(
                f"the budget of run {run} is used up; return what there is", run_id=run
            )


def _tokens(name: str, given: int) -> int:
    whole = isinstance(given, int) and not isinstance(given, bool)
    if not whole or not 0 <= given <= USAGE_TOKENS_MAX:
        raise InvalidInput(
            f"report_usage({name}={given!r}): give a whole number from 0 to {USAGE_TOKENS_MAX}"
        )
    return given


def _usd(given: float) -> int:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not 0 <= given <= USAGE_USD_MAX:
        raise InvalidInput(
            f"report_usage(usd={given!r}): give US dollars, from 0 to {USAGE_USD_MAX}"
        )
    return nano_of(given)


def _model(given: str) -> str:
    if not isinstance(given, str) or len(given) > NAME_LENGTH_MAX:
        raise InvalidInput(
            f"report_usage(model={given!r:.50}): give a name of at most {NAME_LENGTH_MAX} letters"
        )
    return given


class Metered(Operations):
    """The part of a context that counts."""

    def __init__(
        self, message: TaskMessage, doors: MeteredDoors, now_ms: Callable[[], float]
    ) -> None:
        super().__init__(message, doors)
        self._reports = Reports(message, doors)
        self._now_ms = now_ms
        self._warned = False

    @property
    def budget(self) -> BudgetLeft:
        """What may still be used: ``ctx.budget.tokens``, ``.usd``, ``.wall``; ``None`` where there is no bound.

        As it was when this execution was handed out, less what it has reported itself since.
        """
        return self._reports.left(self._now_ms())

    def report_usage(
        self, *, input_tokens: int = 0, output_tokens: int = 0, usd: float = 0, model: str = ""
    ) -> Answer[None]:
        """Say what a call of a model, or anything else, has cost: counted once, even when this ticket runs twice.

        It is on its way when this returns.

        Raises:
            BudgetExceeded: when awaited: the budget had been exceeded before this report. Return what there is:
                the run ends, and can go on from there.
            InvalidInput: what was used is no amount.
        """
        over = self.budget.exceeded
        fact = self._reports.fact(
            input_tokens=input_tokens, output_tokens=output_tokens, usd=usd, model=model
        )
        left = self.budget
        if left.exceeded or (left.low and not self._warned):
            self._warned = True
            self.log.warning("the budget is %s: %r", "used up" if left.exceeded else "low", left)
        return self._start(self._reports.store(fact, over=over))
