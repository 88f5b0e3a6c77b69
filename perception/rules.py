"""Is a landmark a problem? By what it is, whether it moves and where it stands, in metres and seconds, in map space."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely

from gnss.atlas import Atlas, Zone
from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.catalogue import Catalogue
from perception.types import ComponentMatch, Landmark, TrackEnd, Verdict


class Decision(enum.StrEnum):
    """What a rule says of a landmark."""

    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Finding:
    """A landmark's judgement: `kind` is set unless refused; `end` is the ledger state when nothing is filed."""

    decision: Decision
    reason: str
    kind: str | None = None
    zone: str | None = None
    grid: str | None = None
    dwell_s: float | None = None
    component: ComponentMatch | None = None
    end: TrackEnd = TrackEnd.NO_PROBLEM


@dataclass(frozen=True, slots=True)
class RuleParams:
    """Tuning of the rules; a vehicle stands in a zone when `footprint_share` of its footprint does."""

    footprint_share: float = 0.3
    zone_sure: float = 0.6
    zone_sure_alone: float = 0.85
    zone_possible: float = 0.3
    search_m: float = 30.0
    component_search_m: float = 8.0


RESTRICTED = {
    "no_parking": "illegal_parking",
    "no_stopping": "illegal_parking",
    "fire_lane": "fire_lane_blocked",
    "accessible_path": "accessible_path_blocked",
    "no_bike_parking": "illegal_parking_bike",
}
"""Zone kinds that forbid parking, and the case kind each makes."""

REGISTER_SIGMA_M = {"A": 0.5, "B": 1.0, "C": 10.0}
"""1 sigma per axis by accuracy class of the component register (CJJ/T 103 classes A, B, C; read as 1 sigma)."""


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
def _flat(polygon: shapely.Geometry) -> tuple[LocalFrame, shapely.Geometry]:
    """A zone in metres of a local frame at its own middle: zones are asked again and again."""
    middle = polygon.centroid
    frame = LocalFrame(middle.y, middle.x)
    local = shapely.transform(polygon, lambda p: np.column_stack(frame.to_enu(p[:, 1].copy(), p[:, 0].copy())))
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
    frame, local = _flat(zone.polygon)
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
    frame, local = _flat(zone.polygon)
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


def match_component(
    atlas: Atlas, codes: frozenset[str], lat_deg: float, lon_deg: float, cov_m2: Array, search_m: float
) -> ComponentMatch | None:
    """The register component of one of `codes` most likely to be the thing, against "none of them" (1 per 200 m2)."""
    frame = LocalFrame(lat_deg, lon_deg)
    likelihoods: list[tuple[float, str, str]] = []
    for component in atlas.components_near(lat_deg, lon_deg, search_m):
        if component.code not in codes:
            continue
        gap = np.array(frame.to_enu(component.lat_deg, component.lon_deg))
        total = cov_m2 + REGISTER_SIGMA_M.get(component.accuracy_class or "B", 1.0) ** 2 * np.eye(2)
        density = math.exp(-0.5 * float(gap @ np.linalg.solve(total, gap))) / (
            2 * math.pi * math.sqrt(np.linalg.det(total))
        )
        likelihoods.append((density, component.id, component.code))
    if not likelihoods:
        return None
    likelihoods.sort(key=lambda row: (-row[0], row[1]))
    everything = sum(row[0] for row in likelihoods) + 1.0 / 200.0
    best = likelihoods[0]
    second = likelihoods[1] if len(likelihoods) > 1 else None
    if best[0] / everything < 0.5:
        return None
    return ComponentMatch(
        best[1],
        best[2],
        best[0] / everything,
        None if second is None else second[1],
        0.0 if second is None else second[0] / everything,
    )


class Rules:
    """Judges landmarks by the catalogue and the city's atlas."""

    def __init__(self, catalogue: Catalogue, atlas: Atlas, params: RuleParams) -> None:
        self.catalogue = catalogue
        self.atlas = atlas
        self._params = params

    def judge(self, landmark: Landmark, common_m2: Array) -> Finding:
        """Judge one landmark; `common_m2` (2, 2) is the pass-common covariance to add to its own."""
        shape = self.catalogue.classes[landmark.class_name]
        cov = landmark.cov_own_m2 + common_m2
        zones = self.atlas.zones_near(landmark.lat_deg, landmark.lon_deg, self._params.search_m)
        if shape.role == "vehicle":
            share = self._params.footprint_share
            chances = [(footprint_probability(z, landmark, cov, share), z) for z in zones]
        else:
            chances = [(zone_probability(z, landmark.lat_deg, landmark.lon_deg, cov), z) for z in zones]
        chances.sort(key=lambda row: (-row[0], row[1].id))
        if any(z.kind == "sensitive" and p > 0.05 for p, z in chances):
            return Finding(Decision.REFUSE, "inside a sensitive area: nothing is stored", end=TrackEnd.SUPPRESSED)
        if shape.role == "anchor":
            return Finding(Decision.REFUSE, "permanent landmark", end=TrackEnd.ANCHOR)
        if shape.role in ("healthy", "person", "context") or shape.kind is None:
            return Finding(Decision.REFUSE, f"{shape.title}: no problem by itself")
        grid = self.atlas.grid_at(landmark.lat_deg, landmark.lon_deg)
        if shape.role == "vehicle":
            return self._parking(landmark, shape.kind, chances, grid)
        if shape.kind == "street_vending":
            allowed = [(p, z) for p, z in chances if z.kind == "vending_allowed" and self._active(z, landmark)]
            if allowed and allowed[0][0] >= 0.5:
                return Finding(Decision.REFUSE, f"vending is allowed in {allowed[0][1].id} now", zone=allowed[0][1].id)
        component = self._component(shape.kind, landmark, cov)
        zone = chances[0][1].id if chances and chances[0][0] >= 0.5 else None
        return Finding(Decision.ACCEPT, f"{shape.title} seen", shape.kind, zone, grid, None, component)

    def _active(self, zone: Zone, landmark: Landmark) -> bool:
        utc_ns = landmark.last_utc_ns
        return utc_ns is None or zone.active(utc_ns, self.atlas.utc_offset_hours)

    def _component(self, kind: str, landmark: Landmark, cov: Array) -> ComponentMatch | None:
        row = self.catalogue.kinds[kind]
        if row.family != "component":
            return None
        # Any cover of the register (01001..01023) can be the damaged one; other kinds name their component type.
        covers = frozenset(f"010{n:02d}" for n in range(1, 24))
        codes = covers if kind == "manhole_damage" else frozenset({row.code})
        return match_component(
            self.atlas, codes, landmark.lat_deg, landmark.lon_deg, cov, self._params.component_search_m
        )

    def _parking(self, landmark: Landmark, kind: str, chances: list[tuple[float, Zone]], grid: str | None) -> Finding:
        if landmark.verdict is Verdict.MOVING:
            return Finding(Decision.REFUSE, f"moving at {landmark.speed_mps:.1f} m/s")
        bike = kind == "illegal_parking_bike"
        forbidding = [
            (p, z)
            for p, z in chances
            if z.kind in RESTRICTED and (z.kind == "no_bike_parking") == bike and self._active(z, landmark)
        ]
        bays = [(p, z) for p, z in chances if z.kind == "parking_bay" and self._active(z, landmark)]
        bay = bays[0][0] if bays else 0.0
        if not forbidding or forbidding[0][0] < self._params.zone_possible:
            where = f"in parking bay {bays[0][1].id}" if bay >= 0.5 else "no zone here forbids it"
            return Finding(Decision.REFUSE, f"parked legally: {where}")
        chance, zone = forbidding[0]
        # Bays are often drawn inside the zone that forbids the rest of the street: where a bay is, it wins.
        chance = min(chance, 1.0 - bay)
        if chance < self._params.zone_possible:
            return Finding(Decision.REFUSE, f"parked legally: in bay {bays[0][1].id} (p {bay:.2f}) of {zone.id}")
        made = RESTRICTED[zone.kind]
        dwell = zone.dwell_s if zone.dwell_s is not None else self.atlas.default_dwell_s
        if landmark.doubt:
            reason = f"in {zone.id}, but {landmark.doubt}: waits for a look without that doubt"
            return Finding(Decision.HOLD, reason, made, zone.id, grid, max(dwell, 180.0))
        if landmark.verdict is Verdict.UNKNOWN:
            return Finding(
                Decision.HOLD,
                f"in {zone.id}, not surely standing still: waits for a second look",
                made,
                zone.id,
                grid,
                max(dwell, 180.0),
            )
        sure = self._params.zone_sure if landmark.kerbside else self._params.zone_sure_alone
        if chance < sure:
            return Finding(
                Decision.HOLD,
                f"perhaps in {zone.id} (p {chance:.2f}): waits for a second look",
                made,
                zone.id,
                grid,
                dwell,
            )
        if dwell > 0:
            return Finding(
                Decision.HOLD,
                f"in {zone.id} (p {chance:.2f}), which allows {dwell:.0f} s: waits for a second look",
                made,
                zone.id,
                grid,
                dwell,
            )
        return Finding(
            Decision.ACCEPT, f"standing in {zone.id} (p {chance:.2f}), no stopping", made, zone.id, grid, 0.0
        )
