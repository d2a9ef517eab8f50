"""Threads that handlers leave behind: counted, and named by the code that they are in."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from typing import Final

from dagnats.limits import THREADS_LEFT_MANY
from dagnats.worker.lease import place_of

log = logging.getLogger("dagnats.worker")

OURS: Final = ("dagnats-", "asyncio_")  # the worker's, and those of the event loop's own pool


def others() -> list[threading.Thread]:
    """The threads that user code has started."""
    main = threading.main_thread()
    return [t for t in threading.enumerate() if t is not main and not t.name.startswith(OURS)]


class ThreadWatch:
    """``left`` threads of handlers run now, most of them in ``place``; told when they are many, and twice as many."""

    def __init__(self) -> None:
        self.left = 0
        self.place = ""
        self._tell_at = THREADS_LEFT_MANY

    def look(self) -> None:
        """Count them."""
        threads = others()
        self.left, self.place = len(threads), ""
        if self.left < THREADS_LEFT_MANY:
            self._tell_at = THREADS_LEFT_MANY
            return
        frames = sys._current_frames()  # noqa: SLF001  (there is no public way)
        places = Counter(place_of(frames.get(thread.ident or 0)) for thread in threads)
        self.place, count = places.most_common(1)[0]
        if self.left >= self._tell_at:
            self._tell_at = 2 * self.left
            text = '%d threads that handlers have started still run, %d of them in %s; end them, or isolate="process"'
            log.warning(text, self.left, count, self.place)
