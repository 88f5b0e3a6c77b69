"""Does it exist, and was its place really looked at? Bernoulli existence, one look per approach, persistence by class.

Formulas: geolocation.md 3.3 and 8H. Frames of one approach are correlated, so they make groups of `group_s`, and a
whole approach never counts for more than `most_pass_pd`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

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
    correlated_groups: float = 3.0
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

    Each group of frames counts once, by its mean confidence relative to the class's case threshold (the point where a
    box is as likely right as wrong), damped because groups of one approach share the same mistake.
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
    """Combine with a detection of another approach: odds multiply by the track's own, which hold the birth prior."""
    odds = existence / (1 - existence) * max(landmark_existence / (1 - landmark_existence), 1.0)
    return clipped(odds / (1 + odds))


def after_miss(existence: float, pass_pd: float, params: ExistenceParams) -> float:
    """r(1-pD) / (1 - r pD) for a clear look that did not find it, with a pass's false alarms in the denominator."""
    kept = existence * (1.0 - pass_pd)
    return clipped(kept / (kept + (1.0 - existence) * (1.0 - params.false_pass)))


@dataclass(frozen=True, slots=True, eq=False)
class ViewField:
    """The views of a window as arrays (V,) in one local frame, so that most are left out without looking at each."""

    views: tuple[View, ...]
    frame: LocalFrame
    east_m: Array
    north_m: Array
    cos: Array
    sin: Array

    @classmethod
    def of(cls, views: Sequence[View]) -> Self:
        """Collect views, in order of stamp."""
        ordered = tuple(sorted(views, key=lambda v: (v.stamp_ns, v.camera)))
        poses = [v.pose for v in ordered]
        frame = LocalFrame(poses[0].lat_deg, poses[0].lon_deg) if poses else LocalFrame(0.0, 0.0)
        east, north = frame.to_enu(np.array([p.lat_deg for p in poses]), np.array([p.lon_deg for p in poses]))
        yaw = np.radians(90.0 - np.array([p.heading_deg for p in poses]))
        return cls(ordered, frame, east, north, np.cos(yaw), np.sin(yaw))

    def around(self, lat_deg: float, lon_deg: float, farthest_m: float) -> list[tuple[View, float, float]]:
        """Views within `farthest_m` of a place, newest first, with the place forward and left of the vehicle (m)."""
        east, north = self.frame.to_enu(lat_deg, lon_deg)
        de, dn = east - self.east_m, north - self.north_m
        near = np.flatnonzero(np.hypot(de, dn) <= farthest_m)[::-1]
        forward, left = self.cos * de + self.sin * dn, self.cos * dn - self.sin * de
        return [(self.views[i], float(forward[i]), float(left[i])) for i in near]


def _in_view(
    view: View,
    camera: CameraModel,
    forward: float,
    left: float,
    sigma_m: float,
    shape: ObjectClass,
    params: ExistenceParams,
) -> bool:
    """Is the object's place, with its uncertainty, whole in the picture, sharp and not hidden by a nearer box?"""
    if view.sharpness is not None and view.sharpness < params.least_sharpness:
        return False
    half = max(shape.size_m[0], shape.size_m[1]) / 2
    reach = half + sigma_m
    corners = [(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (0.0, shape.size_m[2])]
    offsets = [(x * r, y * r, z) for r in (reach, half) for x, y, z in corners] + [(0.0, 0.0, 0.0)]
    pixels, depth = camera.project(np.array([(forward, left, 0.0)]) + np.array(offsets))
    outer, inner, foot = pixels[:8], pixels[8:16], pixels[16]
    if (depth[:16] < 1.0).any() or (outer < 2).any() or (outer > (view.width - 3, view.height - 3)).any():
        return False
    box = np.concatenate([inner.min(axis=0), inner.max(axis=0)])
    if box[3] - box[1] < (params.least_flat_px if shape.flat else params.least_height_px):
        return False
    return not _hidden(box, view.boxes.xyxy.astype(np.float64), float(foot[1]))


def _hidden(box: Array, boxes: Array, foot_px: float) -> bool:
    """Does one box with its foot at or before the middle of the place cover more than a tenth of `box` (xyxy)?

    A thing that stands at the place itself hides it too: what is under or behind it was not seen to be gone.
    """
    wide = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    tall = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    covered = np.maximum(wide, 0.0) * np.maximum(tall, 0.0)
    large = covered > 0.1 * max((box[2] - box[0]) * (box[3] - box[1]), 1.0)
    return bool((large & (boxes[:, 3] >= foot_px - 2.0)).any())


def clear_look(
    place: tuple[float, float],
    cov_m2: Array,
    shape: ObjectClass,
    views: Sequence[View] | ViewField,
    cameras: Mapping[str, CameraModel],
    params: ExistenceParams,
) -> tuple[float, int]:
    """Detection probability that this pass would have had of a thing at `place` (lat, lon), and its last clear stamp.

    0.0 when no view was clear: then nothing may be concluded. `cov_m2` (2, 2) widens what must be in view.
    """
    field = views if isinstance(views, ViewField) else ViewField.of(views)
    sigma = ellipse95(cov_m2)[0]
    farthest = params.farthest_flat_m if shape.flat else params.farthest_m
    groups: set[int] = set()
    last, chance = 0, 0.0
    for view, forward, left in field.around(place[0], place[1], farthest):
        if forward > 2.0 and _in_view(view, cameras[view.camera], forward, left, sigma, shape, params):
            groups.add(int(view.stamp_ns * 1e-9 / params.group_s))
            last = max(last, view.stamp_ns)
            chance = min(1.0 - (1.0 - params.group_pd) ** len(groups), params.most_pass_pd)
            if chance >= params.most_pass_pd:
                break
    return chance, last
