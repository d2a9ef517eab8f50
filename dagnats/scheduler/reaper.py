"""Removing what trees of runs registered for themselves, once they have ended and a grace is over.

Only names go: a definition's content stays for the histories that pin it. Everything may be done twice.
"""

from __future__ import annotations

import logging

from dagnats.core.control import EPHEMERAL, Tree
from dagnats.limits import REAPED_PER_PASS_MAX
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.scheduler.control import Trees

log = logging.getLogger("dagnats.scheduler")


async def reap(
    outside: Outside,
    registry: Registry,
    grace_ms: int,
    now_ms: int,
    most: int = REAPED_PER_PASS_MAX,
) -> int:
    """Look at every tree once, and remove at most so many names; return how many were removed."""
    trees = Trees(outside)
    removed = 0
    for root, tree in (await trees.roots()).items():
        if removed >= most:
            break
        if not await _over(trees, root, tree, now_ms - grace_ms):
            continue
        names = [name for name in tree.definitions if name.startswith(EPHEMERAL)]
        for name in names:
            if removed >= most:
                break
            removed += await registry.forget(name)
        else:
            await trees.forget(root)
    if removed:
        log.info("%d definitions of ended runs were removed", removed)
    return removed


async def _over(trees: Trees, root: str, tree: Tree, before_ms: int) -> bool:
    """Whether a root ended before a time, and every run that was started below it has ended, too."""
    latest = await trees.latest([root, *tree.runs])
    return all(each.ended_ms for each in latest.values()) and latest[root].ended_ms <= before_ms
