"""Placement of tracks in a noisy world: errors, honest covariances, and the static/moving verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from gnss.types import Array, Pose
from perception.locate import Placement, place_all
from perception.matching import usable_edges
from perception.mount import MountBias
from perception.sights import LocateParams, Sight
from perception.types import Observation, Seen, Verdict
from tests.builders import CATALOGUE, FRONT, Noise, Thing, World, enu, make_pose

PARAMS = LocateParams()


@dataclass(frozen=True)
class Scene:
    """One thing beside, before or against a car that drives north at `ego_mps`."""

    class_name: str
    east_m: float
    north_m: float
    speed_mps: float = 0.0
    heading_deg: float = 0.0
    base_m: float = 0.0
    ego_mps: float = 7.0
    nearest_m: float = 0.0


PARKED = Scene("car", 3.3, 35.0)
HOLE = Scene("pothole", 1.0, 35.0)
HEAP = Scene("garbage", 5.0, 35.0)
PAVEMENT_HEAP = Scene("garbage", 5.0, 35.0, base_m=0.15)
PAVEMENT_CAR = Scene("car", 3.3, 35.0, base_m=0.15)
AHEAD = Scene("car", 0.0, 14.0, 7.0)
SLOWER = Scene("car", 0.0, 18.0, 3.0, nearest_m=6.0)
ONCOMING = Scene("car", -3.3, 80.0, 7.0, 180.0)


def _place(observations: list[Observation], poses: list[Pose], class_name: str) -> Placement:
    sight = Sight(observations, poses, FRONT, CATALOGUE.classes[class_name])
    return place_all([sight], {"front": MountBias.unknown(FRONT, PARAMS.mount)}, PARAMS).placements[0]


def _look(scene: Scene, seed: int) -> tuple[Placement, tuple[float, float]] | None:
    """Place the thing from true poses with a pose error as large as they say; also where it truly was at mid-track."""
    rng = np.random.default_rng((seed, 77))
    rel = 1.0 + 0.8 * CATALOGUE.classes[scene.class_name].size_rel_sigma * rng.standard_normal(3)
    if CATALOGUE.classes[scene.class_name].yaw == "round":
        rel[1] = rel[0]
    thing = Thing(
        "x", scene.class_name, scene.east_m, scene.north_m, scene.heading_deg, scene.speed_mps, scene.base_m,
        (float(rel[0]), float(rel[1]), float(rel[2])),
    )  # fmt: skip
    world = World([thing], seed=seed, length_m=60.0, speed_mps=scene.ego_mps, noise=Noise())
    shift, turn = 0.1 * rng.standard_normal(2), 0.2 * float(rng.standard_normal())
    observations, poses = [], []
    for event in world.events():
        if not isinstance(event, Seen) or not len(event.detections):
            continue
        time_s = event.stamp_ns * 1e-9
        east, north, _ = world.true_pose(time_s)
        if not scene.nearest_m < math.dist(thing.place(time_s), (east, north)) < 70.0:
            continue
        xyxy = event.detections.xyxy.astype(np.float64)
        box = tuple(float(v) for v in xyxy[0])
        edges = usable_edges(xyxy, 1280, 720, 3.0)[0]
        observations.append(
            Observation(event.stamp_ns, "front", event.index, (box[0], box[1], box[2], box[3]), 0.8, scene.class_name,
                        1280, 720, edges)
        )  # fmt: skip
        poses.append(make_pose(east + shift[0], north + shift[1], turn, event.stamp_ns, own_m=0.1))
    if len(observations) < 4:
        return None
    placed = _place(observations, poses, thing.class_name)
    return placed, thing.place((observations[0].stamp_ns + observations[-1].stamp_ns) / 2e9)


@cache
def _many(scene: Scene, count: int = 24) -> tuple[tuple[Placement, float, float], ...]:
    """(placement, error m, normalised squared error per dimension) over seeds."""
    rows = []
    for seed in range(count):
        looked = _look(scene, seed)
        if looked is not None:
            gap = np.array(enu(looked[0].lat_deg, looked[0].lon_deg)) - looked[1]
            nees = float(gap @ np.linalg.solve(looked[0].cov_own_m2, gap)) / 2
            rows.append((looked[0], float(np.hypot(*gap)), nees))
    assert len(rows) > 0.8 * count
    return tuple(rows)


@pytest.mark.parametrize(
    ("scene", "median_m", "p95_m"),
    [(PARKED, 0.40, 0.9), (HOLE, 0.22, 0.5), (HEAP, 0.35, 0.9), (PAVEMENT_HEAP, 0.45, 1.1), (PAVEMENT_CAR, 0.55, 2.4),
     (SLOWER, 0.5, 1.1), (AHEAD, 0.8, 1.8)],
    ids=lambda v: f"{v.class_name}-{v.speed_mps}-{v.base_m}" if isinstance(v, Scene) else None,
)  # fmt: skip
def test_errors_against_the_true_way(scene: Scene, median_m: float, p95_m: float) -> None:
    errors = [error for _, error, _ in _many(scene)]
    assert np.median(errors) < median_m
    assert np.quantile(errors, 0.95) < p95_m


@pytest.mark.parametrize("scene", [PARKED, HOLE, HEAP, PAVEMENT_HEAP, SLOWER, AHEAD, Scene("pole", 5.5, 35.0)])
def test_covariances_are_honest(scene: Scene) -> None:
    nees = [value for _, _, value in _many(scene)]
    assert 0.4 < np.mean(nees) < 1.6
    assert np.mean([2 * value < 5.991 for value in nees]) >= 0.8


def test_all_static_scenes_together_are_calibrated() -> None:
    nees = [value for scene in (PARKED, HOLE, HEAP, PAVEMENT_HEAP, PAVEMENT_CAR) for _, _, value in _many(scene)]
    assert 0.7 < np.mean(nees) < 1.4
    assert 0.88 <= np.mean([2 * value < 5.991 for value in nees]) <= 0.99


@pytest.mark.parametrize("scene", [AHEAD, SLOWER, ONCOMING, Scene("car", 3.3, 25.0, 2.5), Scene("car", 0.0, 10.0, 7.5)])
def test_a_moving_car_is_never_called_static(scene: Scene) -> None:
    verdicts = [placed.verdict for placed, _, _ in _many(scene)]
    assert Verdict.STATIC not in verdicts
    assert verdicts.count(Verdict.MOVING) > 0.7 * len(verdicts)


@pytest.mark.parametrize("scene", [PARKED, Scene("car", -4.0, 35.0, 0.0, 180.0), Scene("car", 3.3, 35.0, ego_mps=5.0)])
def test_a_parked_car_is_mostly_static_and_hardly_ever_moving(scene: Scene) -> None:
    verdicts = [placed.verdict for placed, _, _ in _many(scene)]
    assert verdicts.count(Verdict.STATIC) > 0.6 * len(verdicts)
    assert verdicts.count(Verdict.MOVING) <= 0.05 * len(verdicts)


def test_speed_and_direction_of_a_moving_car() -> None:
    speeds = [placed.speed_mps for placed, _, _ in _many(AHEAD)]
    assert np.median(speeds) == pytest.approx(7.0, abs=0.4)


def test_far_looks_of_a_parked_car_stay_undecided_with_a_wide_ellipse() -> None:
    far = _many(replace(PARKED, nearest_m=26.0))
    assert sum(placed.verdict is Verdict.STATIC for placed, _, _ in far) <= 0.1 * len(far)
    near = _many(PARKED)
    assert np.median([np.trace(p.cov_own_m2) for p, _, _ in far]) > 2 * np.median(
        [np.trace(p.cov_own_m2) for p, _, _ in near]
    )


def test_a_single_far_box_is_coarse() -> None:
    box = World([], noise=Noise()).project(Thing("x", "garbage", 4.0, 45.0), 0.0)
    assert box is not None
    seen = Observation(0, "front", 0, (box[0], box[1], box[2], box[3]), 0.5, "garbage", 1280, 720)
    placed = _place([seen], [make_pose()], "garbage")
    assert placed.coarse
    assert placed.closest_range_m == pytest.approx(45.0, rel=0.4)


def test_nothing_to_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="without observations"):
        Sight([], [], FRONT, CATALOGUE.classes["car"])


def _seen_with(bias_deg: float, class_name: str, east_m: float) -> Sight:
    """A thing seen by a camera whose true pitch is `bias_deg` more than its calibration says, nearly without noise."""
    still = Noise(0.5, 0.005, 0.0, 0.2, 0.0, 0.0, miss=0.0)
    thing = Thing("x", class_name, east_m, 30.0)
    world = World([thing], noise=still, length_m=40.0, camera=replace(FRONT, pitch_deg=FRONT.pitch_deg + bias_deg))
    observations, poses = [], []
    for e in world.events():
        if isinstance(e, Seen) and len(e.detections):
            xyxy = e.detections.xyxy.astype(np.float64)
            edges = usable_edges(xyxy, 1280, 720, 3.0)[0]
            x1, y1, x2, y2 = (float(v) for v in xyxy[0])
            observations.append(
                Observation(e.stamp_ns, "front", e.index, (x1, y1, x2, y2), 0.8, class_name, 1280, 720, edges)
            )
            poses.append(make_pose(*world.true_pose(e.stamp_ns * 1e-9)[:2], 0.0, e.stamp_ns, own_m=0.01))
    return Sight(observations, poses, FRONT, thing.shape)


def test_a_mount_bias_is_learned_from_many_and_helps_the_next() -> None:
    sights = [_seen_with(0.6, "pothole", side) for side in (-4.0, -3.0, 3.0, 4.0)]
    sights += [_seen_with(0.6, "garbage_bin", side) for side in (-5.0, 5.0)]
    before = {"front": MountBias.unknown(FRONT, PARAMS.mount)}
    after = place_all(sights, before, PARAMS).mounts["front"]
    assert math.degrees(after.mean[1]) == pytest.approx(0.6, abs=0.3)
    assert after.cov[1, 1] < 0.5 * before["front"].cov[1, 1]
    alone, taught = (
        place_all([_seen_with(0.6, "pothole", 2.0)], {"front": m}, PARAMS).placements[0]
        for m in (before["front"], after)
    )
    assert np.trace(taught.cov_own_m2) < np.trace(alone.cov_own_m2)


def test_tracks_fitted_together_end_where_each_alone_would_but_for_what_they_share() -> None:
    sights = [_seen_with(0.0, "pothole", -3.0), _seen_with(0.0, "garbage", 4.0)]
    sure = {"front": MountBias(np.zeros(3), np.diag([1e-5, 1e-5, 1e-5]) ** 2)}
    params = replace(PARAMS, mount=replace(PARAMS.mount, grade_deg=1e-4))
    together = place_all(sights, sure, params).placements
    alone = [place_all([s], sure, params).placements[0] for s in sights]
    for a, b in zip(together, alone, strict=True):
        assert math.dist(enu(a.lat_deg, a.lon_deg), enu(b.lat_deg, b.lon_deg)) < 0.03


NORTHWARD_S = np.arange(0.0, 4.2, 0.2)
Look = tuple[float, float, float, Array]
"""Time s, east and north m of the car, box (4,) px."""


def _looks(thing: Thing, times_s: Array, rng: np.random.Generator, ego_mps: float = 7.0) -> list[Look]:
    """Boxes with 1.5 px of white noise, from true poses."""
    world = World([thing], noise=Noise(0.0, 0.0, 0.0), speed_mps=ego_mps)
    found: list[Look] = []
    for time_s in times_s.tolist():
        box = world.project(thing, time_s)
        assert box is not None
        found.append((time_s, *world.true_pose(time_s)[:2], box + 1.5 * rng.standard_normal(4)))
    return found


def _put(looks: list[Look], class_name: str, params: LocateParams = PARAMS) -> Placement:
    """Place what these boxes, cut at the border of the picture, are said to be one track of."""
    observations, poses = [], []
    for time_s, east_m, north_m, box in looks:
        x1, y1, x2, y2 = (float(v) for v in np.clip(box, 0.0, (1280.0, 720.0, 1280.0, 720.0)))
        edges = usable_edges(np.array([[x1, y1, x2, y2]]), 1280, 720, 3.0)[0]
        stamp_ns = int(time_s * 1e9)
        observations.append(
            Observation(stamp_ns, "front", 0, (x1, y1, x2, y2), 0.8, class_name, 1280, 720, edges)
        )  # fmt: skip
        poses.append(make_pose(east_m, north_m, 0.0, stamp_ns))
    sight = Sight(observations, poses, FRONT, CATALOGUE.classes[class_name])
    return place_all([sight], {"front": MountBias.unknown(FRONT, params.mount)}, params).placements[0]


def _off_m(placed: Placement, thing: Thing) -> float:
    return math.dist(enu(placed.lat_deg, placed.lon_deg), (thing.east_m, thing.north_m))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_parked_car_half_hidden_by_one_that_nobody_detected_stands_where_it_stands(side: float) -> None:
    hidden, nearer = Thing("h", "car", 3.3 * side, 40.0), Thing("n", "car", 3.3 * side, 34.0)
    errors = []
    for seed in range(7):
        rng, cut = np.random.default_rng(seed), list[Look]()
        for (t, e, n, box), (*_, near) in zip(
            _looks(hidden, NORTHWARD_S, rng), _looks(nearer, NORTHWARD_S, rng), strict=True
        ):
            ends = (box[0], min(box[2], near[0])) if side > 0 else (max(box[0], near[2]), box[2])
            if ends[1] - ends[0] > 8.0:
                cut.append((t, e, n, np.array([ends[0], box[1], ends[1], box[3]])))
        placed = _put(cut, "car")
        assert placed.verdict is not Verdict.MOVING
        errors.append(_off_m(placed, hidden))
        # Without that hypothesis it drives away from us: that is what it is for.
        blind = _put(cut, "car", replace(PARAMS, hidden_log_prior=-1e6))
        assert blind.verdict is Verdict.MOVING
        assert _off_m(blind, hidden) > 5.0
    assert max(errors) < 1.5
    assert np.median(errors) < 0.8


@pytest.mark.parametrize("seed", range(3))
def test_a_track_that_switched_things_is_mended_by_its_better_half(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = Thing("a", "garbage", 4.0, 34.0), Thing("b", "garbage", 4.0, 46.0)
    times_s = np.arange(2.0, 3.95, 0.1)
    looks = _looks(first, times_s[:10], rng) + _looks(second, times_s[10:], rng)
    mended = _put(looks, "garbage")
    assert min(_off_m(mended, first), _off_m(mended, second)) < 0.8
    assert mended.doubt < PARAMS.most_doubt
    assert not mended.coarse
    whole = _put(looks, "garbage", replace(PARAMS, most_doubt=2.0))
    assert whole.doubt > PARAMS.most_doubt
    assert min(_off_m(whole, first), _off_m(whole, second)) > 5.0


@pytest.mark.parametrize("good_first", [True, False])
def test_the_half_that_a_place_explains_is_the_better_one(good_first: bool) -> None:
    for seed in range(3):
        rng, thing = np.random.default_rng(seed), Thing("a", "garbage", 4.0, 46.0)
        times_s = np.arange(2.0, 3.95, 0.1)
        looks = [(*look, k) for k, look in enumerate(_looks(thing, times_s, rng))]
        mixed = []
        for t, e, n, box, k in looks:
            x, y = rng.uniform(100.0, 900.0), rng.uniform(300.0, 400.0)
            noise = np.array([x, y, x + rng.uniform(60.0, 300.0), y + rng.uniform(60.0, 250.0)])
            mixed.append((t, e, n, box if (k < 10) is good_first else noise))
        placed = _put(mixed, "garbage", replace(PARAMS, most_doubt=0.2))
        assert _off_m(placed, thing) < 1.5
        assert placed.doubt < 0.2


def test_mending_one_track_changes_no_other_of_the_stretch() -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(2.0, 3.95, 0.1)
    broken = _looks(Thing("a", "garbage", 4.0, 34.0), times_s[:10], rng)
    broken += _looks(Thing("b", "garbage", 4.0, 46.0), times_s[10:], rng)
    whole = _looks(Thing("c", "garbage", -4.0, 36.0), times_s, rng)
    sights = []
    for looks in (whole, broken, whole):
        rows = [
            (Observation(int(t * 1e9), "front", 0, (float(b[0]), float(b[1]), float(b[2]), float(b[3])), 0.8, "garbage",
                         1280, 720), make_pose(e, n, 0.0, int(t * 1e9)))
            for t, e, n, b in looks
        ]  # fmt: skip
        sights.append(Sight([o for o, _ in rows], [p for _, p in rows], FRONT, CATALOGUE.classes["garbage"]))
    mounts = {"front": MountBias.unknown(FRONT, PARAMS.mount)}
    mended = place_all(sights, mounts, PARAMS).placements
    before = place_all(sights, mounts, replace(PARAMS, most_doubt=2.0)).placements
    for row in (0, 2):
        assert (mended[row].lat_deg, mended[row].lon_deg) == (before[row].lat_deg, before[row].lon_deg)
    assert mended[1].doubt < PARAMS.most_doubt < before[1].doubt


def _anything(rng: np.random.Generator) -> list[Look]:
    """Boxes that have nothing to do with each other."""
    found: list[Look] = []
    for time_s in NORTHWARD_S.tolist():
        x, y = rng.uniform(100.0, 900.0), rng.uniform(300.0, 400.0)
        box = np.array([x, y, x + rng.uniform(60.0, 300.0), y + rng.uniform(60.0, 250.0)])
        found.append((time_s, 0.0, 7.0 * time_s, box))
    return found


@pytest.mark.parametrize("class_name", ["garbage", "car"])
def test_boxes_that_nothing_explains_are_a_coarse_place(class_name: str) -> None:
    for seed in range(4):
        placed = _put(_anything(np.random.default_rng(seed)), class_name)
        assert placed.coarse
        assert placed.misfit > PARAMS.worst_misfit


def test_a_strange_misfit_alone_makes_a_place_coarse_but_not_a_vehicle_s() -> None:
    rng, heap, car = np.random.default_rng(0), Thing("c", "garbage", 4.0, 34.0), Thing("p", "car", 4.0, 40.0)
    for thing, coarse in ((heap, True), (car, False)):
        looks = [
            (t, e, n, b + 0.15 * float(b[2] - b[0]) * rng.standard_normal(4))
            for t, e, n, b in _looks(thing, NORTHWARD_S, rng)
        ]
        strict = replace(PARAMS, worst_misfit=0.5, most_doubt=2.0)
        placed, lenient = _put(looks, thing.class_name, strict), _put(
            looks, thing.class_name, replace(strict, worst_misfit=1e9)
        )  # fmt: skip
        assert placed.misfit > strict.worst_misfit
        assert placed.coarse is coarse
        assert not lenient.coarse


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_something_else_in_a_track_are_let_go(seed: int) -> None:
    thing = Thing("c", "garbage", 4.0, 40.0)
    looks = _looks(thing, NORTHWARD_S, np.random.default_rng(seed))
    clean = _put(looks, "garbage")
    for k in (5, 9, 13):
        t, e, n, box = looks[k]
        looks[k] = (t, e, n, box + np.array([150.0, -20.0, 190.0, 30.0]))
    placed = _put(looks, "garbage")
    assert _off_m(placed, thing) < _off_m(clean, thing) + 0.3
    assert clean.doubt == 0.0
    assert 0.1 < placed.doubt < PARAMS.most_doubt
    assert not placed.coarse
    # All boxes trusted alike, three of 21 draw it metres away.
    trusting = replace(PARAMS, box=replace(PARAMS.box, huber=1e3))
    assert _off_m(_put(looks, "garbage", trusting), thing) > 2.0


def test_what_seems_to_crawl_for_a_long_time_stands() -> None:
    verdicts: dict[float, list[Verdict]] = {}
    for crawl_mps in (PARAMS.crawl_mps, 0.0):
        verdicts[crawl_mps] = []
        for seed in range(5):
            looks = _looks(Thing("c", "car", 3.3, 24.0), np.arange(0.0, 16.0, 0.5), np.random.default_rng(seed), 1.0)
            # Poses that drift by a quarter of a metre in a second.
            drifted = [(t, e, n + 0.25 * (t - 8.0), box) for t, e, n, box in looks]
            verdicts[crawl_mps].append(_put(drifted, "car", replace(PARAMS, crawl_mps=crawl_mps)).verdict)
    assert verdicts[PARAMS.crawl_mps] == [Verdict.STATIC] * 5
    assert verdicts[0.0].count(Verdict.STATIC) <= 2


def test_what_drives_at_a_walk_for_a_long_time_is_no_crawl() -> None:
    for seed in range(3):
        thing = Thing("c", "car", 3.3, 24.0, 0.0, 1.2)
        placed = _put(_looks(thing, np.arange(0.0, 16.0, 0.5), np.random.default_rng(seed), 1.0), "car")
        assert placed.verdict is Verdict.MOVING
        assert placed.speed_mps == pytest.approx(1.2, abs=0.3)
