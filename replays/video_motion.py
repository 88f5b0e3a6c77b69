"""How a camera turned and moved, seen in its pictures alone: what a track can be aligned with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gnss.types import Array
from perception.types import Image

WIDTH_PX = 240
_UPPER = 0.55
"""The turn is read off the upper part: far things, which do not move as the car moves on."""
_BAND_PX = 20.0
FEATURES = 200


@dataclass(frozen=True, slots=True, eq=False)
class SeenMotion:
    """Between pictures, at `stamp_s` (N,): turn to the left in rad/s, and how fast things flow apart, in 1/s.

    The flow grows with speed and is next to nothing while the car stands; its scale is unknown.
    """

    stamp_s: Array
    turn_rps: Array
    flow: Array


def seen_motion(frames: Iterable[tuple[float, Image]], fx_share: float) -> SeenMotion:
    """Motion between successive pictures (stamp in s, BGR) of a camera whose focal length is `fx_share` x its width."""
    stamps: list[float] = []
    turns: list[float] = []
    flows: list[float] = []
    before: tuple[float, NDArray[np.uint8]] | None = None
    for stamp_s, image in frames:
        scale = WIDTH_PX / image.shape[1]
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = np.asarray(
            cv2.resize(grey, (WIDTH_PX, round(image.shape[0] * scale)), interpolation=cv2.INTER_AREA), np.uint8
        )
        if before is not None and stamp_s > before[0]:
            step = stamp_s - before[0]
            shift, spread = _shift(before[1], small)
            stamps.append((stamp_s + before[0]) / 2)
            # Things move right when the camera turns left.
            turns.append(shift / (fx_share * WIDTH_PX) / step)
            flows.append(spread / WIDTH_PX / step)
        before = (stamp_s, small)
    return SeenMotion(np.array(stamps), np.array(turns), np.array(flows))


def _shift(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[float, float]:
    """Median shift to the right of the upper part, and the median length of all motion beside it, in px."""
    points = cv2.goodFeaturesToTrack(one, FEATURES, 0.01, 5)
    if points is None or len(points) < 8:
        return 0.0, 0.0
    moved, good, _ = cv2.calcOpticalFlowPyrLK(one, other, points, np.zeros_like(points), winSize=(15, 15), maxLevel=3)
    kept = good.reshape(-1) == 1
    start, motion = points.reshape(-1, 2)[kept], (moved - points).reshape(-1, 2)[kept]
    if len(start) < 8:
        return 0.0, 0.0
    upper = start[:, 1] < _UPPER * one.shape[0]
    far = motion[upper] if upper.sum() >= 8 else motion
    shift = float(np.median(far[:, 0]))
    rest = motion - np.median(far, axis=0)
    return shift, float(np.median(np.hypot(rest[:, 0], rest[:, 1])))
