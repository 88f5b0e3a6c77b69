"""The Cramer-Rao floor against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from replays.bench.floor import Rows, Way, floor_covariance, gauss_markov, information, pose_covariance
from replays.bench.floor_rows import layout_of, prior_information, rows_of, thing_block, way_of
from replays.world.card import CARD, QUIET, NoiseCard
from replays.world.sense import sense
from replays.world.streets import solo

WHITE = replace(CARD, edge_share=0.0, pitch_deg=0.0, yaw_deg=0.0, roll_deg=0.0)


def rows(by_state: Array, sigma_px: float, *, dt_s: float = 0.1, attitude: Array | None = None) -> Rows:
    """One edge per frame, one chain."""
    count = len(by_state)
    shake = np.zeros((count, 3)) if attitude is None else attitude
    frames = np.arange(count, dtype=np.intp)
    times: Array = dt_s * np.arange(count, dtype=np.float64)
    return Rows(
        by_state,
        shake,
        np.zeros((count, 3)),
        frames,
        np.zeros(count, np.intp),
        np.full(count, sigma_px),
        times,
    )


def straight(seconds: float, speed: float = 8.0) -> Way:
    """East at a steady speed, 20 ticks a second."""
    time = np.arange(round(20 * seconds) + 1) / 20
    return Way(time, np.zeros(len(time)), np.full(len(time), speed))


def test_white_noise_averages() -> None:
    known = information(rows(np.full((25, 1), 50.0), 3.0), WHITE, None)
    assert known[0, 0] == pytest.approx(25 * 50.0**2 / 3.0**2)


def test_gauss_markov_noise_averages_as_its_closed_form_says() -> None:
    # 1' C^-1 1 of n equally spaced samples of an AR(1) process is (n - (n - 2) rho) / (sigma^2 (1 + rho)).
    card = replace(WHITE, edge_share=1.0, edge_tau_s=0.3)
    rho, count = math.exp(-0.1 / 0.3), 20
    known = information(rows(np.ones((count, 1)), 3.0), card, None)
    assert known[0, 0] == pytest.approx((count - (count - 2) * rho) / (9.0 * (1 + rho)))


def test_attitude_shakes_all_edges_of_a_frame_together() -> None:
    # Two edges of one frame, moved alike by pitch: their sum keeps the shake, their difference does not know it.
    card = replace(WHITE, pitch_deg=0.3)
    focal, sigma = 1000.0, 3.0
    shake = np.array([[focal, 0.0, 0.0], [focal, 0.0, 0.0]])
    two = Rows(
        np.array([[1.0, -1.0], [1.0, 1.0]]), shake, np.zeros((2, 3)), np.zeros(2, np.intp), np.arange(2, dtype=np.intp),
        np.full(2, sigma), np.zeros(1),
    )  # fmt: skip
    cov = np.linalg.inv(information(two, card, None))
    assert cov[0, 0] == pytest.approx(sigma**2 / 2 + (focal * math.radians(0.3)) ** 2)
    assert cov[1, 1] == pytest.approx(sigma**2 / 2)


def test_ground_plane_range_of_one_frame() -> None:
    # sigma_d = (d^2 + h^2) / h * sigma_px / f to first order: geolocation.md 5, without pitch.
    height, focal, distance = 1.5, 1000.0, 20.0
    slope = focal * height / distance**2
    cov = floor_covariance([information(rows(np.array([[slope]]), 3.0), WHITE, None)], np.zeros((1, 1)))
    assert math.sqrt(cov[0, 0]) == pytest.approx(distance**2 / height * 3.0 / focal)


def test_passes_add_and_priors_help() -> None:
    known = information(rows(np.array([[2.0, 0.0], [0.0, 1.0]]), 1.0), WHITE, None)
    many = floor_covariance([known] * 10, np.zeros((2, 2)))
    np.testing.assert_allclose(many, np.linalg.inv(known) / 10)
    held = floor_covariance([known], np.diag([0.0, 3.0]))
    assert held[1, 1] == pytest.approx(1 / 4)


def test_a_pose_without_odometry_errors_is_one_offset() -> None:
    # The shape of the way is known, so one constant offset is left: 1 / (1' C^-1 1) over the fixes.
    card = replace(
        CARD, odometer_scale=1e-9, odometer_mps=1e-9, gyro_bias_dps=1e-9, gyro_dps=1e-9, course_mps=1e-7, speed_mps=1e-7
    )
    fixes = np.arange(21.0)
    cov = pose_covariance(straight(20.0), np.array([4.0, 9.0]), fixes, card)
    noise = gauss_markov(fixes, 0.8, 60.0) + 0.36 * np.eye(21)
    offset = 1.0 / float(np.ones(21) @ np.linalg.solve(noise, np.ones(21)))
    for row in (0, 1, 3, 4):
        assert cov[row, row] == pytest.approx(offset, rel=1e-3)
    assert cov[0, 3] == pytest.approx(offset, rel=1e-3)


def test_the_bias_of_a_pass_never_averages_out() -> None:
    cov = pose_covariance(straight(20.0), np.array([10.0]), np.arange(21.0), CARD)
    assert 0.75 < math.sqrt(cov[0, 0]) < 0.9
    more = pose_covariance(straight(20.0), np.array([10.0]), np.arange(0.0, 20.0, 0.1), replace(CARD, gnss_hz=10.0))
    assert math.sqrt(more[0, 0]) > 0.7


def test_course_gives_the_heading() -> None:
    # n courses of sigma s / v, a perfect gyro: s / v / sqrt(n), while positions of metres hardly help.
    card = replace(CARD, gyro_bias_dps=1e-9, gyro_dps=1e-9)
    cov = pose_covariance(straight(3.0), np.array([1.0]), np.arange(4.0), card)
    assert math.sqrt(cov[2, 2]) == pytest.approx(0.05 / 8.0 / 2.0, rel=0.02)


def test_no_odometer_no_floor() -> None:
    with pytest.raises(ValueError, match="motion"):
        pose_covariance(straight(1.0), np.zeros(1), np.zeros(1), replace(CARD, motion_hz=None))


def solo_floor(card: NoiseCard, edge_px: float) -> Array:
    world, ride = solo(5, "garbage_bin_overflow", 3.0)
    drive = sense(world, ride, QUIET, 1)
    layout = layout_of(world.things, [drive])
    found = rows_of(world, drive, layout, replace(card, edge_px=edge_px))
    assert found is not None
    known = information(found, replace(card, edge_px=edge_px), None)
    return thing_block(floor_covariance([known], prior_information(layout, replace(card, edge_px=edge_px))), 0)


def test_a_simulated_pass_gives_a_sensible_floor() -> None:
    cov = solo_floor(CARD, 3.0)
    assert 0.03 < math.sqrt(np.trace(cov)) < 0.3
    assert np.trace(solo_floor(CARD, 6.0)) > np.trace(cov)


def test_a_thing_that_no_pass_saw_has_a_floor_as_wide_as_the_world() -> None:
    world, ride = solo(5, "garbage_bin_overflow", 3.0)
    layout = layout_of(world.things, [sense(world, ride, QUIET, 1)])
    nothing = np.zeros((layout.size, layout.size))
    cov = thing_block(floor_covariance([nothing], prior_information(layout, CARD)), 0)
    assert np.sqrt(np.diag(cov)) == pytest.approx(1e4)


def test_derivatives_are_those_of_the_projection() -> None:
    world, ride = solo(5, "pole", 3.0)
    drive = sense(world, ride, QUIET, 1)
    layout = layout_of(world.things, [drive])
    found = rows_of(world, drive, layout, CARD)
    assert found is not None
    # Moving the thing and moving the car are opposite; yaw of the body moves left and right edges by about f.
    np.testing.assert_allclose(found.by_pose[:, :2], -found.by_state[:, :2])
    middle = np.abs(found.by_attitude[:, 1])
    assert np.median(middle[found.chain % 2 == 0]) == pytest.approx(1000.0, rel=0.2)
    way, fixes = way_of(drive)
    assert np.median(way.speed_mps) == pytest.approx(8.3, rel=0.01)
    assert len(fixes) >= 7
