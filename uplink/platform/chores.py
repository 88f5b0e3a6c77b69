"""Background work of a platform: merging and webhooks. Of several worker processes each tries; locks decide."""

from __future__ import annotations

import logging
import threading

from uplink.platform.fleet import Merger
from uplink.platform.webhooks import Webhooks

log = logging.getLogger(__name__)


class Chores:
    """One thread; `start` it where the platform serves."""

    def __init__(self, merger: Merger | None, webhooks: Webhooks, every_s: float) -> None:
        self._merger = merger
        self._webhooks = webhooks
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; once."""
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.round()
            except Exception:
                # The intake must not fall with it; the next round tries again, and the log tells.
                log.exception("chores_failed")

    def round(self) -> tuple[int, int]:
        """One round; how many cases were merged away and how many changes delivered."""
        merged = 0 if self._merger is None else self._merger.settle()
        return merged, self._webhooks.deliver()

    def stop(self) -> None:
        """End after the round that is running."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
