"""Looks now and then whether the city's file was replaced; the new version goes to the pipeline as an event."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from gnss.atlas import Atlas, load_atlas
from gnss.watch import AtlasWatch
from perception.events import Reload
from vehicle.live import LiveSource

EVERY_S = 5.0
_log = logging.getLogger(__name__)


class CityWatch:
    """A device of the live source. A version that cannot be used is told once, and the old one stays in force."""

    def __init__(
        self,
        file: Path,
        current: Atlas,
        source: LiveSource,
        every_s: float = EVERY_S,
        open_file: Callable[[Path], Atlas] = load_atlas,
    ) -> None:
        self._watch = AtlasWatch(file, current, open_file)
        self._source = source
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="city", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._watch.refused:
            self._source.counts["city: new version refused"] += self._watch.refused

    def check(self) -> None:
        """RuntimeError when the thread died, which only a bug can cause."""
        if not self._thread.is_alive() and not self._stop.is_set():
            raise RuntimeError("the city's watch ended by an error")

    def _run(self) -> None:
        refused = 0
        while not self._stop.wait(self._every_s):
            fresh = self._watch.poll()
            if fresh is not None:
                self._source.take(Reload(self._source.now_ns(), fresh))
            elif self._watch.refused > refused:
                refused = self._watch.refused
                _log.warning("the new city is not used: %s", self._watch.refusal)
