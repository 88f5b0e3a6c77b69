"""Existence of tracks and cases, and what counts as a clear look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.existence import (
    CEILING,
    FLOOR,
    ExistenceParams,
    after_hit,
    after_miss,
    survived,
    track_existence,
)
from perception.glance import Obstacles, ViewField, clear_looks
from perception.types import Detections, Observation, View
from tests.builders import CATALOGUE, CLASS_NAMES, FRAME, FRONT, Thing, World, make_pose, make_view

PARAMS = ExistenceParams()
CAMERAS = {"front": FRONT}
HEAP = CATALOGUE.classes["garbage"]
TIGHT = 0.04 * np.eye(2)


def _boxes(confidences: list[float], period_s: float = 0.1) -> list[Observation]:
    return [
        Observation(int(i * period_s * 1e9), "front", i, (0.0, 0.0, 9.0, 9.0), c, "garbage", 1280, 720)
        for i, c in enumerate(confidences)
    ]


@pytest.mark.parametrize("threshold", [0.25, 0.35, 0.5])
@pytest.mark.parametrize("frames", [10, 20, 30])
def test_a_real_thing_opens_from_one_pass(threshold: float, frames: int) -> None:
    rng = np.random.default_rng(frames)
    values = [track_existence(_boxes(list(rng.uniform(0.4, 0.9, frames))), threshold, PARAMS) for _ in range(40)]
    assert np.mean([v >= PARAMS.open_at for v in values]) >= 0.85


@pytest.mark.parametrize("threshold", [0.25, 0.35, 0.5])
@pytest.mark.parametrize("frames", [3, 4])
def test_clutter_just_above_the_threshold_does_not(threshold: float, frames: int) -> None:
    for period_s in (0.1, 0.2, 1.0):
        boxes = _boxes([threshold + 0.03] * frames, period_s)
        assert track_existence(boxes, threshold, PARAMS) < PARAMS.open_at


def test_a_calibrated_confidence_counts_by_its_odds_over_the_prior_odds() -> None:
    boxes = _boxes([0.5], 0.1)
    told = track_existence(boxes, 0.3, PARAMS, prior_odds=0.5)
    odds = PARAMS.birth / (1.0 - PARAMS.birth) * (0.5 / 0.5) / 0.5
    assert told == pytest.approx(odds / (1.0 + odds))
    # Where things are rarer, the same confidence was harder to come by.
    assert track_existence(boxes, 0.3, PARAMS, prior_odds=0.25) > told
    assert track_existence(_boxes([1 / 3], 0.1), 0.3, PARAMS, prior_odds=0.5) == pytest.approx(PARAMS.birth)


def test_frames_of_one_moment_count_once() -> None:
    few, many = _boxes([0.7] * 4, 0.05), _boxes([0.7] * 40, 0.005)
    assert track_existence(few, 0.3, PARAMS) == pytest.approx(track_existence(many, 0.3, PARAMS))


def test_misses_follow_the_formula_and_three_clear_looks_resolve() -> None:
    r, looks = 0.98, 0
    while r >= PARAMS.resolve_at:
        expected = r * 0.05 / (r * 0.05 + (1 - r) * (1 - PARAMS.false_pass))
        r = after_miss(r, 0.95, PARAMS)
        assert r == pytest.approx(max(expected, FLOOR))
        looks += 1
    assert looks == 3


def test_a_look_that_saw_nothing_possible_changes_nothing() -> None:
    assert after_miss(0.7, 0.05, PARAMS) == pytest.approx(0.7, abs=0.02)


def test_existence_is_clipped() -> None:
    assert after_hit(0.999, 0.999) == CEILING
    assert after_miss(0.001, 0.95, PARAMS) == FLOOR
    assert survived(0.9, CATALOGUE.classes["car"], 1e9) == FLOOR


def test_survival_is_exponential_in_the_mean_life() -> None:
    assert survived(0.9, HEAP, HEAP.survival_h * 3600) == pytest.approx(0.9 / np.e)


def _drive(place: tuple[float, float], *, boxes: Detections | None = None, offset: float = 0.0) -> list[View]:
    """Views every 0.2 s on the way from 30 m before to 6 m before a place east, north."""
    return [make_view(make_pose(offset, place[1] - 30.0 + 1.4 * i, 0.0, i * 200_000_000), i, boxes) for i in range(18)]


def _look(
    views: list[View], place: tuple[float, float], cov: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = TIGHT
) -> float:
    field = ViewField.of(views, FRAME, PARAMS)
    return float(clear_looks(np.array([place]), cov[None], [HEAP], field, CAMERAS, PARAMS)[0][0])


def test_driving_past_is_a_clear_look() -> None:
    assert _look(_drive((4.0, 50.0)), (4.0, 50.0)) == PARAMS.most_pass_pd


def test_one_moment_is_worth_one_moment() -> None:
    view = make_view(make_pose(0.0, 35.0, 0.0, 0), 0)
    many = [replace(view, stamp_ns=view.stamp_ns + i) for i in range(50)]
    assert _look(many, (3.0, 50.0)) == pytest.approx(PARAMS.group_pd)


def test_driving_away_or_far_off_sees_nothing() -> None:
    back = [make_view(make_pose(0.0, 60.0 + i, 0.0, i * 10**8), i) for i in range(20)]
    assert _look(back, (3.0, 50.0)) == 0.0
    assert _look(_drive((4.0, 50.0), offset=-30.0), (4.0, 50.0)) == 0.0


def test_blur_is_no_look() -> None:
    views = [replace(v, sharpness=1.0) for v in _drive((4.0, 50.0))]
    assert _look(views, (4.0, 50.0)) == 0.0


def test_a_wide_ellipse_must_be_in_view_as_a_whole() -> None:
    assert _look(_drive((4.0, 50.0)), (4.0, 50.0), 9.0**2 * np.eye(2)) == 0.0


def _hidden_by(thing: Thing, place: tuple[float, float]) -> float:
    views = []
    for view in _drive(place):
        north = FRAME.to_enu(view.pose.lat_deg, view.pose.lon_deg)[1]
        world = World([])
        box = world.project(Thing("o", thing.class_name, thing.east_m, thing.north_m - north), 0.0)
        if box is None:
            continue
        clipped = np.clip(box, 0, (1280, 720, 1280, 720))[None].astype(np.float32)
        one = np.array([CLASS_NAMES.index(thing.class_name)], np.int32)
        views.append(replace(view, boxes=Detections(clipped, np.ones(1, np.float32), one, CLASS_NAMES)))
    return _look(views, place)


def test_a_nearer_thing_hides_and_a_farther_one_does_not() -> None:
    place = (4.0, 50.0)
    assert _hidden_by(Thing("t", "truck", 3.2, 44.0), place) == 0.0
    assert _hidden_by(Thing("t", "truck", 4.0, 62.0), place) > 0.9


def test_what_the_pass_found_standing_hides_even_where_the_detector_missed_it() -> None:
    place = (4.0, 50.0)
    field = ViewField.of(_drive(place), FRAME, PARAMS)

    def chance(*spots: tuple[float, float], name: str = "truck") -> float:
        shape = CATALOGUE.classes[name]
        stands = Obstacles.of(np.array(spots), [0.0] * len(spots), [shape.size_m] * len(spots))
        return float(clear_looks(np.array([place]), TIGHT[None], [HEAP], field, CAMERAS, PARAMS, stands)[0][0])

    assert chance((3.2, 44.0)) == 0.0
    assert chance((4.0, 62.0)) > 0.9
    assert chance((-4.0, 44.0)) > 0.9
    assert chance((3.2, 44.0), name="pothole") > 0.9
    assert chance() > 0.9


def test_a_thing_that_stands_on_the_place_hides_it() -> None:
    assert _hidden_by(Thing("t", "car", 4.0, 50.0), (4.0, 50.0)) == 0.0


def _logit(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))


AGAINST = float(np.log((1.0 - PARAMS.missed_pd) / (1.0 - PARAMS.false_pass)))


def _missed(times_s: list[float]) -> list[int]:
    return [int(t * 1e9) for t in times_s]


def test_missed_groups_count_against_a_track_by_their_likelihood_ratio() -> None:
    threshold = 0.35
    gain = min(_logit(0.5) - _logit(threshold) + 1.0, np.log(PARAMS.most_group_ratio))
    boxes = _boxes([0.5] * 4)
    for groups in range(6):
        lacking = [PARAMS.group_s * (1 + g) + s for g in range(groups) for s in (0.05, 0.25)]
        spread = np.sqrt(max(1.0, (1 + groups) / PARAMS.correlated_groups))
        total = _logit(PARAMS.birth) + (gain + groups * AGAINST) / spread
        assert track_existence(boxes, threshold, PARAMS, _missed(lacking)) == pytest.approx(1 / (1 + np.exp(-total)))


def test_one_miss_or_a_miss_in_a_group_that_saw_it_changes_nothing() -> None:
    boxes = _boxes([0.6] * 4)
    plain = track_existence(boxes, 0.35, PARAMS)
    assert track_existence(boxes, 0.35, PARAMS, _missed([0.5, 0.9, 1.3])) == plain
    assert track_existence(boxes, 0.35, PARAMS, _missed([0.02, 0.12, 0.22, 0.32])) == plain
    assert track_existence(boxes, 0.35, PARAMS, _missed([0.5, 0.6])) < plain


def test_a_shadow_of_half_a_second_opens_nothing_when_it_is_gone_the_next() -> None:
    flash = _boxes([0.75] * 12)
    gone = _missed([1.25 + 0.1 * k for k in range(16)])
    assert track_existence(flash, 0.35, PARAMS) > 0.9
    assert track_existence(flash, 0.35, PARAMS, gone) < 0.6
