"""Who should schedule which partition: a fair share each, and as few moves as possible."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct


class Moves(Struct, frozen=True):
    """What one scheduler should do now: partitions to claim and partitions to let go."""

    claim: tuple[int, ...] = ()
    release: tuple[int, ...] = ()


def moves(
    me: str,
    held: AbstractSet[int],
    alive: AbstractSet[str],
    owners: Mapping[int, str],
    partitions: int,
    most: int = 0,
) -> Moves:
    """This scheduler's moves towards an even share.

    ``held`` are the partitions it writes for, ``owners`` what the records say (an empty or missing
    name: nobody), ``alive`` the schedulers that renew their lease, ``most`` its own limit (0: none).
    A partition whose record names this scheduler without being held was held before a lapse: it is
    claimed again like any other.
    """
    everybody = alive | {me}
    share = -(-partitions // len(everybody))
    limit = min(share, most) if most else share
    free = [
        p for p in range(partitions) if p not in held and owners.get(p, "") not in everybody - {me}
    ]
    turn = (
        zlib.crc32(me.encode()) % partitions
    )  # schedulers that start together begin at different places
    free.sort(key=lambda partition: (partition - turn) % partitions)
    surplus = len(held) - limit
    return Moves(
        claim=tuple(free[: max(0, limit - len(held))]),
        release=tuple(sorted(held)[-surplus:]) if surplus > 0 else (),
    )
