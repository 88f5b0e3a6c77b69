"""A second look at the road ahead in its own resolution: potholes and covers are a third of their size once resized.

Strips of the picture, as wide as the network's input and not resized, are laid on one another until they fill it, so
that one more run sees the road ahead over the picture's width. What it finds of flat things joins the boxes of the
whole frame; everything else is left to those, because a strip cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes, iou, letterbox
from perception.camera import CameraModel
from perception.card import ModelCard
from perception.catalogue import Catalogue
from perception.decode import Decoded
from perception.detector import OnnxDetector
from perception.types import Detections, Frame, Image

_NATIVE = 0.95
"""A network that sees the whole frame at this share of its size gains nothing from a second look."""


@dataclass(frozen=True, slots=True)
class SecondLookParams:
    """Which frames are looked at twice, and where. `every`: frames whose index it divides; 0: none, 1: all.

    `budget_ms`: in the car, skip it while both looks together would take longer; 0: no limit. A replay has none.
    `overlap`: share of a strip's width that its neighbour sees too. `same_iou`: boxes of the two looks that overlap
    more are of one thing.
    """

    every: int = 0
    budget_ms: float = 0.0
    near_m: float = 7.0
    far_m: float = 40.0
    overlap: float = 0.1
    most_runs: int = 1
    same_iou: float = 0.3
    edge_px: float = 2.0


@dataclass(frozen=True, slots=True)
class Strip:
    """A rectangle x1, y1, x2, y2 of the frame that lies at (`left`, `top`) of input number `run`, not resized."""

    x1: int
    y1: int
    x2: int
    y2: int
    run: int
    left: int
    top: int


def road_rows(camera: CameraModel, near_m: float, far_m: float) -> tuple[int, int]:
    """First and last row + 1 of the frame between the road `far_m` and `near_m` before the camera; (0, 0): not seen."""
    along = camera.vehicle_from_optical[:, 2][:2]
    length = float(np.hypot(*along))
    if length < 0.3:  # it looks down or up: there is no road ahead in it
        return 0, 0
    ground = np.array([[*(camera.position_m[:2] + along / length * d), 0.0] for d in (far_m, near_m)])
    pixels, depth = camera.project(ground)
    if (depth <= 0).any():
        return 0, 0
    top, bottom = (int(np.clip(round(float(row)), 0, camera.height)) for row in pixels[:, 1])
    return (top, bottom) if bottom > top else (0, 0)


def strips_of(camera: CameraModel, input_wh: tuple[int, int], params: SecondLookParams) -> tuple[Strip, ...]:
    """Strips that cover the road ahead in at most `most_runs` inputs, about the picture's middle; may be none."""
    top, bottom = road_rows(camera, params.near_m, params.far_m)
    across, down = input_wh
    height = min(bottom - top, down)
    if height <= 0 or min(across / camera.width, down / camera.height) >= _NATIVE:
        return ()
    # The far edge stays; what is lost below is near, and large enough for the whole frame's look.
    rows = max(round(down / height), 1)
    height = min(down // rows, camera.height - top)
    width, step = min(across, camera.width), max(round(across * (1.0 - params.overlap)), 1)
    count = min(rows * params.most_runs, 1 + max(0, -(-(camera.width - width) // step)))
    first = max(0, (camera.width - width - step * (count - 1)) // 2)
    lefts = [min(first + step * n, camera.width - width) for n in range(count)]
    return tuple(Strip(x, top, x + width, top + height, n // rows, 0, (n % rows) * height) for n, x in enumerate(lefts))


def whole_in(strip: Strip, boxes: Boxes, frame_wh: tuple[int, int], edge_px: float) -> NDArray[np.bool_]:
    """Which boxes (N, 4) in frame px the strip does not cut, (N,): an edge of the picture itself cuts nothing more."""
    low = np.array([strip.x1, strip.y1]), boxes[:, :2]
    high = np.array([strip.x2, strip.y2]), boxes[:, 2:]
    inside = (low[1] > low[0] + edge_px) | ((low[0] <= 0) & (low[1] >= low[0] - edge_px))
    at_rim = high[0] >= np.array(frame_wh)
    inside &= (high[1] < high[0] - edge_px) | (at_rim & (high[1] <= high[0] + edge_px))
    return np.asarray(inside.all(axis=1), np.bool_)


class SecondLook:
    """A detector that looks at some frames twice; several threads may share it. `cameras` are those of the drive.

    `stopwatch` (the car's, never a replay's) makes `budget_ms` count.
    """

    def __init__(
        self,
        detector: OnnxDetector,
        cameras: Mapping[str, CameraModel],
        catalogue: Catalogue,
        params: SecondLookParams,
        stopwatch: Callable[[], Callable[[], float]] | None = None,
    ) -> None:
        self.card: ModelCard = detector.card
        self._detector = detector
        self._params = params
        self._stopwatch = stopwatch if params.budget_ms > 0 else None
        self._cost_ms = [0.0, 0.0]
        names = detector.card.class_names
        self._flat = np.array([n in catalogue.classes and catalogue.classes[n].flat for n in names], np.bool_)
        self._strips = {n: strips_of(c, self.card.input_wh, params) for n, c in cameras.items()}
        self._sizes = {n: (c.width, c.height) for n, c in cameras.items()}

    def detect(self, frame: Frame) -> Detections:
        """Boxes of the frame, with those of the second look where it is this frame's turn."""
        strips = self._strips.get(frame.camera, ())
        size = (frame.image.shape[1], frame.image.shape[0])
        turn = self._params.every > 0 and frame.index % self._params.every == 0
        if not (turn and strips and size == self._sizes[frame.camera] and self._flat.any()):
            return self._detector.detect(frame)
        elapsed = None if self._stopwatch is None else self._stopwatch()
        found = self._detector.whole(frame.image)
        if elapsed is not None:
            self._note(0, elapsed())
            if sum(self._cost_ms) > self._params.budget_ms:
                self._cost_ms[1] *= 0.98  # so that it is tried again some time
                return self._detector.finish(found, frame.image)
        found = self.merged(found, self._band(frame.image, strips))
        if elapsed is not None:
            self._note(1, elapsed() - self._cost_ms[0] * 1e-3)
        return self._detector.finish(found, frame.image)

    def _note(self, nth: int, seconds: float) -> None:
        old = self._cost_ms[nth]
        self._cost_ms[nth] = 1e3 * seconds if old == 0.0 else 0.9 * old + 0.1 * 1e3 * seconds

    def _band(self, image: Image, strips: Sequence[Strip]) -> Decoded:
        """Flat things in the strips, frame px; each network run takes the strips that fit into one input."""
        detector, (width, height) = self._detector, self.card.input_wh
        plain = letterbox((width, height), (width, height), "top_left")
        parts: list[Decoded] = []
        for run in range(max(s.run for s in strips) + 1):
            canvas = np.full((height, width, 3), self.card.pad_value, np.uint8)
            mine = [s for s in strips if s.run == run]
            for s in mine:
                canvas[s.top : s.top + s.y2 - s.y1, s.left : s.left + s.x2 - s.x1] = image[s.y1 : s.y2, s.x1 : s.x2]
            found = detector.boxes(detector.run(detector.planes(canvas)), plain)
            parts += [self._taken(s, found, (image.shape[1], image.shape[0])) for s in mine]
        return Decoded(*(np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(3)))

    def _taken(self, strip: Strip, found: Decoded, frame_wh: tuple[int, int]) -> Decoded:
        """What of an input's boxes lies whole in a strip and is flat."""
        boxes = found.xyxy + np.array([strip.x1 - strip.left, strip.y1 - strip.top] * 2, np.float32)
        kept = self._flat[found.class_id] & whole_in(strip, boxes, frame_wh, self._params.edge_px)
        return Decoded(boxes[kept].astype(np.float32), found.confidence[kept], found.class_id[kept])

    def merged(self, whole: Decoded, band: Decoded) -> Decoded:
        """Both looks' boxes; of two of one class that overlap by `same_iou`, the more confident stays.

        The limit is lower than that of the network's own suppression: two looks place a small thing apart.
        """
        both = Decoded(*(np.concatenate((np.asarray(a), np.asarray(b))) for a, b in zip(whole, band, strict=True)))
        source = np.repeat([0, 1], [len(whole.xyxy), len(band.xyxy)])
        order = np.argsort(-both.confidence, kind="stable")
        kept: list[int] = []
        for i in order.tolist():
            rivals = [j for j in kept if both.class_id[j] == both.class_id[i] and (source[j] or source[i])]
            if not rivals or iou(both.xyxy[i : i + 1], both.xyxy[rivals]).max() <= self._params.same_iou:
                kept.append(i)
        return Decoded(both.xyxy[kept], both.confidence[kept], both.class_id[kept])
