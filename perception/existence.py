"""Does it exist, and was its place really looked at? Bernoulli existence, one look per approach, persistence by class.

Formulas: geolocation.md 3.3 and 8H. Frames of one approach are correlated, so they make groups of `group_s`, and a whole
approach never counts for more than `most_pass_pd`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame, ellipse95
from gnss.types import Array
from perception.camera import CameraModel
from perception.catalogue import ObjectClass
from perception.types import Observation, View

FLOOR, CEILING = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class ExistenceParams:
    """Tuning of existence and of clear looks."""

    birth: float = 0.25
    group_s: float = 0.4
    most_group_ratio: float = 6.0
    correlated_groups: float = 2.0
    group_pd: float = 0.6
    most_pass_pd: float = 0.95
    false_pass: float = 0.05
    open_at: float = 0.95
    resolve_at: float = 0.02
    least_height_px: float = 20.0
    least_flat_px: float = 7.0
    farthest_m: float = 25.0
    farthest_flat_m: float = 12.0
    least_sharpness: float = 15.0


def clipped(probability: float) -> float:
    """Existence is never certain: [0.001, 0.999]."""
    return min(max(probability, FLOOR), CEILING)


def track_existence(observations: Sequence[Observation], threshold: float, params: ExistenceParams) -> float:
    """Probability that a track is a real thing of its class, from its own boxes.

    Each group of frames counts once, by its mean confidence relative to the class's case threshold (the point where a box is as likely
    right as wrong), damped because groups of one approach share the same mistake.
    """
    groups: dict[int, list[float]] = {}
    for o in observations:
        groups.setdefault(int((o.stamp_ns - observations[0].stamp_ns) * 1e-9 / params.group_s), []).append(o.confidence)
    logit_at = math.log(max(threshold, 0.02) / max(1.0 - threshold, 0.02))
    total = math.log(params.birth / (1.0 - params.birth))
    gains = []
    for values in groups.values():
        best = min(max(sum(values) / len(values), 0.01), 0.99)
        gains.append(max(-1.0, min(math.log(best / (1.0 - best)) - logit_at + 1.0, math.log(params.most_group_ratio))))
    total += sum(gains) / math.sqrt(max(1.0, len(gains) / params.correlated_groups))
    return clipped(1.0 / (1.0 + math.exp(-total)))


def survived(existence: float, shape: ObjectClass, elapsed_s: float) -> float:
    """Existence after `elapsed_s` without a look: exponential survival with the class's mean life."""
    return clipped(existence * math.exp(-max(elapsed_s, 0.0) / (shape.survival_h * 3600.0)))


def after_hit(existence: float, landmark_existence: float) -> float:
    """Combine with a detection of another approach: odds multiply by the track's own likelihood ratio over its birth odds."""
    odds = existence / (1 - existence) * max(landmark_existence / (1 - landmark_existence), 1.0)
    return clipped(odds / (1 + odds))


def after_miss(existence: float, pass_pd: float, params: ExistenceParams) -> float:
    """r(1-pD) / (1 - r pD) for a clear look that did not find it, with the false-alarm rate of a pass in the denominator."""
    kept = existence * (1.0 - pass_pd)
    return clipped(kept / (kept + (1.0 - existence) * (1.0 - params.false_pass)))


def _in_view(
    view: View,
    camera: CameraModel,
    place: tuple[float, float],
    sigma_m: float,
    shape: ObjectClass,
    params: ExistenceParams,
) -> bool:
    """Is the object's place, with its uncertainty, near, whole in the picture, sharp and not hidden by a nearer box?"""
    frame = LocalFrame(view.pose.lat_deg, view.pose.lon_deg)
    east, north = frame.to_enu(*place)
    yaw = math.radians(90.0 - view.pose.heading_deg)
    forward = math.cos(yaw) * east + math.sin(yaw) * north
    left = math.cos(yaw) * north - math.sin(yaw) * east
    farthest = params.farthest_flat_m if shape.flat else params.farthest_m
    if not 2.0 < forward or math.hypot(forward, left) > farthest:
        return False
    if view.sharpness is not None and view.sharpness < params.least_sharpness:
        return False
    half = max(shape.size_m[0], shape.size_m[1]) / 2
    reach = half + sigma_m
    ring = [(dx, dy) for dx in (-reach, reach) for dy in (-reach, reach)]
    points = np.array([(forward + dx, left + dy, z) for dx, dy in ring for z in (0.0, shape.size_m[2])])
    pixels, depth = camera.project(points)
    if (depth < 1.0).any() or (pixels < 2).any() or (pixels > (view.width - 3, view.height - 3)).any():
        return False
    core = np.array(
        [(forward + dx, left + dy, z) for dx in (-half, half) for dy in (-half, half) for z in (0.0, shape.size_m[2])]
    )
    inner, _ = camera.project(core)
    box = np.concatenate([inner.min(axis=0), inner.max(axis=0)])
    if box[3] - box[1] < (params.least_flat_px if shape.flat else params.least_height_px):
        return False
    return not _hidden(box, view.boxes.xyxy.astype(np.float64), float(pixels[:, 1].max()))


def _hidden(box: Array, boxes: Array, base_px: float) -> bool:
    """Does a box whose foot is nearer than the place cover more than a tenth of `box` (xyxy)?"""
    for other in boxes:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        tall = min(box[3], other[3]) - max(box[1], other[1])
        if wide > 0 and tall > 0 and other[3] >= base_px - 2.0:
            if wide * tall > 0.1 * max((box[2] - box[0]) * (box[3] - box[1]), 1.0):
                return True
    return False


def clear_look(
    place: tuple[float, float],
    cov_m2: Array,
    shape: ObjectClass,
    views: Sequence[View],
    cameras: Mapping[str, CameraModel],
    params: ExistenceParams,
) -> tuple[float, int]:
    """Detection probability that this pass would have had of an object at `place` (lat, lon), and the stamp of its last clear view.

    0.0 when no view was clear: then nothing may be concluded. `cov_m2` (2, 2) widens what must be in view.
    """
    sigma = ellipse95(cov_m2)[0]
    groups: set[int] = set()
    last = 0
    for view in views:
        if _in_view(view, cameras[view.camera], place, sigma, shape, params):
            groups.add(int(view.stamp_ns * 1e-9 / params.group_s))
            last = max(last, view.stamp_ns)
    if not groups:
        return 0.0, 0
    return min(1.0 - (1.0 - params.group_pd) ** len(groups), params.most_pass_pd), last
