"""High houses: runs of fixes that lie off, consistent in themselves, and a filter that must not follow them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.ego import EgoFilter, FixRefusal
from gnss.ego_track import Node
from gnss.types import Fix, FixQuality, Motion, PoseState
from tests.gnss.road import FRAME, START_NS, Road, drive, fixes, motions

S = 1_000_000_000


def moved(fix: Fix, east_m: float, north_m: float) -> Fix:
    east, north = FRAME.to_enu(fix.lat_deg, fix.lon_deg)
    lat, lon = FRAME.to_geo(east + east_m, north + north_m)
    return replace(fix, lat_deg=lat, lon_deg=lon)


def off_at(ego: EgoFilter, road: Road, t: float) -> float:
    pose = ego.pose_at(START_NS + round(t * S))
    assert pose is not None
    return math.dist(FRAME.to_enu(pose.lat_deg, pose.lon_deg), road.at(pose.stamp_ns)[:2])


@pytest.mark.parametrize("seed", range(3))
def test_without_odometry_doppler_carries_over_a_run_of_reflections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    road = drive(120.0)
    ego = EgoFilter()
    for fix in fixes(road, rng, white_m=0.5, h_acc_m=2.0):
        t = (fix.stamp_ns - START_NS) / S
        if 50 <= t < 58:
            fix = moved(fix, 35.0 + rng.normal(0, 6.0), -20.0 + rng.normal(0, 6.0))
        ego.add_fix(fix)
    assert ego.refused[FixRefusal.JUMP] >= 6
    assert max(off_at(ego, road, t) for t in np.arange(40.0, 100.0, 0.5)) < 4.0
    state, reason = ego.state_at(START_NS + 55 * S)
    assert state is PoseState.DEAD_RECKONING
    assert reason == "no usable fix within 1.5 s"


def test_standing_among_reflections_moves_nothing() -> None:
    rng = np.random.default_rng(3)
    road = drive(150.0, stop_at_s=60.0)
    ego = EgoFilter()
    for fix in fixes(road, rng, white_m=0.3, h_acc_m=2.0):
        t = (fix.stamp_ns - START_NS) / S
        ego.add_fix(moved(fix, 28.0, 11.0) if 62 <= t < 74 else fix)
    assert max(off_at(ego, road, t) for t in np.arange(55.0, 90.0, 0.5)) < 4.0


def test_what_may_be_wrong_is_told_while_it_is_not_settled() -> None:
    """A fix at a doubtful distance: both explanations live, and the pose says how far they are apart."""
    rng = np.random.default_rng(4)
    road = drive(60.0)
    ego, calm = EgoFilter(), 0.0
    listed = fixes(road, rng, white_m=0.4, h_acc_m=3.0)
    for fix in listed[:40]:
        ego.add_fix(fix)
    before = ego.pose_at(listed[39].stamp_ns)
    assert before is not None
    calm = float(np.trace(before.cov_common_m2))
    ego.add_fix(moved(listed[40], 9.0, 0.0))
    ego.add_fix(moved(listed[41], 9.0, 0.0))
    doubted = ego.pose_at(listed[41].stamp_ns)
    assert doubted is not None
    assert float(np.trace(doubted.cov_common_m2 + doubted.cov_own[:2, :2])) > calm
    for fix in listed[42:]:
        ego.add_fix(fix)
    settled = ego.pose_at(listed[41].stamp_ns)
    assert settled is not None
    assert float(np.trace(settled.cov_common_m2)) < 1.2 * calm


def test_integers_fixed_right_after_floats_are_not_believed_to_the_centimetre() -> None:
    rng = np.random.default_rng(5)
    road = drive(60.0)
    ego = EgoFilter()
    for k, fix in enumerate(fixes(road, rng, white_m=0.2, h_acc_m=2.0)):
        lone = k == 30
        quality = FixQuality.RTK_FIXED if lone else FixQuality.RTK_FLOAT
        ego.add_fix(replace(moved(fix, 3.0, 0.0) if lone else fix, quality=quality, h_acc_m=0.02 if lone else 2.0))
    assert off_at(ego, road, 30.0) < 2.0


def test_a_solution_from_few_satellites_counts_little() -> None:
    rng = np.random.default_rng(6)
    road = drive(60.0)
    ego = EgoFilter()
    for k, fix in enumerate(fixes(road, rng, white_m=0.2, h_acc_m=0.5)):
        ego.add_fix(replace(moved(fix, 6.0, 6.0), satellites=4) if k % 2 else fix)
    assert max(off_at(ego, road, t) for t in np.arange(20.0, 55.0, 0.5)) < 1.5


def test_a_lost_filter_begins_anew_rather_than_wait() -> None:
    rng = np.random.default_rng(7)
    road = drive(120.0)
    ego = EgoFilter()
    for fix in fixes(road, rng, course=False):
        t = (fix.stamp_ns - START_NS) / S
        if not 40 < t < 70:
            ego.add_fix(fix)
    assert ego.state_at(START_NS + 55 * S)[0] is PoseState.NONE
    assert off_at(ego, road, 75.0) < 3.0


def test_a_car_without_doppler_may_back_out() -> None:
    """No receiver speed, no wheels: the place must follow although the heading says forward."""
    frame_fixes = []
    for k in range(40):
        way = 3.0 * k if k < 20 else 60.0 - 1.5 * (k - 20)
        lat, lon = FRAME.to_geo(way, 0.0)
        frame_fixes.append(Fix(START_NS + k * S, None, lat, lon, h_acc_m=0.3))
    ego = EgoFilter()
    for fix in frame_fixes:
        ego.add_fix(fix)
    pose = ego.pose_at(frame_fixes[35].stamp_ns)
    assert pose is not None
    assert math.dist(FRAME.to_enu(pose.lat_deg, pose.lon_deg), (60.0 - 1.5 * 15, 0.0)) < 1.0


def test_memory_of_guesses_is_bounded() -> None:
    rng = np.random.default_rng(8)
    road = drive(400.0)
    ego = EgoFilter()
    for k, fix in enumerate(fixes(road, rng, white_m=0.5, h_acc_m=3.0)):
        ego.add_fix(moved(fix, float(rng.normal(0, 12)), float(rng.normal(0, 12))) if k % 3 else fix)
    assert len(ego._guesses) <= ego.params.reflections.most_guesses
    seen: set[int] = set()
    for guess in ego._guesses:
        node: Node | None = guess.node
        while node is not None and id(node) not in seen:
            seen.add(id(node))
            node = node.parent
    assert len(seen) < 302 + 6 * 62


def test_odometry_makes_a_short_jump_no_matter() -> None:
    rng = np.random.default_rng(9)
    road = drive()
    ego = EgoFilter()
    events: list[Fix | Motion] = [*motions(road, rng), *fixes(road, rng)]
    for event in sorted(events, key=lambda e: (e.stamp_ns, isinstance(e, Fix))):
        if isinstance(event, Fix):
            t = (event.stamp_ns - START_NS) / S
            ego.add_fix(moved(event, 0.0, 15.0) if 40 <= t < 48 else event)
        else:
            ego.add_motion(event)
    assert max(off_at(ego, road, t) for t in np.arange(35.0, 60.0, 0.5)) < 0.8
