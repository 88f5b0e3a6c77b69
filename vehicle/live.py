"""The live source: cameras and receiver joined into one stream, stale frames shed and counted, never silently."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from gnss.clock import Clock
from gnss.types import Fix, Motion
from perception.events import Reload
from perception.types import Frame, Shed
from replays.source import Item
from vehicle.cameras import CameraThread

_POLL_S = 0.05


class Source(Protocol):
    """A stream of items, live or recorded: live and replay differ in which one is opened."""

    def __iter__(self) -> Iterator[Item]: ...


class LiveSource:
    """Yields fixes as they come and, per camera, the newest frame; ends when told to, or when every file has ended.

    A frame that a newer one overtakes before the detector is free, or that is older than its camera's `max_age_s`, is
    shed: a `Shed` event takes its place, which the pipeline counts. Stamps are ns since `start_ns`, monotonic.
    `linger_s`: how long fixes are waited for when the last camera has ended: its last frames want one behind them.
    """

    def __init__(self, clock: Clock, start_ns: int, linger_s: float = 0.0) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._start_ns = start_ns
        self._linger_s = linger_s
        self._cameras: list[CameraThread] = []
        self._devices: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._frames: dict[str, Frame] = {}
        self._other: queue.SimpleQueue[Fix | Motion | Shed | Reload] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._stopped = False

    def add_camera(self, camera: CameraThread) -> None:
        """Own a camera thread made with `take_frame`."""
        self._cameras.append(camera)

    def add_device(self, stop: Callable[[], None], check: Callable[[], None]) -> None:
        """Own another thread that brings items. At the end they are stopped, the newest first.

        `stop` waits for it and may bring the last items; `check` raises when it died.
        """
        self._devices.append((stop, check))

    def take_frame(self, frame: Frame) -> None:
        """Called by camera threads: newest wins."""
        with self._lock:
            old = self._frames.get(frame.camera)
            self._frames[frame.camera] = frame
        if old is not None:
            self._shed(old, "overtaken by a newer frame")
        self._ready.set()

    def now_ns(self) -> int:
        """The stamp of this moment."""
        return self._clock.monotonic_ns() - self._start_ns

    def take(self, event: Fix | Motion | Reload) -> None:
        """Called by the threads of receiver, odometry and the city's watch."""
        self._other.put(event)
        self._ready.set()

    def stop(self) -> None:
        """End the stream within `_POLL_S`; takes no lock, so that a signal handler may call it at any moment."""
        self._stopped = True

    def __iter__(self) -> Iterator[Item]:
        try:
            for camera in self._cameras:
                camera.start()
            yield from self._until_stopped()
        finally:
            self.close()
        yield from self._drain()
        for camera in self._cameras:
            self.counts.update({f"camera {camera.row.camera.name}: {k}": v for k, v in camera.counts.items()})

    def close(self) -> None:
        """Stop every device and wait for it; for a source that was never iterated, too."""
        for camera in self._cameras:
            camera.stop()
        for stop, _ in reversed(self._devices):
            stop()

    def _until_stopped(self) -> Iterator[Item]:
        end_ns: int | None = None
        while not self._stopped:
            yield from self._drain()
            for camera in self._cameras:
                if camera.error is not None:
                    raise camera.error
            for _, check in self._devices:
                check()
            if self._cameras and all(c.ended.is_set() for c in self._cameras) and not self._frames:
                now_ns = self._clock.monotonic_ns()
                end_ns = now_ns + int(self._linger_s * 1e9) if end_ns is None else end_ns
                if now_ns >= end_ns:
                    return
            self._ready.wait(_POLL_S)
            self._ready.clear()

    def _drain(self) -> Iterator[Item]:
        while True:
            while not self._other.empty():
                yield self._other.get()
            with self._lock:
                ready = sorted(self._frames.values(), key=lambda f: (f.stamp_ns, f.camera))
                frame = ready[0] if ready else None
                if frame is not None:
                    del self._frames[frame.camera]
            if frame is None:
                return
            age_s = (self._clock.monotonic_ns() - self._start_ns - frame.stamp_ns) * 1e-9
            limit_s = next((c.row.max_age_s for c in self._cameras if c.row.camera.name == frame.camera), 0.5)
            if age_s > limit_s:
                self._shed(frame, "too old")
            else:
                yield frame

    def _shed(self, frame: Frame, reason: str) -> None:
        self._other.put(Shed(frame.stamp_ns, frame.camera, frame.index, reason))
        self._ready.set()
