"""Calls that do not fit are refused before anything is sent, with what was meant."""

from __future__ import annotations

import pytest

from dagnats import App
from dagnats.client import Client
from dagnats.errors import InvalidInput
from dagnats.ids import checked_run_id
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World

app = App("calls")


@app.task
async def pick(theme: str, count: int = 1) -> str:
    """Take a theme."""
    return theme * count


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {"thme": "x"}, "pick takes theme, count, and no thme=; did you mean theme=?"),
        (("x",), {"zz": 1}, "pick takes theme, count, and no zz="),
        ((), {}, "pick takes theme, count: missing a required argument: 'theme'"),
        (("x", 1, 2), {}, "pick takes theme, count: too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit(args, kwargs, told):
    """A misspelt name is named, not the parameter that it leaves empty."""
    with pytest.raises(InvalidInput) as caught:
        pick.signature.bind(args, kwargs)

    assert caught.value.message == told


@pytest.mark.parametrize("run_id", [5, None, b"a", "", "a b"])
def test_what_is_no_run_id_is_refused_as_such(run_id):
    """Whatever its type."""
    with pytest.raises(InvalidInput, match="cannot be a run id"):
        checked_run_id(run_id)


async def test_a_time_to_wait_is_a_number():
    """Durations in words are for decorators; a wait says so before it asks anybody."""
    with pytest.raises(InvalidInput, match="a number of seconds"):
        await Client(Memory(World(VirtualClock()))).wait_closed("a", "30s")
