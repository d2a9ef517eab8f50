"""Events that a trigger holds back: debounced, or collected into batches; one group for each value of its key.

``Held`` is changed in place, for a copy would cost as much as it holds; it has no clock and no chance. ``dues`` is a
heap with one entry that counts for each group, which may be too early: a group whose time has moved on is put back
when its entry comes up. So an event costs the logarithm of the number of groups.
"""

from __future__ import annotations

import heapq
from typing import Final

from msgspec import Raw, Struct

from dagnats.core.inputs import NULL
from dagnats.core.triggers.model import Batch, Debounce, Fire, Hold
from dagnats.limits import (
    BATCH_SIZE_MAX_BYTES,
    DEBOUNCE_HOLD_MAX_MS,
    GATE_KEY_LENGTH_MAX,
    HELD_KEYS_MAX,
    HELD_LET_GO_MAX,
    HELD_SIZE_MAX_BYTES,
)

_SPARE: Final = 64  # entries of the heap that count no more, before it is built anew


class Group(Struct, omit_defaults=True):
    """The events of one key that wait together: all of a batch, or the last one.

    ``seq`` is the fact of the last one, ``count`` how many have come, ``size`` their bytes as a list. ``due_ms`` is
    when they are let go, ``wake_ms`` which entry of the heap counts.
    """

    key: str
    listed: bool
    first_ms: int
    events: list[Raw] = []
    last_ms: int = 0
    seq: int = 0
    kind: str = ""
    count: int = 0
    size: int = 0
    due_ms: int = 0
    wake_ms: int = 0

    def fire(self, note: str = "") -> Fire:
        """What starts their run. No other group has the same last fact, so the fire has a key of its own."""
        data = self.events[-1]
        if self.listed:
            data = Raw(b"[" + b",".join(bytes(each) for each in self.events) + b"]")
        return Fire(
            key=f"held-{self.seq}", kind=self.kind, at_ms=self.last_ms, data=data,
            events=self.count, group=self.key, note=note,
        )  # fmt: skip


class Held(Struct, omit_defaults=True):
    """All groups of a trigger. ``armed_ms`` is the timer (0: none), ``now_ms`` the log's time, which never goes back.

    ``kept`` and ``size`` are how many events are in memory, and how many bytes.
    """

    now_ms: int = 0
    armed_ms: int = 0
    kept: int = 0
    size: int = 0
    groups: dict[str, Group] = {}
    dues: list[tuple[int, str]] = []

    @property
    def events(self) -> int:
        """How many events have come that have not started a run yet."""
        return sum(group.count for group in self.groups.values())

    def pass_to(self, at_ms: int) -> None:
        """Time has passed."""
        self.now_ms = max(self.now_ms, at_ms)

    def add(self, hold: Hold, fire: Fire, size: int, seq: int) -> list[Fire]:
        """One more event, which the fact ``seq`` brought: what starts now, because there is enough, or too much."""
        let_go: list[Fire] = []
        group = self.groups.get(fire.group)
        if group is not None and isinstance(hold, Batch) and _full(group, hold, size):
            let_go.append(self._let_go(fire.group))
            group = None
        if group is None:
            group = Group(fire.group, isinstance(hold, Batch), self.now_ms)
            self.groups[fire.group] = group
        data = fire.data or NULL
        if not group.listed:
            self._forget(group)
        group.events.append(data)
        self.kept += 1
        self.size += len(bytes(data))
        group.size += size + 1
        group.last_ms, group.seq, group.kind = self.now_ms, seq, fire.kind
        group.count += 1
        if isinstance(hold, Batch) and len(group.events) >= hold.max_size:
            return [*let_go, self._let_go(fire.group)]
        self._plan(fire.group, group, _due_ms(group, hold))
        if len(self.groups) > HELD_KEYS_MAX:
            let_go.append(self._first_early(f"let go early: {HELD_KEYS_MAX} keys are held"))
        while self.size > HELD_SIZE_MAX_BYTES:
            let_go.append(self._first_early(f"let go early: {HELD_SIZE_MAX_BYTES} bytes are held"))
        return let_go

    def due(self) -> list[Fire]:
        """What is to start by now; at most so much at once."""
        let_go: list[Fire] = []
        while len(let_go) < HELD_LET_GO_MAX:
            name = self._first()
            if name is None or self.groups[name].due_ms > self.now_ms:
                break
            let_go.append(self._let_go(name))
        return let_go

    def arm(self) -> int:
        """When the timer is to be armed, if it is not early enough as it is; otherwise 0."""
        name = self._first()
        if name is None:
            return 0
        due_ms = self.groups[name].due_ms
        if self.armed_ms and self.armed_ms <= due_ms:
            return 0
        self.armed_ms = due_ms
        return due_ms

    def keep_by(self, hold: Hold) -> None:
        """Other terms count from now on, for what is held too."""
        for name, group in self.groups.items():
            if name == group.key:
                self._plan(name, group, _due_ms(group, hold))

    def seal(self, seq: int) -> None:
        """Nothing is added to what is held, and its time has come; the fact ``seq`` says so."""
        # Longer than any key: no event can have such a one.
        self.groups = {
            name if name != group.key else f"{seq}:{name:{GATE_KEY_LENGTH_MAX}}": group
            for name, group in self.groups.items()
        }
        for group in self.groups.values():
            group.due_ms = min(group.due_ms, self.now_ms)
        self.rebuild()

    # -- the heap ----------------------------------------------------------------------------------

    def _plan(self, name: str, group: Group, due_ms: int) -> None:
        group.due_ms = due_ms
        if group.wake_ms and group.wake_ms <= due_ms:
            return  # it is looked at then, and put back
        group.wake_ms = due_ms
        heapq.heappush(self.dues, (due_ms, name))
        if len(self.dues) > 2 * len(self.groups) + _SPARE:
            self.rebuild()

    def rebuild(self) -> None:
        """Make the heap anew: one entry for each group."""
        for group in self.groups.values():
            group.wake_ms = group.due_ms
        self.dues = [(group.due_ms, name) for name, group in self.groups.items()]
        heapq.heapify(self.dues)

    def _first(self) -> str | None:
        """The group that is due first."""
        while self.dues:
            wake_ms, name = self.dues[0]
            group = self.groups.get(name)
            if group is None or group.wake_ms != wake_ms:
                heapq.heappop(self.dues)
            elif group.due_ms > wake_ms:
                group.wake_ms = group.due_ms
                heapq.heapreplace(self.dues, (group.due_ms, name))
            else:
                return name
        return None

    def _first_early(self, note: str) -> Fire:
        name = self._first()
        assert name is not None  # noqa: S101  (each group has an entry that counts)
        return self._let_go(name, note)

    def _let_go(self, name: str, note: str = "") -> Fire:
        group = self.groups.pop(name)
        fire = group.fire(note)
        self._forget(group)
        return fire

    def _forget(self, group: Group) -> None:
        self.kept -= len(group.events)
        self.size -= sum(len(bytes(each)) for each in group.events)
        group.events, group.size = [], 0


def _full(group: Group, hold: Batch, size: int) -> bool:
    """Whether one more event is too much for a batch."""
    if len(group.events) >= hold.max_size:
        return True  # it was larger before
    return bool(group.events) and group.size + size + 2 > BATCH_SIZE_MAX_BYTES


def _due_ms(group: Group, hold: Hold) -> int:
    if isinstance(hold, Debounce):
        longest_ms = hold.timeout_ms or DEBOUNCE_HOLD_MAX_MS
        return min(group.last_ms + hold.period_ms, group.first_ms + longest_ms)
    return group.first_ms + hold.timeout_ms
