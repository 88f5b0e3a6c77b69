"""How likely something of uncertain place stands in a zone, or near a point: 37 equally likely places are asked."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import shapely

from gnss.city import Zone
from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.types import Landmark


def _lattice() -> Array:
    """37 equally likely points (37, 2) of a unit normal: the centre and rings of 6, 12 and 18."""
    points = [(0.0, 0.0)]
    for count, inner in ((6, 1), (12, 7), (18, 19)):
        radius = math.sqrt(-2.0 * math.log(1.0 - (inner + count / 2) / 37.0))
        points += [
            (radius * math.cos(2 * math.pi * k / count), radius * math.sin(2 * math.pi * k / count))
            for k in range(count)
        ]
    return np.array(points)


_LATTICE = _lattice()


@lru_cache(maxsize=4096)
def _flat(polygon: shapely.Geometry, margin_m: float) -> tuple[LocalFrame, shapely.Geometry]:
    """A zone with its margin in metres of a local frame at its own middle: zones are asked again and again."""
    middle = polygon.centroid
    frame = LocalFrame(middle.y, middle.x)
    local = shapely.transform(polygon, lambda p: np.column_stack(frame.to_enu(p[:, 1].copy(), p[:, 0].copy())))
    if margin_m > 0.0:
        local = local.buffer(margin_m)
    shapely.prepare(local)
    return frame, local


def _settled(local: shapely.Geometry, east: float, north: float, reach_m: float) -> float | None:
    """0.0 or 1.0 where nothing within `reach_m` of the place can change it, else None."""
    if local.boundary.distance(shapely.Point(east, north)) <= reach_m:
        return None
    return float(bool(shapely.intersects_xy(local, east, north)))


def _spread(cov_m2: Array) -> tuple[Array, float]:
    """The lattice's points (37, 2) for a covariance, and how far the farthest is out."""
    points = _LATTICE @ np.linalg.cholesky(cov_m2 + 1e-9 * np.eye(2)).T
    return points, float(np.hypot(points[:, 0], points[:, 1]).max())


def zone_probability(zone: Zone, lat_deg: float, lon_deg: float, cov_m2: Array) -> float:
    """Probability that a point known with `cov_m2` (2, 2) lies in the zone, by 37 equally likely points."""
    frame, local = _flat(zone.polygon, zone.margin_m)
    east, north = frame.to_enu(lat_deg, lon_deg)
    points, reach_m = _spread(cov_m2)
    sure = _settled(local, east, north, reach_m)
    if sure is not None:
        return sure
    return float(np.mean(shapely.intersects_xy(local, east + points[:, 0], north + points[:, 1])))


def footprint_probability(zone: Zone, landmark: Landmark, cov_m2: Array, share: float) -> float:
    """Probability that at least `share` of a vehicle's footprint lies in the zone, by 37 equally likely places.

    A kerb strip is hardly wider than a car, so asking for the centre alone would turn metre-level GNSS into doubt.
    """
    if landmark.heading_deg is None or landmark.extent_m[0] <= 0:
        return zone_probability(zone, landmark.lat_deg, landmark.lon_deg, cov_m2)
    frame, local = _flat(zone.polygon, zone.margin_m)
    east, north = frame.to_enu(landmark.lat_deg, landmark.lon_deg)
    points, reach_m = _spread(cov_m2)
    length, width = landmark.extent_m[0], max(landmark.extent_m[1], 0.3)
    sure = _settled(local, east, north, reach_m + math.hypot(length, width) / 2)
    if sure is not None:
        return sure
    turn = math.radians(90.0 - landmark.heading_deg)
    along = np.array([math.cos(turn), math.sin(turn)]) * length / 2
    across = np.array([-math.sin(turn), math.cos(turn)]) * width / 2
    ring = np.array([along + across, across - along, -along - across, along - across])
    corners = ring + np.array([east, north])
    places = shapely.polygons(corners[None, :, :] + points[:, None, :])
    inside = shapely.area(shapely.intersection(places, local)) / (length * width)
    return float(np.mean(inside >= share))


def near_probability(
    lat_deg: float, lon_deg: float, other_lat_deg: float, other_lon_deg: float, cov_m2: Array, within_m: float
) -> float:
    """Probability that a point known with `cov_m2` (2, 2) lies within `within_m` of another, by 37 places."""
    east, north = LocalFrame(other_lat_deg, other_lon_deg).to_enu(lat_deg, lon_deg)
    points, reach_m = _spread(cov_m2)
    gap = math.hypot(east, north)
    if abs(gap - within_m) > reach_m:
        return float(gap < within_m)
    return float(np.mean(np.hypot(east + points[:, 0], north + points[:, 1]) <= within_m))
