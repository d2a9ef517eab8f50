"""What decorators with options give, for type checkers: the types of a task are those of its function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from dagnats.context import AgentContext, Context
from dagnats.outcome import Continue
from dagnats.task import Task

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


class TaskDecorator(Protocol):
    """What ``@app.task(…)`` gives: the types of a task are those of its function, without the context."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context[Any], P], Awaitable[R]], /
    ) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[Context[Any], P], R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class LoopDecorator(Protocol):
    """What ``@app.agent_loop(…)`` gives: the result is what the function returns besides ``Continue``."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[AgentContext[C], P], Awaitable[R | Continue[C]]], /
    ) -> Task[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[AgentContext[C], P], R | Continue[C]], /
    ) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Awaitable[R | Continue[Any]]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R | Continue[Any]], /) -> Task[P, R]: ...


class PlannerDecorator(Protocol):
    """What ``@app.planner(…)`` gives: the result is that of the plan, whatever it is."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context[Any], P], Any], /
    ) -> Task[P, Any]: ...

    @overload
    def __call__(self, function: Callable[P, Any], /) -> Task[P, Any]: ...
