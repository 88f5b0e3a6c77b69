"""A made-up drive as events, for recordings: frames with redacted pictures at 10/s, motion at 10/s, fixes at 1/s."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from gnss.types import Fix, FixQuality, Motion
from perception.camera import CameraModel
from perception.events import Event
from perception.types import CalibrationUpdate, Detections, KnownObjects, PictureOnDemand, Redacted, Seen, Shed
from replays.recording.head import Head
from replays.recording.recorder import McapRecorder
from replays.recording.shelf import Target

UTC_NS = 1_780_000_000_000_000_000
CAMERA = CameraModel(
    "front", 64, 48, 50.0, 50.1, 31.5, 23.5, (0.01, -0.02, 0.0, 0.001), "pinhole", 1.5, 0.1, 1.4, -2.0, 3.0, 0.5
)
STEP_NS = 100_000_000


def picture(index: int) -> Redacted:
    """A picture whose colour tells its index."""
    image = np.full((48, 64, 3), (index * 7 % 256, index * 3 % 256, 90), np.uint8)
    return Redacted(image, 1, ((index, 2, index + 9, 12),))


def seen(index: int, *, pictures: bool = True) -> Seen:
    """A frame with one box, or none every fifth; numbers are rounded as a recording rounds."""
    boxes = int(index % 5 != 0)
    xyxy = np.array([[1.25, 2.5, 30.01, 40.99]] * boxes, np.float32).reshape(-1, 4)
    look = np.array([[0.1234, 0.5]] * boxes, np.float32).reshape(-1, 2)
    found = Detections(xyxy, np.full(boxes, 0.4321, np.float32), np.zeros(boxes, np.int32), ("car",), look)
    shown = PictureOnDemand(partial(picture, index), lambda: picture(index).zones) if pictures else None
    return Seen(index * STEP_NS, "front", index, 64, 48, found, 12.3456, 0.5, shown)


def fix(second: int) -> Fix:
    """One fix with awkward numbers."""
    lat, lon = 30.1 + second * 1e-5 / 3, 120.1 + 1e-13
    return Fix(second * 10**9, UTC_NS + second * 10**9, lat, lon, 4.1, 0.7, 1 / 3, 9.9, 1.0, FixQuality(5), 12, 0.8)


def drive(seconds: float, *, pictures: bool = True, first: int = 0) -> Iterator[Event]:
    """The events in order; `first`: index of the first frame."""
    if first == 0:
        yield KnownObjects(0, (1, 2))
        yield CalibrationUpdate(0, "front", 0.1, 0.2, 0.3, 0.4)
    for index in range(first, first + round(seconds * 10)):
        if index % 10 == 0:
            yield fix(index // 10)
        yield Motion(index * STEP_NS, 1 / 7 + index, None if index % 3 else -0.5)
        if index % 17 == 3:
            yield Shed(index * STEP_NS, "front", index, "too old")
        else:
            yield seen(index, pictures=pictures)


def head(name: str = "monday", **more: object) -> Head:
    """The head of a recording by car-1."""
    return Head(name, "car-1", {"front": CAMERA}, "a note", (0.5, -0.25, 1.75), **more)  # type: ignore[arg-type]


def record(target: Target, seconds: float, *, pictures: bool = True, first: int = 0) -> Path:
    """Record the drive; returns what the recorder calls the recording."""
    with McapRecorder(target, head(), pictures=pictures) as recorder:
        for event in drive(seconds, first=first):
            recorder.tap(event)
        done = recorder.close()
    assert done is not None
    return done
