"""Live cameras: one thread each, stamped at the grab, newest frame wins."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from gnss.clock import Clock
from perception.errors import SetupError
from perception.types import Frame
from vehicle.config import CameraSource

_REOPEN_S = 1.0
_MOST_REOPEN_S = 30.0


def open_capture(source: str) -> cv2.VideoCapture:
    """A V4L2 index ("0"), an RTSP address or a video file."""
    return cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source)


class CameraThread:
    """Grabs frames and hands them to `deliver`. A camera that fails is opened again with growing pauses, and counted.

    A file is played in real time by `stamps_s` (seconds of each frame from its start; default: its own frame rate),
    and ends. `counts` holds frames, lost connections and wrong sizes.
    """

    def __init__(
        self,
        row: CameraSource,
        clock: Clock,
        start_ns: int,
        deliver: Callable[[Frame], None],
        stamps_s: Sequence[float] | None = None,
    ) -> None:
        """Open the camera; raises SetupError when it cannot be opened at all."""
        self.row = row
        self.counts: Counter[str] = Counter()
        self.ended = threading.Event()
        self._clock = clock
        self._start_ns = start_ns
        self._deliver = deliver
        self._stamps_s = stamps_s
        self._stop = threading.Event()
        self._is_file = not row.source.isdigit() and "://" not in row.source
        if self._is_file and not Path(row.source).exists():
            raise SetupError(
                f"camera {row.camera.name}: no such video", file=row.source, remedy="give a path that exists"
            )
        self._capture = open_capture(row.source)
        if not self._capture.isOpened():
            raise SetupError(
                f"camera {row.camera.name}: {row.source} cannot be opened", remedy="check the index, address or file"
            )
        self._thread = threading.Thread(target=self._loop, name=f"camera-{row.camera.name}", daemon=True)

    def start(self) -> None:
        """Begin grabbing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._stop.set()
        self._thread.join()
        self._capture.release()

    def _loop(self) -> None:
        index, pause_s = 0, _REOPEN_S
        while not self._stop.is_set():
            if self._is_file:
                due_s = self._due_s(index)
                wait_s = due_s - (self._clock.monotonic_ns() - self._start_ns) * 1e-9
                if wait_s > 0 and self._stop.wait(wait_s):
                    break
            grabbed = self._capture.grab()
            # The stamp is the grab's, not the decoder's: decoding takes milliseconds that the car keeps moving.
            stamp_ns = self._clock.monotonic_ns() - self._start_ns
            done, image = self._capture.retrieve() if grabbed else (False, None)
            if not done or image is None:
                if self._is_file:
                    break
                self.counts["connection lost"] += 1
                if self._stop.wait(pause_s):
                    break
                pause_s = min(2 * pause_s, _MOST_REOPEN_S)
                self._capture.release()
                self._capture = open_capture(self.row.source)
                continue
            pause_s = _REOPEN_S
            camera = self.row.camera
            if image.shape[:2] != (camera.height, camera.width):
                self.counts[f"frame of {image.shape[1]}x{image.shape[0]}, not {camera.width}x{camera.height}"] += 1
                index += 1
                continue
            self.counts["frames"] += 1
            self._deliver(Frame(stamp_ns, camera.name, index, np.asarray(image, np.uint8)))
            index += 1
        self.ended.set()

    def _due_s(self, index: int) -> float:
        if self._stamps_s is not None:
            return self._stamps_s[index] if index < len(self._stamps_s) else 0.0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        return index / (rate if rate > 0 else 25.0)
