"""A process's connection to its world: what it waits with, what it left there, whether it holds."""

from __future__ import annotations

from collections.abc import Callable

from dagnats.errors import BrokerUnavailable
from dagnats.memory.waiting import AtOnce, Waiter
from dagnats.memory.world import World


class Link:
    """Every port goes through here to its world, so that cutting the link cuts them all."""

    def __init__(self, world: World, name: str, waiter: Waiter | None) -> None:
        self._world = world
        self._cut = ""
        self._ends: dict[int, Callable[[], None]] = {}
        self.name = name
        self.waiter: Waiter = waiter or AtOnce()
        world.courier.wakers.append(self.waiter.wake)

    @property
    def world(self) -> World:
        """The world, while the link holds.

        Raises:
            BrokerUnavailable: the process crashed or closed.
        """
        if self._cut:
            raise BrokerUnavailable(
                f"process {self.name!r} {self._cut} and reaches nothing: open another Memory"
            )
        return self._world

    @property
    def up(self) -> bool:
        """Whether it holds."""
        return not self._cut

    def until_cut(self, end: Callable[[], None]) -> Callable[[], None]:
        """Have something ended with the link at the latest; returns what ends it earlier."""
        key = self.world.listeners.number()
        self._ends[key] = end

        def now() -> None:
            if self._ends.pop(key, None):
                end()

        return now

    def cut(self, how: str) -> None:
        """The server forgets the process: its listeners and requests, not what it held."""
        if self._cut:
            return
        self._cut = how
        for end in self._ends.values():
            end()
        self._ends.clear()
        self._world.courier.wakers.remove(self.waiter.wake)
        self.waiter.wake()
