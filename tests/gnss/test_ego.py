from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnss.ego import EgoFilter, EgoParams, FixRefusal
from gnss.geodesy import LocalFrame, wrap_deg
from gnss.nmea import NmeaReader, stamped_by_utc
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.types import Array, Fix, FixQuality, Motion, PoseState
from tests.gnss.road import FRAME, START_NS, UTC_NS, Road, drive, fixes, motions

S = 1_000_000_000


def run(fix_list: Iterable[Fix], motion_list: Iterable[Motion] = (), params: EgoParams | None = None) -> EgoFilter:
    ego = EgoFilter(params)
    events: list[Fix | Motion] = [*motion_list, *fix_list]
    for event in sorted(events, key=lambda e: (e.stamp_ns, isinstance(e, Fix))):
        if isinstance(event, Fix):
            ego.add_fix(event)
        else:
            ego.add_motion(event)
    return ego


def errors(road: Road, ego: EgoFilter, start_s: float = 5.0, end_s: float = 110.0) -> tuple[Array, Array]:
    """East/north errors (n, 2) in m and heading errors (n,) in degrees, ten times a second; every pose must exist."""
    places, headings = [], []
    for t in np.arange(start_s, end_s, 0.1):
        stamp = START_NS + round(float(t) * 1e9)
        pose = ego.pose_at(stamp)
        assert pose is not None, f"no pose at {t}"
        east, north = FRAME.to_enu(pose.lat_deg, pose.lon_deg)
        e, n, heading = road.at(stamp)
        places.append((east - e, north - n))
        headings.append(wrap_deg(pose.heading_deg - math.degrees(heading)))
    return np.array(places), np.array(headings)


def p95(values: Array) -> float:
    lengths = np.hypot(values[:, 0], values[:, 1]) if values.ndim == 2 else np.abs(values)
    return float(np.quantile(lengths, 0.95))


@pytest.mark.parametrize("seed", range(3))
def test_with_odometry_poses_seconds_apart_agree_to_a_decimetre(seed: int) -> None:
    rng = np.random.default_rng(seed)
    road = drive()
    off, heading = errors(road, run(fixes(road, rng), motions(road, rng)))
    assert p95(off[30:] - off[:-30]) < 0.2
    assert p95(heading) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_without_odometry_poses_are_sensible(seed: int) -> None:
    rng = np.random.default_rng(seed)
    road = drive()
    off, heading = errors(road, run(fixes(road, rng)))
    assert p95(off) < 0.6
    assert p95(off[30:] - off[:-30]) < 0.9
    assert p95(heading) < 2.5


def test_later_fixes_improve_an_older_pose() -> None:
    live, later = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        road = drive(60.0)
        ego = EgoFilter()
        listed = fixes(road, rng)
        for fix in listed:
            ego.add_fix(fix)
            if (pose := ego.pose_at(fix.stamp_ns)) is not None:
                live.append(math.dist(FRAME.to_enu(pose.lat_deg, pose.lon_deg), road.at(fix.stamp_ns)[:2]))
        for fix in listed:
            if (pose := ego.pose_at(fix.stamp_ns)) is not None:
                later.append(math.dist(FRAME.to_enu(pose.lat_deg, pose.lon_deg), road.at(fix.stamp_ns)[:2]))
    assert len(live) == len(later) == 360
    assert np.mean(later) < 0.85 * np.mean(live)


def test_covariance_holds_the_error_and_splits_it() -> None:
    nees, common, own = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        road = drive(60.0)
        ego = run(fixes(road, rng, white_m=0.6, bias_m=0.8, h_acc_m=1.0), motions(road, rng))
        for t in range(5, 55, 10):
            pose = ego.pose_at(START_NS + t * S)
            assert pose is not None
            east, north = FRAME.to_enu(pose.lat_deg, pose.lon_deg)
            e, n, _ = road.at(pose.stamp_ns)
            off = np.array([east - e, north - n])
            nees.append(off @ np.linalg.solve(pose.cov_common_m2 + pose.cov_own[:2, :2], off))
            common.append(math.sqrt(pose.cov_common_m2[0, 0]))
            own.append(math.sqrt(pose.cov_own[0, 0]))
    assert 1.2 < np.mean(nees) < 3.0  # two dimensions: 2 is exact
    assert np.mean(common) > 2.0 * np.mean(own)
    assert 0.4 < math.sqrt(ego.cov_common_m2()[0, 0]) < 0.9


@pytest.mark.parametrize("odometry", [True, False])
def test_heading_is_held_at_a_stop_whatever_the_course_says(odometry: bool) -> None:
    rng = np.random.default_rng(4)
    road = drive(90.0, stop_at_s=40.0)
    ego = run(fixes(road, rng), motions(road, rng) if odometry else ())
    _, heading = errors(road, ego, 41.0, 54.0)
    assert np.abs(heading).max() < (1.0 if odometry else 8.0)


def test_first_poses_of_a_parked_car_get_their_heading_once_it_drives() -> None:
    rng = np.random.default_rng(5)
    road = drive(60.0, stop_at_s=0.0)
    listed, moved = fixes(road, rng), motions(road, rng)
    ego = run(listed[:10], [m for m in moved if m.stamp_ns < START_NS + 10 * S])
    parked = ego.pose_at(START_NS + 5 * S)
    assert parked is not None
    assert parked.state is PoseState.DEGRADED
    assert parked.cov_own[2, 2] > 1.0
    later = run(listed, moved).pose_at(START_NS + 5 * S)
    assert later is not None
    assert abs(wrap_deg(later.heading_deg - math.degrees(road.at(later.stamp_ns)[2]))) < 5.0


def test_heading_without_course_comes_from_the_way() -> None:
    rng = np.random.default_rng(6)
    road = drive(60.0)
    _, heading = errors(road, run(fixes(road, rng, course=False)), 10.0, 55.0)
    assert p95(heading) < 6.0


@pytest.mark.parametrize("odometry", [True, False])
def test_dead_reckoning_into_a_gap_from_both_sides(odometry: bool) -> None:
    rng = np.random.default_rng(7)
    road = drive(250.0)
    outside = [f for f in fixes(road, rng) if not 30 < (f.stamp_ns - START_NS) / S < 240]
    ego = run(outside, motions(road, rng) if odometry else ())
    reach = 60.0 if odometry else 5.0
    grown = []
    for t in (30.2, 31.0, 30.0 + reach - 0.5):
        pose = ego.pose_at(START_NS + round(t * S))
        assert pose is not None
        grown.append(float(np.trace(pose.cov_own[:2, :2])))
        assert (pose.state is PoseState.DEAD_RECKONING) is (t > 31.5)
        assert (pose.reason == "no usable fix within 1.5 s") is (t > 31.5)
        off = math.dist(FRAME.to_enu(pose.lat_deg, pose.lon_deg), road.at(pose.stamp_ns)[:2])
        assert off < 3.0 * math.sqrt(grown[-1] + float(np.trace(pose.cov_common_m2)))
    assert grown == sorted(grown)
    lost = START_NS + (41 if not odometry else 155) * S
    assert ego.pose_at(lost) is None
    assert ego.state_at(lost) == (PoseState.NONE, "position sigma above 15 m")
    assert EgoFilter().state_at(lost) == (PoseState.NONE, "no fix yet")
    before = ego.pose_at(START_NS + 239 * S)
    assert before is not None
    assert math.dist(FRAME.to_enu(before.lat_deg, before.lon_deg), road.at(before.stamp_ns)[:2]) < 2.5
    assert ego.pose_at(START_NS - S) is not None
    assert ego.pose_at(START_NS - 20 * S if not odometry else START_NS - 130 * S) is None


def shifted(fix: Fix, east_m: float) -> Fix:
    east, north = FRAME.to_enu(fix.lat_deg, fix.lon_deg)
    lat, lon = FRAME.to_geo(east + east_m, north)
    return replace(fix, lat_deg=lat, lon_deg=lon)


def test_a_jump_of_ten_seconds_is_refused_and_forgotten() -> None:
    rng = np.random.default_rng(8)
    road = drive()
    jumped = [shifted(f, 20.0) if 40 <= (f.stamp_ns - START_NS) / S < 50 else f for f in fixes(road, rng)]
    ego = run(jumped, motions(road, rng))
    assert ego.refused[FixRefusal.JUMP] == 10
    assert ego.restarts == 0
    assert p95(errors(road, ego)[0]) < 0.6


@pytest.mark.parametrize("odometry", [True, False])
def test_a_jump_that_stays_wins_after_a_while(odometry: bool) -> None:
    rng = np.random.default_rng(9)
    road = drive()
    jumped = [shifted(f, 60.0) if (f.stamp_ns - START_NS) / S >= 40 else f for f in fixes(road, rng)]
    ego = run(jumped, motions(road, rng) if odometry else ())
    assert ego.restarts == 1
    pose = ego.pose_at(START_NS + 70 * S)
    assert pose is not None
    east, north = FRAME.to_enu(pose.lat_deg, pose.lon_deg)
    e, n, _ = road.at(pose.stamp_ns)
    assert math.hypot(east - e - 60.0, north - n) < 1.0


def test_scattered_outliers_do_not_agree_and_never_win() -> None:
    rng = np.random.default_rng(10)
    road = drive()
    listed = [shifted(f, 300.0 * (-1) ** i) if i % 5 == 2 else f for i, f in enumerate(fixes(road, rng))]
    ego = run(listed, motions(road, rng))
    assert ego.refused[FixRefusal.JUMP] == 24
    assert p95(errors(road, ego)[0]) < 0.6


def test_lever_arm_and_latency() -> None:
    rng = np.random.default_rng(11)
    road = drive()
    late = [replace(f, stamp_ns=f.stamp_ns + 200_000_000) for f in fixes(road, rng, white_m=0.05, lever=(1.2, -0.5))]
    params = EgoParams(antenna_x_m=1.2, antenna_y_m=-0.5, latency_s=0.2)
    off, _ = errors(road, run(late, motions(road, rng), params))
    assert p95(off) < 0.25
    plain, _ = errors(road, run(late, motions(road, rng)))
    assert p95(plain) > 1.0


GOOD = Fix(0, None, 30.0, 120.0, quality=FixQuality.SINGLE)


@pytest.mark.parametrize(
    ("fix", "reason"),
    [
        (replace(GOOD, lat_deg=math.nan), FixRefusal.NOT_FINITE),
        (replace(GOOD, speed_mps=math.inf), FixRefusal.NOT_FINITE),
        (replace(GOOD, hdop=math.nan), FixRefusal.NOT_FINITE),
        (replace(GOOD, lat_deg=120.0, lon_deg=30.0), FixRefusal.OUT_OF_RANGE),
        (replace(GOOD, lon_deg=181.0), FixRefusal.OUT_OF_RANGE),
        (replace(GOOD, speed_mps=-1.0), FixRefusal.OUT_OF_RANGE),
        (replace(GOOD, h_acc_m=-1.0), FixRefusal.OUT_OF_RANGE),
        (replace(GOOD, lat_deg=0.0, lon_deg=0.0), FixRefusal.NULL_ISLAND),
        (replace(GOOD, quality=FixQuality.INVALID), FixRefusal.NO_FIX),
        (replace(GOOD, quality=FixQuality.MANUAL), FixRefusal.NO_FIX),
        (replace(GOOD, hdop=99.9), FixRefusal.COARSE),
        (replace(GOOD, h_acc_m=200.0), FixRefusal.COARSE),
    ],
)
def test_fixes_that_cannot_be_used(fix: Fix, reason: FixRefusal) -> None:
    ego = EgoFilter()
    assert ego.add_fix(fix) is reason
    assert ego.refused[reason] == 1
    assert ego.pose_at(0) is None
    assert not ego.bracketed(0)


def test_time_back_frozen_and_swapped() -> None:
    rng = np.random.default_rng(12)
    road = drive(30.0)
    listed = fixes(road, rng)
    ego = run(listed)
    assert ego.add_fix(listed[3]) is FixRefusal.TIME_BACK
    assert ego.add_fix(replace(listed[-1], stamp_ns=listed[-1].stamp_ns + S)) is FixRefusal.FROZEN
    assert ego.add_fix(replace(listed[-1], stamp_ns=listed[-1].stamp_ns + 2 * S, lat_deg=30.6)) is FixRefusal.JUMP


def test_bad_motion_is_counted() -> None:
    ego = EgoFilter()
    for motion in (Motion(1, math.nan), Motion(2, 500.0), Motion(3, None, math.inf), Motion(4, 1.0), Motion(4, 1.0)):
        ego.add_motion(motion)
    assert ego.odometry.refused == {
        "speed not finite": 1,
        "speed out of range": 1,
        "yaw rate not finite": 1,
        "motion stamp not increasing": 1,
    }


def test_bracketed_utc_and_dead_reckoned_quality() -> None:
    rng = np.random.default_rng(13)
    listed = fixes(drive(20.0), rng)
    ego = run(listed)
    assert ego.bracketed(listed[-1].stamp_ns)
    assert not ego.bracketed(listed[-1].stamp_ns + 1)
    pose = ego.pose_at(START_NS + 10 * S + 250_000_000)
    assert pose is not None
    assert pose.utc_ns == UTC_NS + 10 * S + 250_000_000
    weak = run([replace(f, quality=FixQuality.DEAD_RECKONING) for f in listed]).pose_at(START_NS + 10 * S)
    assert weak is not None
    assert weak.state is PoseState.DEAD_RECKONING


def test_memory_is_bounded_and_forgetting_keeps_what_is_asked_for() -> None:
    rng = np.random.default_rng(14)
    road = drive(700.0)
    ego = run(fixes(road, rng), motions(road, rng, hz=5))
    assert len(ego._past.nodes) <= 302
    assert len(ego.odometry._speed.stamps) <= 5 * 305
    kept = ego.pose_at(START_NS + 650 * S)
    ego.forget_before(START_NS + 649 * S)
    assert len(ego._past.nodes) < 60
    again = ego.pose_at(START_NS + 650 * S)
    assert kept is not None
    assert again is not None
    assert (kept.lat_deg, kept.lon_deg, kept.heading_deg) == (again.lat_deg, again.lon_deg, again.heading_deg)


def test_a_long_way_keeps_true_north() -> None:
    """Driving 30 km east at 60 degrees north, course 90 degrees all the way: the local frame must follow."""
    ego = EgoFilter()
    for t in range(1_500):
        frame = LocalFrame(60.0, 10.0 + t * 20.0 / 55_800.0)
        ego.add_fix(Fix(t * S, None, 60.0, frame.lon0_deg, h_acc_m=0.5, speed_mps=20.0, course_deg=90.0))
    assert ego.refused[FixRefusal.JUMP] == 0
    for t in (1_300, 1_495):
        pose = ego.pose_at(t * S)
        assert pose is not None
        assert abs(pose.heading_deg - 90.0) < 0.05
        assert abs(pose.lat_deg - 60.0) < 1e-6


def test_same_input_same_output() -> None:
    def poses() -> list[tuple[float, ...]]:
        rng = np.random.default_rng(15)
        road = drive(40.0, stop_at_s=10.0)
        ego = run(fixes(road, rng), motions(road, rng))
        found = [ego.pose_at(START_NS + k * 100_000_000) for k in range(390)]
        return [(p.lat_deg, p.lon_deg, p.heading_deg, *p.cov_own.ravel()) for p in found if p is not None]

    assert poses() == poses()
    assert len(poses()) == 390


def reference(file: Path) -> dict[int, tuple[float, float]]:
    """UTC time of day (ns) -> (lat, lon) of the reference; its RMC checksums are wrong, its GGA are not."""
    truth = {}
    for line in file.read_bytes().split():
        try:
            sentence = parse_sentence(line)
        except NmeaError:
            continue
        if sentence.time_ns is not None and sentence.lat_deg is not None and sentence.lon_deg is not None:
            truth[sentence.time_ns] = sentence.lat_deg, sentence.lon_deg
    return truth


def test_mountain_view_poses_against_the_survey_reference(shared: Path) -> None:
    folder = shared / "gnss-logs" / "google-mtv-f9k"
    truth = reference(folder / "MTV.Local1.SPAN.20200206-181434.gga")
    reader = NmeaReader()
    raw = reader.feed((folder / "MTV.Local1.ublox-F9K.20200206-181434.nmea").read_bytes(), 0) + reader.flush()
    assert raw[0].utc_ns is not None
    start = raw[0].utc_ns
    day = start - start % (86_400 * S)
    listed = [f for f in (stamped_by_utc(fix, start) for fix in raw) if f is not None]
    assert len(listed) == 1653
    frame = LocalFrame(raw[0].lat_deg, raw[0].lon_deg)
    ego, none = EgoFilter(), 0
    at_fix: list[float] = []
    middle: list[float] = []
    for i, fix in enumerate(listed):
        ego.add_fix(fix)
        if i < 5:
            continue
        asked = listed[i - 5].stamp_ns
        for stamp, errors_m in ((asked, at_fix), (asked + S // 2, middle)):
            known = [truth.get(start + s - day) for s in (stamp - stamp % S, stamp - stamp % S + S)]
            if known[0] is None or known[1] is None or (stamp != asked and listed[i - 4].stamp_ns != asked + S):
                continue
            share = (stamp % S) / S
            a, b = (np.array(frame.to_enu(*place)) for place in (known[0], known[1]))
            pose = ego.pose_at(stamp)
            if pose is None:
                none += 1
                continue
            errors_m.append(math.dist(frame.to_enu(pose.lat_deg, pose.lon_deg), (1 - share) * a + share * b))
    print(f"fixes p95 {np.quantile(at_fix, 0.95):.2f} m of {len(at_fix)}, middle {np.quantile(middle, 0.95):.2f} m")
    assert none == 0
    assert len(at_fix) >= 1_600
    assert np.quantile(at_fix, 0.95) <= 1.5
    assert np.quantile(middle, 0.95) <= 1.5
