"""The source and the detector in threads of their own, a few frames ahead of redaction, pipeline and store."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from gnss.clock import stopwatch
from perception.detector import Detector
from perception.network import NetworkFault
from perception.types import Frame, Shed
from replays.source import Item, RecordedFrame
from vehicle.stages import Stages

FRAMES_AHEAD = 2
"""Frames looked at but not yet handled, beside those in work: enough to keep the network busy, 6 MB at 1280x720."""

_ITEMS_AHEAD = 1000

_Looked = tuple[RecordedFrame | Shed, float]
_Entry = Item | Future[_Looked] | BaseException | None


class LookAhead:
    """Yields a source's items in their order, every `Frame` looked at; a context manager.

    One thread reads and `at_once` threads detect, so the network works while the consumer handles earlier frames. Order
    and content are those of doing all in turn: only the time differs. What either raises reaches the consumer; a frame
    to which the network gives no usable answer becomes a `Shed` that says why.
    """

    def __init__(self, source: Iterable[Item], detector: Detector, stages: Stages, at_once: int = 1) -> None:
        self._source = source
        self._detector = detector
        self._stages = stages
        self._entries: queue.Queue[_Entry] = queue.Queue(_ITEMS_AHEAD)
        self._room = threading.Semaphore(FRAMES_AHEAD + at_once)
        self._stop = threading.Event()
        self._eyes = ThreadPoolExecutor(at_once, thread_name_prefix="look")
        self._thread = threading.Thread(target=self._run, name="look ahead", daemon=True)

    def __enter__(self) -> LookAhead:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End the threads, also in the middle of the source."""
        self._stop.set()
        stop = getattr(self._source, "stop", None)
        if callable(stop):
            # Iterating a live source may wait for devices, so ending it early needs a word.
            stop()
        while self._thread.is_alive():
            self._room.release()
            try:
                self._entries.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)
        self._eyes.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Item]:
        while True:
            entry = self._entries.get()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            if isinstance(entry, Future):
                frame, seconds = entry.result()
                self._stages.add("detect", seconds)
                yield frame
                self._room.release()
            else:
                yield entry

    def _run(self) -> None:
        last: BaseException | None = None
        iterator = iter(self._source)
        try:
            while not self._stop.is_set():
                with self._stages.measure("read"):
                    item = next(iterator, None)
                if item is None:
                    break
                if isinstance(item, Frame):
                    self._room.acquire()
                    self._entries.put(self._eyes.submit(self._look, item))
                else:
                    self._entries.put(item)
        except BaseException as error:  # handed over whole: the consumer raises it
            last = error
        if isinstance(iterator, Generator):
            iterator.close()
        self._entries.put(last)

    def _look(self, frame: Frame) -> _Looked:
        elapsed = stopwatch()
        found: RecordedFrame | Shed
        try:
            found = RecordedFrame(frame, self._detector.detect(frame), model=self._detector.card.sha256)
        except NetworkFault as fault:
            # Not looked at: with no boxes instead, it would be proof that nothing is there, and a picture unredacted.
            found = Shed(frame.stamp_ns, frame.camera, frame.index, str(fault))
        return found, elapsed()
