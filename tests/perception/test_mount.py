"""The mount bias: closed forms of pooling and teaching, knocks, ageing, and its way through a starting calibration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from perception.mount import MountBias, MountEvidence, MountParams, gained, is_knocked, pooled, taught
from perception.types import CalibrationUpdate
from tests.builders import FRONT

PARAMS = MountParams()
NOTHING = (np.zeros((0, 3)), np.zeros((0, 3, 3)))


def _spd(rng: np.random.Generator, scale: float) -> Array:
    root = rng.standard_normal((3, 3))
    product: Array = scale**2 * (root @ root.T + 0.3 * np.eye(3))
    return product


def _tracks(
    rng: np.random.Generator, truth: Array, mean: Array, cov: Array, count: int, noise: float
) -> tuple[Array, Array, Array, Array]:
    """Own posteriors (T, 3), (T, 3, 3) of tracks that each see two mixtures of the bias; rows and values of all."""
    prior, rows = np.linalg.inv(cov), rng.standard_normal((count, 2, 3))
    values = rows @ truth + noise * rng.standard_normal((count, 2))
    covs = np.asarray(np.linalg.inv(prior + rows.transpose(0, 2, 1) @ rows / noise**2), np.float64)
    told = prior @ mean + (rows.transpose(0, 2, 1) @ values[:, :, None])[:, :, 0] / noise**2
    means: Array = (covs @ told[:, :, None])[:, :, 0]
    return means, covs, rows.reshape(-1, 3), values.ravel()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_pooled_tracks_are_the_joint_solution(count: int) -> None:
    rng = np.random.default_rng(count)
    mean, cov = 0.02 * rng.standard_normal(3), _spd(rng, 0.02)
    means, covs, rows, values = _tracks(rng, mean + 0.01, mean, cov, count, 0.01)
    found = pooled(mean, cov, means, covs)
    information = rows.T @ rows / 0.01**2
    joint = np.linalg.inv(np.linalg.inv(cov) + information)
    np.testing.assert_allclose(found.information, information, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(found.cov, joint, rtol=1e-6, atol=1e-12)
    expected = joint @ (np.linalg.solve(cov, mean) + rows.T @ values / 0.01**2)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-6, atol=1e-9)


def test_no_tracks_leave_the_prior() -> None:
    cov = _spd(np.random.default_rng(4), 0.02)
    found = pooled(np.array([0.01, -0.02, 0.03]), cov, *NOTHING)
    np.testing.assert_allclose(found.mean, [0.01, -0.02, 0.03])
    np.testing.assert_allclose(found.cov, cov)
    assert not found.information.any()


def test_what_a_posterior_gained_is_never_less_than_nothing() -> None:
    cov = np.diag([1e-4, 2e-4, 4e-4])
    found = gained(cov, np.stack([cov, 1.0001 * cov, np.diag([1e-4, 1e-4, 9e-4])]))
    np.testing.assert_allclose(found[:2], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[2], np.diag([0.0, 1e4 - 5e3, 0.0]), atol=1e-6)


@pytest.mark.parametrize("told", [0.0, 1e3, 1e6])
def test_taught_takes_heading_and_slope_out_exactly_one_angle_at_a_time(told: float) -> None:
    heading_var, grade_var = math.radians(0.3) ** 2, math.radians(PARAMS.grade_deg) ** 2
    mount = MountBias(np.array([0.004, -0.002, 0.01]), np.diag([2e-5, 3e-5, 4e-4]))
    prior = mount.stretch(heading_var, PARAMS)
    value, information = np.array([0.012, 0.006, -0.02]), np.full(3, told)
    cov = 1.0 / (1.0 / np.diag(prior) + information)
    evidence = MountEvidence(
        cov * (mount.mean / np.diag(prior) + information * value), np.diag(cov), np.diag([told] * 3)
    )
    after = taught(mount, prior, evidence)
    for k, extra in enumerate((heading_var, grade_var, 0.0)):
        # Seen directly, mount + heading (or slope) is measured with the sum of both variances as noise on the mount.
        noise = extra + (1.0 / told if told else math.inf)
        own = mount.cov[k, k]
        exact = 1.0 / (1.0 / own + 1.0 / noise)
        assert after.cov[k, k] == pytest.approx(exact, rel=1e-9)
        assert after.mean[k] == pytest.approx(exact * (mount.mean[k] / own + value[k] / noise), rel=1e-9)


def test_taught_is_the_joint_solution_of_mount_and_stretch_with_correlations() -> None:
    rng = np.random.default_rng(8)
    mount = MountBias(0.01 * rng.standard_normal(3), _spd(rng, 0.01))
    extra = np.diag([math.radians(0.4) ** 2, math.radians(PARAMS.grade_deg) ** 2, 0.0])
    prior = mount.stretch(float(extra[0, 0]), PARAMS)
    np.testing.assert_allclose(prior, mount.cov + extra)
    means, covs, rows, values = _tracks(rng, mount.mean + 0.01, mount.mean, prior, 5, 0.01)
    after = taught(mount, prior, pooled(mount.mean, prior, means, covs))
    # (mount, what the stretch sees) are jointly Gaussian: condition on all that the tracks measured.
    noisy = rows @ prior @ rows.T + 0.01**2 * np.eye(len(rows))
    gain = mount.cov @ rows.T @ np.linalg.inv(noisy)
    np.testing.assert_allclose(after.mean, mount.mean + gain @ (values - rows @ mount.mean), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(after.cov, mount.cov - gain @ rows @ mount.cov, rtol=1e-6, atol=1e-12)
    assert np.linalg.eigvalsh(after.cov).min() > 0.0


def test_one_stretch_never_teaches_more_than_heading_and_slope_allow_and_many_do() -> None:
    mount = MountBias.unknown(FRONT, PARAMS)
    sure = np.full(3, 1e-10)
    for count in range(1, 26):
        prior = mount.stretch(math.radians(0.3) ** 2, PARAMS)
        mount = taught(mount, prior, MountEvidence(mount.mean, np.diag(sure), np.diag(1.0 / sure)))
        limit_deg = PARAMS.grade_deg / math.sqrt(count)
        expected = 1.0 / math.sqrt(1.0 / PARAMS.angle_deg**2 + 1.0 / limit_deg**2)
        assert math.degrees(mount.cov[1, 1] ** 0.5) == pytest.approx(expected, rel=1e-3)


def _stretch_evidence(rng: np.random.Generator, mount: MountBias, prior: Array, jump: Array) -> MountEvidence:
    truth = mount.mean + jump + np.linalg.cholesky(prior) @ rng.standard_normal(3)
    means, covs, _, _ = _tracks(rng, truth, mount.mean, prior, 4, 0.004)
    return pooled(mount.mean, prior, means, covs)


LEARNED = MountBias(np.array([0.003, -0.004, 0.01]), np.diag(np.radians([0.1, 0.1, 1.0]) ** 2))


def test_a_jump_of_two_degrees_is_a_knock_and_noise_is_not() -> None:
    rng = np.random.default_rng(21)
    prior = LEARNED.stretch(math.radians(0.2) ** 2, PARAMS)
    for axis in (0, 1):
        jump = np.zeros(3)
        jump[axis] = math.radians(2.0)
        found = [is_knocked(LEARNED, prior, _stretch_evidence(rng, LEARNED, prior, jump), PARAMS) for _ in range(100)]
        assert np.mean(found) >= 0.95
    still = [
        is_knocked(LEARNED, prior, _stretch_evidence(rng, LEARNED, prior, np.zeros(3)), PARAMS) for _ in range(1000)
    ]
    assert not any(still)


@pytest.mark.parametrize(("limit", "rate"), [(7.815, 0.05), (2.366, 0.5)])
def test_false_knocks_come_as_often_as_chi_square_says(limit: float, rate: float) -> None:
    rng = np.random.default_rng(22)
    prior, params = LEARNED.stretch(math.radians(0.2) ** 2, PARAMS), replace(PARAMS, knock_chi2=limit)
    found = [
        is_knocked(LEARNED, prior, _stretch_evidence(rng, LEARNED, prior, np.zeros(3)), params) for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(rate, abs=4.0 * math.sqrt(rate * (1.0 - rate) / 2000))


def test_a_stretch_that_saw_nothing_is_no_knock() -> None:
    prior = LEARNED.stretch(math.radians(0.2) ** 2, PARAMS)
    assert not is_knocked(LEARNED, prior, pooled(LEARNED.mean, prior, *NOTHING), PARAMS)


def test_a_knocked_mount_stays_where_it_was_and_is_learned_anew() -> None:
    after = LEARNED.knocked(PARAMS)
    np.testing.assert_array_equal(after.mean, LEARNED.mean)
    grown = after.cov - LEARNED.cov
    np.testing.assert_allclose(grown, np.diag([math.radians(PARAMS.knock_deg) ** 2] * 2 + [0.0]), atol=1e-15)
    prior = after.stretch(math.radians(0.2) ** 2, PARAMS)
    rng, jump = np.random.default_rng(5), np.array([0.0, math.radians(2.0), 0.0])
    means, covs, _, _ = _tracks(rng, LEARNED.mean + jump, after.mean, prior, 8, 0.002)
    found = pooled(after.mean, prior, means, covs)
    assert not is_knocked(after, prior, found, PARAMS)
    again = taught(after, prior, found)
    assert math.degrees(again.mean[1] - LEARNED.mean[1]) == pytest.approx(2.0, abs=0.3)


def test_a_mount_creeps_with_the_root_of_time_and_never_back() -> None:
    later = LEARNED.later(100.0, PARAMS)
    grown = np.sqrt(np.diag(later.cov - LEARNED.cov))
    np.testing.assert_allclose(np.degrees(grown[:2]), 10.0 * PARAMS.walk_deg_per_sqrt_s)
    assert grown[2] == 0.0
    twice = LEARNED.later(40.0, PARAMS).later(60.0, PARAMS)
    np.testing.assert_allclose(twice.cov, later.cov)
    np.testing.assert_array_equal(LEARNED.later(-5.0, PARAMS).cov, LEARNED.cov)
    np.testing.assert_array_equal(later.mean, LEARNED.mean)


@pytest.mark.parametrize("guessed", [False, True])
def test_nothing_is_known_of_a_new_mount_and_less_of_a_guessed_one(guessed: bool) -> None:
    unknown = MountBias.unknown(replace(FRONT, guessed=guessed), PARAMS)
    sigma = np.sqrt(np.diag(unknown.cov))
    angle_deg, height_m = (PARAMS.guessed_angle_deg, PARAMS.guessed_height_m) if guessed else (
        PARAMS.angle_deg, PARAMS.height_m,
    )  # fmt: skip
    np.testing.assert_allclose([*np.degrees(sigma[:2]), sigma[2]], [angle_deg, angle_deg, height_m])
    assert not unknown.mean.any()


def test_what_a_drive_learned_starts_the_next_a_little_less_sure() -> None:
    mount = MountBias(np.array([0.01, -0.02, 0.05]), np.diag([1e-5, 2e-5, 3e-4]))
    event = mount.update(77, "front")
    assert (event.stamp_ns, event.camera) == (77, "front")
    again = MountBias.learned(event, FRONT, PARAMS)
    np.testing.assert_allclose(again.mean, mount.mean)
    aged = math.radians(PARAMS.between_drives_deg) ** 2
    np.testing.assert_allclose(again.cov, mount.cov + np.diag([aged, aged, 0.0]))


def test_a_calibration_that_tells_no_height_leaves_it_unknown() -> None:
    event = CalibrationUpdate(0, "front", 0.5, 0.1, -0.3, 0.2)
    learned = MountBias.learned(event, FRONT, PARAMS)
    assert learned.cov[2, 2] == pytest.approx(PARAMS.height_m**2)
    assert np.degrees(learned.mean[:2]).tolist() == pytest.approx([0.5, -0.3])
    expected = [math.hypot(0.1, PARAMS.between_drives_deg), math.hypot(0.2, PARAMS.between_drives_deg)]
    assert np.degrees(np.sqrt(np.diag(learned.cov)[:2])).tolist() == pytest.approx(expected)
