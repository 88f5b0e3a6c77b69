"""Where a standing vehicle stands in the street: at the kerb, or in a lane, where it may be waiting in a queue.

A car that waits at a light stands as still as a parked one (geolocation.md 2.2), and metre-level GNSS cannot tell a
kerb strip from the lane beside it. What can: the roadside itself. Poles, signs and bins stand behind the kerb, seen in
the same pass with the same GNSS error; so does the row of cars that stands between another and the kerb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose
from perception.catalogue import Catalogue
from perception.rules import DOUBLE_PARKED
from perception.types import Landmark, Verdict


@dataclass(frozen=True, slots=True)
class ContextParams:
    """Tuning in metres. `lane_gap_m`: more road than this between a flank and the roadside is a lane."""

    along_m: float = 40.0
    least_roadside: int = 2
    lane_gap_m: float = 2.0
    beside_along_m: float = 8.0
    beside_across_m: float = 1.8
    line_across_m: float = 1.0
    line_along_m: float = 12.0
    signal_m: float = 30.0
    path_step_m: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Street:
    """The driven path as points: metres east/north, direction (unit vectors), way driven (m)."""

    frame: LocalFrame
    points: Array
    ahead: Array
    way_m: Array

    @classmethod
    def of(cls, poses: Sequence[Pose], step_m: float) -> _Street | None:
        if not poses:
            return None
        frame = LocalFrame(poses[0].lat_deg, poses[0].lon_deg)
        all_points = np.column_stack(
            frame.to_enu(np.array([p.lat_deg for p in poses]), np.array([p.lon_deg for p in poses]))
        )
        kept, last = [0], all_points[0]
        for index, point in enumerate(all_points):
            if math.dist(point, last) >= step_m:
                kept.append(index)
                last = point
        yaw = np.radians(90.0 - np.array([poses[i].heading_deg for i in kept]))
        points = all_points[kept]
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        return cls(frame, points, np.column_stack([np.cos(yaw), np.sin(yaw)]), way)

    def beside(self, landmarks: Sequence[Landmark]) -> Array:
        """Way along the path and metres to its left (N, 2) of landmarks; the nearest point of the path counts."""
        east, north = self.frame.to_enu(
            np.array([m.lat_deg for m in landmarks]), np.array([m.lon_deg for m in landmarks])
        )
        gap = np.column_stack([east, north])[:, None, :] - self.points[None]
        nearest = np.hypot(gap[..., 0], gap[..., 1]).argmin(axis=1)
        row = np.arange(len(landmarks))
        near, ahead = gap[row, nearest], self.ahead[nearest]
        along = (near * ahead).sum(axis=1)
        left = ahead[:, 0] * near[:, 1] - ahead[:, 1] * near[:, 0]
        return np.column_stack([self.way_m[nearest] + along, left])


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """All landmarks of a window along the driven path: `places` (N, 2) way and metres to its left, and what each is."""

    places: Array
    fixed: Mask
    signal: Mask
    vehicle: Mask
    stands: Mask
    rolls: Mask

    @classmethod
    def of(
        cls, landmarks: Sequence[Landmark], poses: Sequence[Pose], catalogue: Catalogue, params: ContextParams
    ) -> _Scene | None:
        street = _Street.of(poses, params.path_step_m)
        if street is None or not landmarks:
            return None
        shapes = [catalogue.classes[m.class_name] for m in landmarks]
        vehicle = np.array([s.role == "vehicle" for s in shapes])
        return cls(
            street.beside(landmarks),
            np.array(
                [
                    s.role in ("anchor", "healthy") and not s.flat and not m.coarse
                    for s, m in zip(shapes, landmarks, strict=True)
                ]
            ),
            np.array([m.class_name == "traffic_light" for m in landmarks]),
            vehicle,
            vehicle & np.array([m.verdict is Verdict.STATIC for m in landmarks]),
            vehicle & np.array([m.verdict is Verdict.MOVING for m in landmarks]),
        )

    def seen_from(self, row: int) -> tuple[Array, Array]:
        """Metres along the street (N,) from one landmark, and metres outward (N,) on its side of the path."""
        side: Array = self.places[:, 1] * np.sign(self.places[row, 1])
        return np.abs(self.places[:, 0] - self.places[row, 0]), side

    def gap_m(self, row: int, mine: Landmark, params: ContextParams) -> float | None:
        """Road between a vehicle's outer flank and the roadside's things; None where too few of those were seen."""
        along, outward = self.seen_from(row)
        roadside = self.fixed & (along < params.along_m) & (outward > outward[row] + 0.3)
        if roadside.sum() < params.least_roadside:
            return None
        return float(np.median(outward[roadside]) - outward[row]) - max(mine.extent_m[1], 0.5) / 2


def at_kerb(
    landmarks: Sequence[Landmark], poses: Sequence[Pose], catalogue: Catalogue, params: ContextParams
) -> frozenset[str]:
    """Ids of the standing vehicles that stand where the roadside begins: poles, signs or bins are just beyond them."""
    scene = _Scene.of(landmarks, poses, catalogue, params)
    if scene is None:
        return frozenset()
    rows = np.flatnonzero(scene.vehicle & ~scene.rolls).tolist()
    gaps = {landmarks[row].id: scene.gap_m(row, landmarks[row], params) for row in rows}
    return frozenset(name for name, gap in gaps.items() if gap is not None and gap <= params.lane_gap_m)


def doubts(
    landmarks: Sequence[Landmark], poses: Sequence[Pose], catalogue: Catalogue, params: ContextParams
) -> Mapping[str, str]:
    """Why a standing vehicle may be waiting in traffic, by landmark id; those at the kerb, or unknown, are not in it.

    `landmarks` and `poses` are those of one window, so that their common error cancels.
    """
    scene = _Scene.of(landmarks, poses, catalogue, params)
    if scene is None:
        return {}
    rows = np.flatnonzero(scene.vehicle & ~scene.rolls).tolist()
    found = {landmarks[row].id: _doubt(row, landmarks[row], scene, params) for row in rows}
    return {name: why for name, why in found.items() if why is not None}


def _doubt(row: int, mine: Landmark, scene: _Scene, params: ContextParams) -> str | None:
    along, outward = scene.seen_from(row)
    others = np.arange(len(along)) != row
    beyond = others & scene.stands & (along < params.beside_along_m) & (outward > outward[row] + params.beside_across_m)
    if beyond.any():
        return DOUBLE_PARKED
    gap = scene.gap_m(row, mine, params)
    if gap is not None:
        if gap <= params.lane_gap_m:
            return None
        return f"{gap:.1f} m of road between it and the roadside: it stands in a lane"
    line = (
        others & scene.rolls & (along < params.line_along_m) & (np.abs(outward - outward[row]) < params.line_across_m)
    )
    if line.any():
        return "in line with a vehicle that moves"
    lights = np.where(scene.signal, along, np.inf).min()
    return f"{lights:.0f} m from a traffic light" if lights < params.signal_m else None
