"""Options of decorators and calls: known ones by keyword, unknown ones refused with a guess."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from dagnats.core.durations import Duration, to_ms
from dagnats.core.model import CONTROL_PLANE, RetryPolicy
from dagnats.errors import DefinitionError, UnknownOption
from dagnats.outcome import Retry


def refuse_unknown(what: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options that are not known.

    Raises:
        UnknownOption: naming the first, and what was probably meant.
    """
    for name in given:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}=?" if close else f"options: {', '.join(names)}"
        raise UnknownOption(f"{what}: unknown option {name}=; {hint}")


def milliseconds(what: str, value: Duration | None) -> int:
    """A duration option in milliseconds; 0 for none.

    Raises:
        DefinitionError: it is no duration, or zero.
    """
    if value is None:
        return 0
    try:
        found = to_ms(value)
    except ValueError as error:
        raise DefinitionError(f"{what}: {error}") from error
    if found == 0:
        raise DefinitionError(f"{what}: 0 would never do; leave it out for no limit")
    return found


def whole_number(what: str, value: Any, *, least: int = 0) -> int:
    """An option that counts.

    Raises:
        DefinitionError: it is no whole number, or a smaller one.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DefinitionError(f"{what}={value!r}; give a whole number, at least {least}")
    return value


def path_option(what: str, given: object) -> str:
    """A path into the input: ``"input.tenant"``; the first word may be left out.

    Raises:
        DefinitionError: it is no path.
    """
    path = given.removeprefix("input.") if isinstance(given, str) else ""
    if not isinstance(given, str) or (given and not path):
        raise DefinitionError(f'{what}={given!r}; write a path into the input: "input.tenant"')
    return path


def policy_of(value: Any, where: str) -> RetryPolicy:
    """A retry option: a ``Retry``, or a number of executions.

    Raises:
        DefinitionError: it is neither.
    """
    if isinstance(value, Retry):
        return value.policy
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value).policy
    raise DefinitionError(
        f"{where}: retry= takes Retry(…) or a number of executions, not {value!r}"
    )


def isolation_of(value: Any, where: str) -> bool:
    """The isolate option: whether a handler runs in a process of its own.

    Raises:
        DefinitionError: it is something else than ``"process"``.
    """
    if value in (None, ""):
        return False
    if value != "process":
        raise DefinitionError(
            f'{where}: isolate={value!r}; write isolate="process", or leave it out'
        )
    return True


def capabilities_of(value: Any, where: str) -> tuple[str, ...]:
    """The capabilities option: a list of names, which are checked with the whole definition.

    Raises:
        DefinitionError: it is none.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise DefinitionError(
            f'{where}: capabilities={value!r}; write capabilities=["{CONTROL_PLANE}"]'
        )
    return tuple(str(name) for name in value)


def texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Metadata, or headers: strings by name."""
    return {str(name): str(value) for name, value in dict(given).items()}
