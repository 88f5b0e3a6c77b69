"""Live cameras: one thread each, stamped at the grab. A video file is played in real time as if it were one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from gnss.clock import Clock
from perception.errors import SetupError
from perception.types import Frame
from vehicle.config import CameraSource

_REOPEN_S = 1.0
_MOST_REOPEN_S = 30.0
_NETWORK_WAIT_MS = 5000
_PLAYED_FPS = 25.0


def is_device(source: str) -> bool:
    """A V4L2 index or node, or a stream's address; else it is a file to play."""
    return source.isdigit() or "://" in source or Path(source).is_char_device()


def open_capture(source: str) -> cv2.VideoCapture:
    """A V4L2 index ("0") or node ("/dev/video0"), an RTSP address or a video file."""
    if source.isdigit():
        return cv2.VideoCapture(int(source))
    if "://" in source:
        waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_WAIT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_WAIT_MS]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, waits)
    return cv2.VideoCapture(source)


class CameraThread:
    """Grabs frames and hands them to `deliver`. A camera that fails is opened again with growing pauses, and counted.

    `played` are frames in order, each handed over when its stamp (ns from `start_ns`) has come, for a file in place of
    a device; such a camera ends. `counts`: frames, lost connections, wrong sizes; `error`: what ended the thread.
    """

    def __init__(
        self,
        row: CameraSource,
        clock: Clock,
        start_ns: int,
        deliver: Callable[[Frame], None],
        played: Iterator[Frame] | None = None,
    ) -> None:
        """Open the camera; raises SetupError when it cannot be opened at all."""
        self.row = row
        self.counts: Counter[str] = Counter()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._clock = clock
        self._start_ns = start_ns
        self._deliver = deliver
        self._stop = threading.Event()
        self._played = played
        self._capture: cv2.VideoCapture | None = None
        if played is None:
            self._capture = self._open()
            if not is_device(row.source):
                self._played = self._frames_of(self._capture)
        self._thread = threading.Thread(target=self._run, name=f"camera {row.camera.name}", daemon=True)

    def start(self) -> None:
        """Begin grabbing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._capture is not None:
            self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        name, source = self.row.camera.name, self.row.source
        if not is_device(source) and not Path(source).is_file():
            raise SetupError(f"camera {name}: no such video", file=source, remedy="give a path that exists")
        capture = open_capture(source)
        if not capture.isOpened():
            raise SetupError(f"camera {name} cannot be opened", file=source, remedy="check the index, address or file")
        return capture

    def _run(self) -> None:
        try:
            if self._played is not None:
                self._play(self._played)
            elif self._capture is not None:
                self._grab(self._capture)
        except BaseException as error:  # handed over whole: the source raises it where the run can end by it
            self.error = error
        self.ended.set()

    def _play(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            wait_s = (frame.stamp_ns - self._now_ns()) * 1e-9
            if (wait_s > 0 and self._stop.wait(wait_s)) or self._stop.is_set():
                return
            self._take(frame.stamp_ns, frame.index, frame.image)

    def _frames_of(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """A video file's frames at its own rate, from the first moment on."""
        rate = capture.get(cv2.CAP_PROP_FPS)
        period_ns, index = 1e9 / (rate if rate > 0 else _PLAYED_FPS), 0
        while True:
            done, image = capture.read()
            if not done:
                return
            yield Frame(round(index * period_ns), self.row.camera.name, index, np.asarray(image, np.uint8))
            index += 1

    def _grab(self, capture: cv2.VideoCapture) -> None:
        index, pause_s = 0, _REOPEN_S
        while not self._stop.is_set():
            grabbed = capture.grab()
            # The stamp is the grab's, not the decoder's: decoding takes milliseconds that the car keeps moving.
            stamp_ns = self._now_ns()
            done, image = capture.retrieve() if grabbed else (False, None)
            if done and image is not None:
                pause_s = _REOPEN_S
                self._take(stamp_ns, index, np.asarray(image, np.uint8))
                index += 1
                continue
            self.counts["connection lost"] += 1
            if self._stop.wait(pause_s):
                return
            pause_s = min(2 * pause_s, _MOST_REOPEN_S)
            capture.release()
            capture = self._capture = open_capture(self.row.source)

    def _take(self, stamp_ns: int, index: int, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        camera = self.row.camera
        if image.shape[:2] != (camera.height, camera.width):
            self.counts[f"frame of {image.shape[1]}x{image.shape[0]}, not {camera.width}x{camera.height}"] += 1
            return
        self.counts["frames"] += 1
        self._deliver(Frame(stamp_ns, camera.name, index, image))

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns() - self._start_ns
