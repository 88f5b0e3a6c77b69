"""Redaction: heads and plate zones are filled in the array, before any encode. No redactor, no picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes
from perception.card import ModelCard, PrivacyClasses
from perception.hold import Look, held_boxes
from perception.types import Detections, Frame, Image, PictureOnDemand, Redacted, Seen, Zones
from perception.zones import head_zones, plate_zones, rider_zones, to_pixels

SHARPNESS_WIDTH_PX = 320
COLOUR_STEP = 16


@dataclass(slots=True)
class _Camera:
    """What is held of one camera: frames that wait for their successors, and the looks around them."""

    waiting: deque[Frame]
    looks: deque[tuple[int, Detections]]


@dataclass(slots=True)
class Redactor:
    """Turns frames with their detections into `Seen`, `hold_frames` frames late, per camera.

    A picture covers the boxes of its own frame and of up to `hold_frames` before and after it (not more than `hold_s`
    away: slower sequences are other views), because a detector misses a face in one frame that it finds in the next.
    Frames of one camera must come in order of their stamps; ValueError otherwise.
    """

    card: ModelCard
    hold_frames: int = 3
    hold_s: float = 1.0
    _cameras: dict[str, _Camera] = field(default_factory=dict)

    @property
    def notice(self) -> str | None:
        """Loud text for the start when this card cannot protect people and plates; None when it can."""
        if self.card.privacy_classes.complete:
            return None
        return (
            f"NO PICTURES WILL BE WRITTEN: {self.card.file} offers no person and vehicle classes to redact. "
            "Name them under [privacy] in the model card; cases are filed without evidence until then."
        )

    def push(self, frame: Frame, detections: Detections) -> list[Seen]:
        """Take a frame with all its boxes above the privacy threshold; give the frame that now has its successors."""
        camera = self._cameras.setdefault(frame.camera, _Camera(deque(), deque(maxlen=2 * self.hold_frames + 1)))
        if camera.looks and frame.stamp_ns <= camera.looks[-1][0]:
            raise ValueError(f"{frame.camera}: frame {frame.index} at {frame.stamp_ns} ns is not after the one before")
        camera.waiting.append(frame)
        camera.looks.append((frame.stamp_ns, detections))
        return [self._release(camera)] if len(camera.waiting) > self.hold_frames else []

    def overdue(self, before_ns: int) -> list[Seen]:
        """Give the frames stamped before `before_ns` although successors are missing: the camera is slow or silent.

        Called with a stamp at least `hold_s` in the past, it takes no neighbour from any picture.
        """
        late = [
            self._release(camera)
            for camera in self._cameras.values()
            for waiting in list(camera.waiting)
            if waiting.stamp_ns < before_ns
        ]
        return sorted(late, key=lambda seen: (seen.stamp_ns, seen.camera))

    def flush(self) -> list[Seen]:
        """Give the frames that still wait, in order of stamp and camera: the source has ended."""
        left = [self._release(camera) for camera in self._cameras.values() for _ in range(len(camera.waiting))]
        self._cameras.clear()
        return sorted(left, key=lambda seen: (seen.stamp_ns, seen.camera))

    def _release(self, camera: _Camera) -> Seen:
        frame = camera.waiting.popleft()
        own = len(camera.looks) - 1 - len(camera.waiting)
        detections = camera.looks[own][1]
        height, width = frame.image.shape[:2]
        sharpness, exposure = quality(frame.image)
        picture = None
        if self.card.privacy_classes.complete:
            first = max(own - self.hold_frames, 0)
            near = [look for look in list(camera.looks)[first:] if abs(look[0] - frame.stamp_ns) <= self.hold_s * 1e9]
            what = (frame, tuple(near), self.card.privacy_classes)
            picture = PictureOnDemand(partial(redact, *what), partial(zones_of, *what))
        return Seen(
            frame.stamp_ns, frame.camera, frame.index, width, height, detections, sharpness, exposure, picture
        )  # fmt: skip


def zones_of(frame: Frame, looks: Sequence[tuple[int, Detections]], classes: PrivacyClasses) -> Zones:
    """Heads and plate zones of a frame; `looks` are (stamp_ns, detections) of it and its neighbours in order."""
    height, width = frame.image.shape[:2]
    bounds = to_pixels(_zones(frame.stamp_ns, looks, classes), width, height)
    return tuple((int(x1), int(y1), int(x2), int(y2)) for x1, y1, x2, y2 in bounds)


def redact(frame: Frame, looks: Sequence[tuple[int, Detections]], classes: PrivacyClasses) -> Redacted:
    """A copy of the frame with its zones filled.

    Each zone takes one colour, its mean rounded to steps of 16, so a red car stays red and nothing of the pattern is
    left.
    """
    image, zones = frame.image.copy(), zones_of(frame, looks, classes)
    for x1, y1, x2, y2 in zones:
        mean = np.array(cv2.mean(frame.image[y1:y2, x1:x2])[:3])
        image[y1:y2, x1:x2] = np.clip(np.round(mean / COLOUR_STEP) * COLOUR_STEP, 0, 255).astype(np.uint8)
    image.setflags(write=False)
    return Redacted(image, len(zones), zones)


def quality(image: Image) -> tuple[float, float]:
    """Sharpness (variance of the Laplacian of the grey picture at 320 px width) and exposure (mean grey, 0..1)."""
    height, width = image.shape[:2]
    # Grey first: one channel to shrink costs half of three.
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if width > SHARPNESS_WIDTH_PX:
        size = (SHARPNESS_WIDTH_PX, max(round(height * SHARPNESS_WIDTH_PX / width), 1))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2, float(cv2.mean(grey)[0]) / 255.0


def _zones(stamp_ns: int, looks: Sequence[tuple[int, Detections]], classes: PrivacyClasses) -> Boxes:
    at = [stamp for stamp, _ in looks].index(stamp_ns)
    groups = ((classes.person, head_zones), (classes.wide, plate_zones), (classes.narrow, rider_zones))
    zones = []
    for names, hide in groups:
        boxes, margin = held_boxes([Look(stamp, _boxes_of(found, names)) for stamp, found in looks], at)
        zones.append(hide(boxes, margin))
    return np.concatenate(zones)


def _boxes_of(detections: Detections, names: frozenset[str]) -> Boxes:
    chosen: NDArray[np.bool_] = np.isin(np.array(detections.names(), dtype=str), sorted(names))
    return detections.xyxy[chosen]
