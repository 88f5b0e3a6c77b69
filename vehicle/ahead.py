"""The source and the detector in a thread of their own, a few frames ahead of redaction, pipeline and store."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator

from perception.detector import Detector
from perception.types import Frame
from replays.source import Item, RecordedFrame
from vehicle.stages import Stages

FRAMES_AHEAD = 3
"""Frames looked at but not yet handled: enough to keep the network busy, 8 MB at 1280x720."""

_ITEMS_AHEAD = 1000


class LookAhead:
    """Yields a source's items in their order, every `Frame` looked at; a context manager.

    One thread reads and detects, so the network works while the consumer handles earlier frames. Order and content are
    those of doing both in turn: only the time differs. Whatever source or detector raise reaches the consumer.
    """

    def __init__(self, source: Iterable[Item], detector: Detector, stages: Stages) -> None:
        self._source = source
        self._detector = detector
        self._stages = stages
        self._items: queue.Queue[Item | BaseException | None] = queue.Queue(_ITEMS_AHEAD)
        self._room = threading.Semaphore(FRAMES_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look ahead", daemon=True)

    def __enter__(self) -> LookAhead:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End the thread, also in the middle of the source."""
        self._stop.set()
        stop = getattr(self._source, "stop", None)
        if callable(stop):
            # Iterating a live source may wait for devices, so ending it early needs a word.
            stop()
        while self._thread.is_alive():
            self._room.release()
            try:
                self._items.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._items.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, RecordedFrame):
                self._room.release()

    def _run(self) -> None:
        last: BaseException | None = None
        iterator = iter(self._source)
        try:
            while not self._stop.is_set():
                with self._stages.measure("read"):
                    item = next(iterator, None)
                if item is None:
                    break
                self._items.put(self._looked(item) if isinstance(item, Frame) else item)
        except BaseException as error:  # handed over whole: the consumer raises it
            last = error
        if isinstance(iterator, Generator):
            iterator.close()
        self._items.put(last)

    def _looked(self, frame: Frame) -> RecordedFrame:
        self._room.acquire()
        with self._stages.measure("detect"):
            return RecordedFrame(frame, self._detector.detect(frame), model=self._detector.card.sha256)
