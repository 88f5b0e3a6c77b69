"""Contact points and their filter: geometry, stated sigmas, and the Kalman step against batch least squares."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from perception.camera import CameraModel
from perception.ground import CarPlace, GroundParams, ahead_of_time, born, contacts, corrected
from tests.builders import FRAME, FRONT, make_pose

PARAMS = GroundParams()
LEVEL = replace(FRONT, pitch_deg=0.0, yaw_deg=25.0, x_m=1.2, y_m=0.4)
ASIDE = replace(FRONT, yaw_deg=-40.0, y_m=-0.5)


@pytest.mark.parametrize(
    ("heading_deg", "forward", "left"),
    [(0.0, (0, 1), (-1, 0)), (90.0, (1, 0), (0, 1)), (180.0, (0, -1), (1, 0)), (270.0, (-1, 0), (0, -1))],
)
def test_the_car_points_where_its_heading_says(
    heading_deg: float, forward: tuple[int, int], left: tuple[int, int]
) -> None:
    car = CarPlace.of(make_pose(30.0, -20.0, heading_deg), FRAME)
    world = car.to_world(np.array([[10.0, 0.0], [0.0, 3.0]])) - (30.0, -20.0)
    np.testing.assert_allclose(world, [10.0 * np.array(forward), 3.0 * np.array(left)], atol=1e-6)


def test_to_body_undoes_to_world() -> None:
    points = np.random.default_rng(1).normal(0.0, 30.0, (9, 2))
    car = CarPlace(4.0, -7.0, 1.234)
    np.testing.assert_allclose(car.to_body(car.to_world(points)), points, atol=1e-12)


def _boxes_at(points: Array, camera: CameraModel, height_m: float) -> Array:
    """Boxes (N, 4), pixel edges, of thin upright things that stand at vehicle-frame points (N, 2)."""
    foot, depth = camera.project(np.column_stack([points, np.zeros(len(points))]))
    top, _ = camera.project(np.column_stack([points, np.full(len(points), height_m)]))
    assert depth.min() > 0.0
    boxes: Array = np.column_stack([foot[:, 0] - 5.0, top[:, 1], foot[:, 0] + 5.0, foot[:, 1]]) + 0.5
    return boxes


@pytest.mark.parametrize("camera", [FRONT, LEVEL, ASIDE], ids=["front", "level", "aside"])
def test_a_foot_on_the_ground_is_where_it_stands(camera: CameraModel) -> None:
    turn = math.radians(camera.yaw_deg)
    ahead = np.array([[6.0, 1.0], [15.0, -4.0], [40.0, 8.0]])
    points = ahead @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    place, _, usable = contacts(_boxes_at(points, camera, 1.0), camera, np.ones(3), np.zeros(3, bool), PARAMS)
    assert usable.all()
    np.testing.assert_allclose(place, points, atol=1e-6)


def test_a_known_height_tells_the_range_of_what_has_no_foot() -> None:
    turn = math.radians(LEVEL.yaw_deg)
    ahead = np.array([[6.0, 1.0], [15.0, -4.0], [40.0, 8.0]])
    points = LEVEL.position_m[:2] + ahead @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    place, cov, usable = contacts(_boxes_at(points, LEVEL, 1.7), LEVEL, np.full(3, 1.7), np.ones(3, bool), PARAMS)
    assert usable.all()
    np.testing.assert_allclose(place, points, atol=1e-6)
    along = points - LEVEL.position_m[:2]
    distance = np.hypot(*along.T)
    along /= distance[:, None]
    found = np.sqrt(np.einsum("bi,bij,bj->b", along, cov, along))
    np.testing.assert_allclose(found, PARAMS.size_rel * distance)


@pytest.mark.parametrize("range_m", [8.0, 20.0, 40.0])
def test_the_stated_sigma_is_what_pitch_bearing_and_edges_do_to_a_contact(range_m: float) -> None:
    camera = replace(FRONT, pitch_deg=0.0)
    point = camera.position_m[:2] + np.array([range_m * math.cos(0.3), range_m * math.sin(0.3)])
    box = _boxes_at(point[None], camera, 1.0)
    # Without the constant of 0.1 m, for errors too small to bend the formula.
    params = replace(PARAMS, pitch_deg=0.05, bearing_deg=0.04, edge_px=0.3)
    _, cov, _ = contacts(box, camera, np.ones(1), np.zeros(1, bool), params)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(1500):
        shaken = replace(
            camera,
            pitch_deg=params.pitch_deg * float(rng.standard_normal()),
            yaw_deg=params.bearing_deg * float(rng.standard_normal()),
        )
        moved = box + params.edge_px * np.array([[0.0, 0.0, 0.0, rng.standard_normal()]])
        moved[:, [0, 2]] += params.edge_px * rng.standard_normal()
        found.append(contacts(moved, shaken, np.ones(1), np.zeros(1, bool), params)[0][0])
    for direction in (np.array([math.cos(0.3), math.sin(0.3)]), np.array([-math.sin(0.3), math.cos(0.3)])):
        stated = math.sqrt(float(direction @ cov[0] @ direction)) - 0.1
        assert float(np.std(np.array(found) @ direction)) == pytest.approx(stated, rel=0.15)


def test_what_cannot_be_placed_is_said_so() -> None:
    sky = [600.0, 100.0, 640.0, 200.0]
    far, near = _boxes_at(np.array([[95.0, 0.0], [10.0, 1.0]]), FRONT, 1.0)
    boxes = np.array([sky, far, near, near, near])
    by_height = np.array([False, False, False, True, True])
    place, cov, usable = contacts(boxes, FRONT, np.array([1.0, 1.0, 1.0, 0.0, 1.0]), by_height, PARAMS)
    assert usable.tolist() == [False, False, True, False, True]
    assert np.isfinite(place).all()
    assert np.isfinite(cov).all()
    assert (np.linalg.eigvalsh(cov) > 0.0).all()


def _some_states(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    root = rng.standard_normal((count, 4, 4))
    return rng.standard_normal((count, 4)), root @ root.transpose(0, 2, 1) + 0.5 * np.eye(4)


def test_two_steps_in_time_are_one_long_one() -> None:
    state, cov = _some_states(np.random.default_rng(2), 3)
    movable = np.array([True, False, True])
    first, second = np.array([0.1, 0.4, 1.0]), np.array([0.3, 0.7, 0.2])
    twice = ahead_of_time(*ahead_of_time(state, cov, first, movable, PARAMS), second, movable, PARAMS)
    once = ahead_of_time(state, cov, first + second, movable, PARAMS)
    np.testing.assert_allclose(twice[0], once[0])
    np.testing.assert_allclose(twice[1], once[1])
    np.testing.assert_allclose(once[0][:, :2], state[:, :2] + (first + second)[:, None] * state[:, 2:])


def test_noise_of_a_second_is_that_of_the_class() -> None:
    state, cov = np.zeros((2, 4)), np.zeros((2, 4, 4))
    _, after = ahead_of_time(state, cov, np.ones(2), np.array([True, False]), PARAMS)
    for row, accel in ((0, PARAMS.movable_mps2), (1, PARAMS.fixed_mps2)):
        assert after[row, 1, 1] == pytest.approx(accel**2 / 3.0 + PARAMS.walk_m_per_sqrt_s**2)
        assert after[row, 1, 3] == pytest.approx(accel**2 / 2.0)
        assert after[row, 3, 3] == pytest.approx(accel**2)
        assert after[row, 0, 1] == after[row, 0, 3] == after[row, 2, 3] == 0.0
    _, same = ahead_of_time(state, cov + np.eye(4), np.zeros(2), np.array([True, False]), PARAMS)
    np.testing.assert_array_equal(same, cov + np.eye(4))


def test_a_track_is_born_where_it_is_seen_with_the_speeds_of_its_class() -> None:
    place, cov = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([np.diag([0.1, 0.2]), np.diag([0.3, 0.4])])
    state, spread = born(place, cov, np.array([True, False]), PARAMS)
    np.testing.assert_array_equal(state, np.column_stack([place, np.zeros((2, 2))]))
    np.testing.assert_array_equal(spread[:, :2, :2], cov)
    np.testing.assert_allclose(spread[:, 2, 2], [PARAMS.movable_mps**2, PARAMS.fixed_mps**2])
    np.testing.assert_allclose(spread[:, 3, 3], spread[:, 2, 2])


def test_the_filter_is_batch_least_squares_on_a_straight_way() -> None:
    rng, steady = np.random.default_rng(6), replace(PARAMS, movable_mps2=0.0, walk_m_per_sqrt_s=0.0)
    times, movable = np.cumsum(rng.uniform(0.05, 0.4, 12)), np.array([True])
    truth = np.array([3.0, -2.0, 4.0, 1.5])
    roots = 0.3 * rng.standard_normal((12, 2, 2))
    noises = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(2)
    rows = np.array([np.hstack([np.eye(2), t * np.eye(2)]) for t in times - times[0]])
    # Half of the noise that is declared: no innovation is an outlier, so that nothing is widened.
    seen = rows @ truth + 0.5 * (np.linalg.cholesky(noises) @ rng.standard_normal((12, 2, 1)))[:, :, 0]
    state, cov = born(seen[:1], noises[:1], movable, steady)
    for k in range(1, 12):
        state, cov = ahead_of_time(state, cov, times[k : k + 1] - times[k - 1], movable, steady)
        state, cov = corrected(state, cov, seen[k : k + 1], noises[k : k + 1])
    weights = np.linalg.inv(noises)
    information = (rows.transpose(0, 2, 1) @ weights @ rows).sum(axis=0)
    information[2:, 2:] += np.eye(2) / steady.movable_mps**2
    start = np.linalg.solve(information, (rows.transpose(0, 2, 1) @ weights @ seen[:, :, None]).sum(axis=0)[:, 0])
    step = np.eye(4)
    step[0, 2] = step[1, 3] = times[-1] - times[0]
    np.testing.assert_allclose(state[0], step @ start, rtol=1e-8)
    np.testing.assert_allclose(cov[0], step @ np.linalg.inv(information) @ step.T, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("off_m", [1.0, 3.4, 10.0, 100.0])
def test_a_far_outlier_is_widened_by_hand_computed_huber_weights(off_m: float) -> None:
    state, cov, noise = np.zeros((1, 4)), np.eye(4)[None], np.eye(2)[None]
    after, spread = corrected(state, cov, np.array([[off_m, 0.0]]), noise)
    wide = max(1.0, off_m**2 / 2.0 / 6.0)
    assert after[0, 0] == pytest.approx(off_m / (1.0 + wide))
    assert after[0, 1:].tolist() == [0.0, 0.0, 0.0]
    assert spread[0, 0, 0] == pytest.approx(1.0 - 1.0 / (1.0 + wide))
    assert spread[0, 2, 2] == 1.0


def test_each_track_is_corrected_alone_and_stays_a_covariance() -> None:
    rng = np.random.default_rng(9)
    state, cov = _some_states(rng, 5)
    place, noise = rng.normal(0.0, 4.0, (5, 2)), np.array([np.diag(rng.uniform(0.01, 1.0, 2)) for _ in range(5)])
    together = corrected(state, cov, place, noise)
    for k in range(5):
        alone = corrected(state[k : k + 1], cov[k : k + 1], place[k : k + 1], noise[k : k + 1])
        np.testing.assert_allclose(together[0][k], alone[0][0])
        np.testing.assert_allclose(together[1][k], alone[1][0])
    assert (np.linalg.eigvalsh(together[1]) > 0.0).all()
    assert (np.linalg.eigvalsh(cov - together[1]) > -1e-9).all()
