"""Builders of plain test objects, and a small seeded world: a car drives a street of solids and sees boxes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gnss.atlas import Atlas, Component, Zone
from gnss.geodesy import LocalFrame
from gnss.hours import parse_hours
from gnss.types import Array, Fix, FixQuality, Motion, Pose, PoseState
from perception.camera import CameraModel
from perception.catalogue import Catalogue, ObjectClass, load_catalogue
from perception.events import Event, order_key
from perception.pipeline import Pipeline, PipelineSetup
from perception.types import (
    Case,
    CaseState,
    Detections,
    Landmark,
    Output,
    PassPosition,
    PassRecord,
    Seen,
    Verdict,
    View,
)

LAT0, LON0 = 30.267, 120.159
UTC0_NS = 1_780_000_000_000_000_000
"""An afternoon (20:26 UTC+8 is 12:26 UTC) of 2026-05-28."""

CATALOGUE: Catalogue = load_catalogue(Path(__file__).resolve().parents[1] / "models")
FRAME = LocalFrame(LAT0, LON0)
CLASS_NAMES = tuple(sorted(CATALOGUE.classes))
FRONT = CameraModel("front", 1280, 720, 960.0, 960.0, 639.5, 359.5, x_m=1.5, z_m=1.5, pitch_deg=4.0)


def make_pose(
    east_m: float = 0.0,
    north_m: float = 0.0,
    heading_deg: float = 0.0,
    stamp_ns: int = 0,
    *,
    utc_ns: int | None = None,
    common_m: float = 0.5,
    own_m: float = 0.1,
    heading_sigma_deg: float = 0.2,
) -> Pose:
    """A pose at metres east/north of the test origin."""
    lat, lon = FRAME.to_geo(east_m, north_m)
    own = np.diag([own_m**2, own_m**2, math.radians(heading_sigma_deg) ** 2])
    common = common_m**2 * np.eye(2)
    return Pose(stamp_ns, utc_ns, lat, lon, 0.0, heading_deg, 6.0, PoseState.GOOD, common, own)


def make_fix(east_m: float, north_m: float, stamp_ns: int, *, utc_ns: int | None = None, acc_m: float = 0.5) -> Fix:
    """A fix at metres east/north of the test origin."""
    lat, lon = FRAME.to_geo(east_m, north_m)
    return Fix(stamp_ns, utc_ns, lat, lon, h_acc_m=acc_m, quality=FixQuality.DIFFERENTIAL)


def make_seen(
    boxes: Sequence[tuple[str, float, tuple[float, float, float, float]]],
    index: int = 0,
    stamp_ns: int = 0,
    camera: CameraModel = FRONT,
    sharpness: float | None = None,
) -> Seen:
    """A frame's boxes as (class, confidence, xyxy)."""
    xyxy = np.array([b[2] for b in boxes], dtype=np.float32).reshape(-1, 4)
    confidence = np.array([b[1] for b in boxes], dtype=np.float32)
    ids = np.array([CLASS_NAMES.index(b[0]) for b in boxes], dtype=np.int32)
    found = Detections(xyxy, confidence, ids, CLASS_NAMES)
    return Seen(stamp_ns, camera.name, index, camera.width, camera.height, found, sharpness)


def make_landmark(
    class_name: str,
    east_m: float,
    north_m: float,
    *,
    pass_id: str = "p1",
    track_id: int = 1,
    sigma_m: float = 0.2,
    utc_ns: int | None = UTC0_NS,
    verdict: Verdict = Verdict.STATIC,
    existence: float = 0.99,
    coarse: bool = False,
    stamp_ns: int = 1_000_000_000,
) -> Landmark:
    """A landmark at metres east/north of the test origin."""
    lat, lon = FRAME.to_geo(east_m, north_m)
    later = None if utc_ns is None else utc_ns + 2_000_000_000
    size = CATALOGUE.classes[class_name].size_m
    return Landmark(
        f"{pass_id}/front/{track_id}", pass_id, track_id, "front", class_name, 0.8, lat, lon, sigma_m**2 * np.eye(2),
        verdict, 0.0 if verdict is Verdict.STATIC else 5.0, 0.0, size, stamp_ns, stamp_ns + 2_000_000_000, utc_ns,
        later, 12, 6.0, coarse, existence,
    )  # fmt: skip


def make_view(pose: Pose, index: int, boxes: Detections | None = None, sharpness: float | None = None) -> View:
    """What the front camera could see from a pose."""
    found = Detections.empty(CLASS_NAMES) if boxes is None else boxes
    return View(pose.stamp_ns, FRONT.name, index, FRONT.width, FRONT.height, pose, found, sharpness)


def make_record(
    landmarks: Sequence[Landmark],
    views: Sequence[View] = (),
    *,
    pass_id: str = "p1",
    utc_ns: int | None = UTC0_NS,
    common_m: float = 1.5,
    vehicle: str = "car-1",
    live: Sequence[Landmark] = (),
    trail: Sequence[tuple[int, float, float]] = (),
) -> PassRecord:
    """A window of 60 s."""
    end = None if utc_ns is None else utc_ns + 60_000_000_000
    return PassRecord(
        pass_id, vehicle, f"drive-{pass_id}", 0, 60_000_000_000, utc_ns, end, tuple(landmarks), tuple(views),
        common_m**2 * np.eye(2), live=tuple(live), trail=tuple(trail),
    )  # fmt: skip


def make_case(
    class_name: str = "garbage",
    east_m: float = 0.0,
    north_m: float = 0.0,
    *,
    id: str = "c1",
    state: CaseState = CaseState.OPEN,
    existence: float = 0.98,
    utc_ns: int | None = UTC0_NS,
    pass_id: str = "p0",
    own_m: float = 0.2,
    common_m: float = 1.5,
    dwell_s: float | None = None,
    clear_misses: int = 0,
) -> Case:
    """A case of one pass at metres east/north of the test origin."""
    lat, lon = FRAME.to_geo(east_m, north_m)
    shape = CATALOGUE.classes[class_name]
    row = CATALOGUE.kinds[shape.kind or "exposed_garbage"]
    own, common = (own_m**2, 0.0, own_m**2), (common_m**2, 0.0, common_m**2)
    total = (own_m**2 + common_m**2, 0.0, own_m**2 + common_m**2)
    return Case(
        id, 1, row.name, row.matter_kind, row.code, class_name, state, existence, 0.8, lat, lon, total,
        (("gnss_m", common_m), ("own_m", own_m)), (PassPosition(pass_id, utc_ns, lat, lon, own, common),), "car-1",
        utc_ns, utc_ns, utc_ns, utc_ns, "seen", extent_m=shape.size_m, dwell_s=dwell_s, clear_misses=clear_misses,
    )  # fmt: skip


def make_zone(
    kind: str,
    east_m: tuple[float, float],
    north_m: tuple[float, float],
    *,
    id: str | None = None,
    dwell_s: float | None = None,
    hours: str | None = None,
) -> Zone:
    """An upright rectangle in metres of the test origin."""
    from shapely.geometry import Polygon  # shapely publishes no types; kept from the module's surface

    corners = [FRAME.to_geo(e, n) for e, n in zip((*east_m, *east_m[::-1]), np.repeat(north_m, 2), strict=True)]
    ring = Polygon([(lon, lat) for lat, lon in corners])
    return Zone(id or kind, kind, kind, parse_hours(hours), dwell_s, ring)


def make_atlas(zones: Sequence[Zone] = (), components: Sequence[Component] = ()) -> Atlas:
    """A city with these zones: UTC+8, default dwell 180 s."""
    return Atlas("test", None, 8.0, 180.0, [], list(zones), list(components))


@dataclass(frozen=True, slots=True)
class Thing:
    """A solid of the world: footprint centre in metres of the test origin, at a constant speed (m/s) from t = 0.

    `base_m` is the height of its foot over the road (a pavement); `away` names passes that do not have it.
    """

    name: str
    class_name: str
    east_m: float
    north_m: float
    heading_deg: float = 0.0
    speed_mps: float = 0.0
    base_m: float = 0.0
    size_rel: tuple[float, float, float] = (1.0, 1.0, 1.0)
    away: frozenset[int] = frozenset()

    @property
    def shape(self) -> ObjectClass:
        """Its catalogue class."""
        return CATALOGUE.classes[self.class_name]

    def corners(self, time_s: float) -> Array:
        """Outline points (C, 3) east, north, up in metres at a time; independent of perception.solid."""
        length, width, height = (s * r for s, r in zip(self.shape.size_m, self.size_rel, strict=True))
        turn = math.radians(90.0 - self.heading_deg)
        if self.shape.yaw == "road":
            ring = [(x * length / 2, y * width / 2) for x in (-1, 1) for y in (-1, 1)]
        else:
            ring = [(length / 2 * math.cos(a), width / 2 * math.sin(a)) for a in np.arange(32) * math.pi / 16]
        centre = self.place(time_s)
        return np.array(
            [
                (
                    centre[0] + math.cos(turn) * x - math.sin(turn) * y,
                    centre[1] + math.sin(turn) * x + math.cos(turn) * y,
                    self.base_m + z,
                )
                for x, y in ring
                for z in (0.0, height)
            ]
        )

    def place(self, time_s: float) -> tuple[float, float]:
        """East and north at a time of the pass."""
        turn, way = math.radians(90.0 - self.heading_deg), self.speed_mps * time_s
        return self.east_m + math.cos(turn) * way, self.north_m + math.sin(turn) * way


@dataclass(frozen=True, slots=True)
class Noise:
    """What the world does to measurements; all 1 sigma. Box noise and pitch jitter are correlated over `tau_s`."""

    box_px: float = 2.0
    box_rel: float = 0.02
    pitch_jitter_deg: float = 0.15
    tau_s: float = 0.2
    mount_yaw_deg: float = 0.3
    mount_pitch_deg: float = 0.3
    miss: float = 0.08
    gnss_bias_m: float = 0.6
    gnss_tau_s: float = 60.0
    gnss_white_m: float = 0.2
    speed_rel: float = 0.005


@dataclass(slots=True)
class World:
    """A straight street along a heading with things on it; every pass drives it from start to end."""

    things: Sequence[Thing]
    length_m: float = 160.0
    heading_deg: float = 0.0
    speed_mps: float = 7.0
    fps: float = 10.0
    noise: Noise = field(default_factory=Noise)
    camera: CameraModel = FRONT
    seed: int = 1
    offset_m: float = 0.0
    stop: tuple[float, float] | None = None

    def way(self, time_s: float) -> float:
        """Metres driven at a time; `stop` is (at_m, for_s)."""
        free = self.speed_mps * time_s
        if self.stop is None or free <= self.stop[0]:
            return free
        return max(self.stop[0], free - self.speed_mps * self.stop[1])

    @property
    def duration_s(self) -> float:
        """How long a pass takes."""
        return self.length_m / self.speed_mps + (self.stop[1] if self.stop else 0.0)

    def true_pose(self, time_s: float) -> tuple[float, float, float]:
        """East m, north m, yaw (rad, counter-clockwise from east) of the vehicle reference point."""
        yaw = math.radians(90.0 - self.heading_deg)
        way = self.way(time_s)
        return (
            math.cos(yaw) * way - math.sin(yaw) * self.offset_m,
            math.sin(yaw) * way + math.cos(yaw) * self.offset_m,
            yaw,
        )

    def project(self, thing: Thing, time_s: float, pitch_deg: float = 0.0, yaw_deg: float = 0.0) -> Array | None:
        """Box (4,) of a thing in unclipped pixel-edge coordinates, from its corners; None when not all ahead."""
        east, north, yaw = self.true_pose(time_s)
        corners = thing.corners(time_s) - (east, north, 0.0)
        forward = math.cos(yaw) * corners[:, 0] + math.sin(yaw) * corners[:, 1]
        left = math.cos(yaw) * corners[:, 1] - math.sin(yaw) * corners[:, 0]
        c = self.camera
        camera = replace(c, pitch_deg=c.pitch_deg + pitch_deg, yaw_deg=c.yaw_deg + yaw_deg)
        pixels, depth = camera.project(np.column_stack([forward, left, corners[:, 2]]))
        if depth.min() < 0.5:
            return None
        return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]) + 0.5

    def events(self, pass_index: int = 0, *, utc: bool = True, start_utc_ns: int = UTC0_NS) -> list[Event]:
        """All events of one pass in order; passes are a day apart and differ in everything random."""
        rng = np.random.default_rng((self.seed, pass_index))
        start = start_utc_ns + pass_index * 86_400_000_000_000 if utc else None
        events: list[Event] = [*self._fixes(rng, start), *self._motions(rng), *self._frames(rng, pass_index)]
        return sorted(events, key=order_key)

    def _fixes(self, rng: np.random.Generator, start_utc_ns: int | None) -> list[Event]:
        n = self.noise
        bias, keep = n.gnss_bias_m * rng.standard_normal(2), math.exp(-1.0 / max(n.gnss_tau_s, 1e-9))
        found: list[Event] = []
        for second in range(int(self.duration_s) + 2):
            east, north, _ = self.true_pose(float(second))
            e, m = np.array([east, north]) + bias + n.gnss_white_m * rng.standard_normal(2)
            stamp = second * 1_000_000_000
            moved = self.way(second + 0.5) - self.way(max(second - 0.5, 0.0))
            fix = make_fix(
                e, m, stamp, utc_ns=None if start_utc_ns is None else start_utc_ns + stamp,
                acc_m=math.hypot(n.gnss_bias_m, n.gnss_white_m),
            )  # fmt: skip
            speed = moved / (1.0 if second else 0.5)
            if speed > 1.0:
                fix = replace(fix, speed_mps=speed, course_deg=(self.heading_deg + 0.3 * rng.standard_normal()) % 360.0)
            else:
                fix = replace(fix, speed_mps=speed)
            found.append(fix)
            bias = keep * bias + n.gnss_bias_m * math.sqrt(1 - keep**2) * rng.standard_normal(2)
        return found

    def _motions(self, rng: np.random.Generator) -> list[Event]:
        scale = 1.0 + self.noise.speed_rel * rng.standard_normal()
        found: list[Event] = []
        for tick in range(int(self.duration_s * 20) + 20):
            time_s = tick / 20
            speed = (self.way(time_s + 0.025) - self.way(max(time_s - 0.025, 0.0))) / (0.05 if tick else 0.025)
            found.append(Motion(int(time_s * 1e9), scale * speed, 0.05 * float(rng.standard_normal())))
        return found

    def _frames(self, rng: np.random.Generator, pass_index: int) -> list[Event]:
        n = self.noise
        yaw_bias, pitch_bias = n.mount_yaw_deg * rng.standard_normal(), n.mount_pitch_deg * rng.standard_normal()
        keep = math.exp(-1.0 / (self.fps * max(n.tau_s, 1e-9)))
        fresh = math.sqrt(1 - keep**2)
        jitter = rng.standard_normal()
        edge = {t.name: rng.standard_normal(4) for t in self.things}
        present = [t for t in self.things if pass_index not in t.away]
        found: list[Event] = []
        for index in range(int(self.duration_s * self.fps)):
            time_s = index / self.fps
            jitter = keep * jitter + fresh * rng.standard_normal()
            boxes = []
            for thing in present:
                edge[thing.name] = keep * edge[thing.name] + fresh * rng.standard_normal(4)
                box = self.project(thing, time_s, pitch_bias + n.pitch_jitter_deg * jitter, yaw_bias)
                lost = rng.random() < n.miss
                confidence = float(rng.uniform(0.45, 0.9))
                if box is not None and not lost:
                    sides = np.tile(box[2:] - box[:2], 2)
                    boxes.append((thing, box + edge[thing.name] * np.hypot(n.box_px, n.box_rel * sides), confidence))
            visible = self._visible(boxes)
            found.append(make_seen(visible, index, int(time_s * 1e9), self.camera))
        return found

    def _visible(
        self, boxes: list[tuple[Thing, Array, float]]
    ) -> list[tuple[str, float, tuple[float, float, float, float]]]:
        """Clip to the picture and cut by nearer boxes: what a detector would draw."""
        size = np.array([self.camera.width, self.camera.height] * 2, dtype=np.float64)
        result, nearer = [], list[Array]()
        for thing, box, confidence in sorted(boxes, key=lambda row: -row[1][3]):
            clipped = np.clip(box, 0, size)
            area = float(np.prod(clipped[2:] - clipped[:2]))
            for other in nearer:
                clipped = _cut(clipped, other)
            wide, tall = clipped[2:] - clipped[:2]
            if wide > 8 and tall > 6 and wide * tall > 0.3 * area and area > 0.25 * float(np.prod(box[2:] - box[:2])):
                x1, y1, x2, y2 = (float(v) for v in clipped)
                result.append((thing.class_name, confidence, (x1, y1, x2, y2)))
                if not thing.shape.flat and thing.shape.size_m[0] > 1.0:
                    nearer.append(clipped)
        return result


def _cut(box: Array, other: Array) -> Array:
    """The part of a box that a nearer box leaves when it covers a whole side of it."""
    x1, y1, x2, y2 = box
    if other[1] > y1 + 0.3 * (y2 - y1) or other[3] < y2 - 0.3 * (y2 - y1):
        return box
    if other[0] <= x1 < other[2] < x2:
        return np.array([other[2], y1, x2, y2])
    if x1 < other[0] < x2 <= other[2]:
        return np.array([x1, y1, other[0], y2])
    if other[0] <= x1 and other[2] >= x2:
        return np.array([x1, y1, x1, y1])
    return box


THRESHOLDS = {name: 0.3 for name in CLASS_NAMES}


def make_setup(atlas: Atlas | None = None, *, camera: CameraModel = FRONT, drive: str = "d1") -> PipelineSetup:
    """A pipeline of one car with one camera."""
    city = Atlas.empty() if atlas is None else atlas
    return PipelineSetup("car-1", drive, {camera.name: camera}, CATALOGUE, city, THRESHOLDS)


def run(pipeline: Pipeline, events: Sequence[Event]) -> list[Output]:
    """All outputs of a drive."""
    outputs = [output for event in events for output in pipeline.step(event)]
    return outputs + pipeline.flush()


def enu(lat_deg: float, lon_deg: float) -> tuple[float, float]:
    """Metres east/north of the test origin."""
    return FRAME.to_enu(lat_deg, lon_deg)
