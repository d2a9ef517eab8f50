"""The end of a process that does not end: code that blocks the event loop, or takes no cancellation, has no say."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from typing import Final

from dagnats.clock import Clock
from dagnats.worker.lease import place_of

log = logging.getLogger("dagnats.process")

_TICK_S: Final = 0.2


class LastResort:
    """Ends the process, from a thread, once the time that it was given to end by itself is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline_ms = math.inf
        self._main = threading.main_thread().ident or 0
        threading.Thread(target=self._watch, name="dagnats-last-resort", daemon=True).start()

    def within(self, seconds: float) -> None:
        """From now on it has so long, or less if that was said before. Takes no lock: signal handlers call it."""
        self._deadline_ms = min(self._deadline_ms, self._clock.monotonic_ms() + seconds * 1000)

    def _watch(self) -> None:
        tick = threading.Event()
        while self._clock.monotonic_ms() < self._deadline_ms:
            tick.wait(_TICK_S)
        frame = sys._current_frames().get(self._main)  # noqa: SLF001  (there is no public way)
        log.error(
            "the process was told to end and did not in time; it ends without what still runs. It was in %s; what "
            "ran is done by others when its lease is over", place_of(frame),
        )  # fmt: skip
        logging.shutdown()
        os._exit(0)
