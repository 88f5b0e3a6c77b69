"""Covariances of box edges: the stated sums of two frames, positive definite, and what simulated shakes look like."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from perception.box_noise import BoxNoise, EdgeCovariance, edge_covariance
from perception.solid import Sightings

NOISE = BoxNoise()
JITTER_DEG = np.array([[0.2, 0.3]])
OWN = np.diag([0.3**2, 0.1**2, math.radians(0.4) ** 2])[None]
PLACE = np.array([[30.0, 4.0]])
HEIGHT_M = 1.5


def _view(time_s: Array, rng: np.random.Generator, *, accel_mps2: float = 0.0, count: int = 1) -> Sightings:
    """Tracks seen from a car that drives east, with edges that lie anywhere in the picture."""
    frames = len(time_s)
    shape = (count, frames)
    low = rng.uniform(-0.5, 0.1, (*shape, 2))
    edges = np.concatenate([low, low + rng.uniform(0.05, 0.4, (*shape, 2))], axis=2)
    time = np.broadcast_to(time_s - (time_s[0] + time_s[-1]) / 2, shape).copy()
    return Sightings(
        edges, rng.uniform(0.002, 0.01, (*shape, 4)), np.full((*shape, 2), 50.0), 7.0 * time, np.zeros(shape),
        np.zeros(shape), time, np.full(shape, accel_mps2), np.zeros((count, 4, 3)), np.zeros(count, bool),
        np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 2)), np.tile([1.5, 0.0, HEIGHT_M], (count, 1)),
    )  # fmt: skip


def _full(cov: EdgeCovariance) -> Array:
    found: Array = cov.shared + cov.white[..., None] * np.eye(cov.white.shape[-1])
    return found


def _parts(view: Sightings, axis: int) -> tuple[Array, Array, Array, float]:
    """Jitter, pose and nod (F,) of the first track in one direction, and e^-t/tau of the pose over its span."""
    span = float(np.ptp(view.time_s[0]))
    fading = math.sqrt(1.0 - math.exp(-span / NOISE.pose_tau_s))
    bend = 1.0 + ((view.edges[0, :, axis] + view.edges[0, :, axis + 2]) / 2.0) ** 2
    jitter = math.radians(JITTER_DEG[0, axis]) * bend
    ranges = np.hypot(PLACE[0, 0] - view.east_m[0], PLACE[0, 1] - view.north_m[0])
    place_m = math.sqrt((0.3**2 + 0.1**2) / 2.0)
    if axis == 0:
        pose = fading * np.hypot(place_m / ranges, math.radians(0.4))
        return jitter, pose, np.zeros_like(jitter), fading
    nod = math.radians(NOISE.nod_deg_per_mps2) * view.accel_mps2[0] * bend
    return jitter, fading * place_m * HEIGHT_M / ranges**2, nod, fading


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dt_s", [0.1, 0.5, 3.0])
def test_two_frames_are_the_stated_sums(axis: int, dt_s: float) -> None:
    view = _view(np.array([0.0, dt_s]), np.random.default_rng(1), accel_mps2=-2.0)
    cov = edge_covariance(view, PLACE, OWN, JITTER_DEG, NOISE)
    jitter, pose, nod, _ = _parts(view, axis)
    faded = math.exp(-dt_s / NOISE.jitter_tau_s), math.exp(-dt_s / NOISE.pose_tau_s), math.exp(-dt_s / NOISE.edge_tau_s)
    sigma = view.sigma[0][:, [axis, axis + 2]]
    alone = jitter**2 + pose**2 + nod**2
    both = faded[0] * jitter[0] * jitter[1] + faded[1] * pose[0] * pose[1] + nod[0] * nod[1]
    drift = faded[2] * NOISE.edge_share * sigma[0] * sigma[1]
    expected = np.array(
        [
            [alone[0] + sigma[0, 0] ** 2, both + drift[0], alone[0], both],
            [both + drift[0], alone[1] + sigma[1, 0] ** 2, both, alone[1]],
            [alone[0], both, alone[0] + sigma[0, 1] ** 2, both + drift[1]],
            [both, alone[1], both + drift[1], alone[1] + sigma[1, 1] ** 2],
        ]
    )
    np.testing.assert_allclose(_full(cov)[0, axis], expected, rtol=1e-9)
    np.testing.assert_allclose(cov.sigma[0, axis], np.sqrt(np.diag(expected)), rtol=1e-9)
    np.testing.assert_allclose(cov.weight()[0, axis], np.linalg.inv(expected), rtol=1e-6)


def test_a_single_frame_has_no_pose_error_of_its_own() -> None:
    view = _view(np.array([0.0]), np.random.default_rng(2))
    wild = edge_covariance(view, PLACE, 1e4 * OWN, JITTER_DEG, NOISE)
    np.testing.assert_allclose(_full(wild), _full(edge_covariance(view, PLACE, 0.0 * OWN, JITTER_DEG, NOISE)))


@pytest.mark.parametrize("frames", [1, 5, 16])
def test_covariances_are_symmetric_and_positive_definite(frames: int) -> None:
    rng = np.random.default_rng(frames)
    view = _view(np.sort(rng.uniform(0.0, 4.0, frames)), rng, accel_mps2=3.0, count=3)
    tile = np.ones((3, 1))
    cov = edge_covariance(view, PLACE * tile, np.repeat(OWN, 3, axis=0), JITTER_DEG * tile, NOISE)
    full = _full(cov)
    np.testing.assert_array_equal(full, full.transpose(0, 1, 3, 2))
    assert (np.linalg.eigvalsh(full) > 0.0).all()
    assert (np.linalg.eigvalsh(cov.weight()) > 0.0).all()


def _markov(rng: np.random.Generator, time_s: Array, tau_s: float, count: int) -> Array:
    """Draws (count, F) of a Gauss-Markov process of unit variance, step by step."""
    found = np.empty((count, len(time_s)))
    found[:, 0] = rng.standard_normal(count)
    for k in range(1, len(time_s)):
        keep = math.exp(-(time_s[k] - time_s[k - 1]) / tau_s)
        found[:, k] = keep * found[:, k - 1] + math.sqrt(1.0 - keep**2) * rng.standard_normal(count)
    return found


@pytest.mark.parametrize("axis", [0, 1])
def test_shaken_boxes_are_white_with_unit_variance_when_weighed(axis: int) -> None:
    rng, count = np.random.default_rng(11), 6000
    time_s = np.array([0.0, 0.1, 0.25, 0.6, 1.4, 2.0])
    view = _view(time_s, rng, accel_mps2=2.5)
    cov = edge_covariance(view, PLACE, OWN, JITTER_DEG, NOISE)
    jitter, pose, nod, _ = _parts(view, axis)
    shake = jitter * _markov(rng, time_s, NOISE.jitter_tau_s, count)
    shake += pose * _markov(rng, time_s, NOISE.pose_tau_s, count) + nod * rng.standard_normal((count, 1))
    drawn = []
    for edge in (axis, axis + 2):
        slow = math.sqrt(NOISE.edge_share) * _markov(rng, time_s, NOISE.edge_tau_s, count)
        grain = math.sqrt(1.0 - NOISE.edge_share) * rng.standard_normal(shake.shape)
        drawn.append(shake + view.sigma[0, :, edge] * (slow + grain))
    residuals = np.hstack(drawn)
    white = residuals @ np.linalg.cholesky(cov.weight()[0, axis])
    np.testing.assert_allclose(white.T @ white / count, np.eye(12), atol=5.0 * math.sqrt(2.0 / count))
    np.testing.assert_allclose(residuals.std(axis=0), cov.sigma[0, axis], rtol=0.05)


def test_an_edge_that_says_nothing_has_no_weight_and_the_others_keep_theirs() -> None:
    rng = np.random.default_rng(3)
    view = _view(np.array([0.0, 0.2, 0.4]), rng)
    blind = view.sigma.copy()
    blind[0, 1, 2] = blind[0, 0, 1] = np.inf
    cov = edge_covariance(replace(view, sigma=blind), PLACE, OWN, JITTER_DEG, NOISE)
    whole = _full(edge_covariance(view, PLACE, OWN, JITTER_DEG, NOISE))[0]
    weight = cov.weight()[0]
    # Right edge of the second frame; top edge of the first.
    for axis, gone in ((0, 4), (1, 0)):
        others = np.setdiff1d(np.arange(6), [gone])
        expected = np.linalg.inv(whole[axis][np.ix_(others, others)])
        np.testing.assert_allclose(weight[axis][np.ix_(others, others)], expected, rtol=1e-5)
        assert np.abs(weight[axis][gone]).max() < 1e-3


def test_trust_widens_an_outlier_alone() -> None:
    view = _view(np.array([0.0, 0.2, 0.4]), np.random.default_rng(4))
    cov = edge_covariance(view, PLACE, OWN, JITTER_DEG, NOISE)
    ones = np.ones((1, 2, 6))
    np.testing.assert_allclose(cov.weight(ones), cov.weight())
    half = ones.copy()
    half[0, 0, 2] = 0.5
    grown = np.linalg.inv(cov.weight(half)) - _full(cov)
    expected = np.zeros((1, 2, 6, 6))
    # In sum its variance is 1/trust^2 of what it was.
    expected[0, 0, 2, 2] = 3.0 * cov.sigma[0, 0, 2] ** 2
    np.testing.assert_allclose(grown, expected, atol=1e-10)


def test_trust_falls_with_the_residual_so_that_none_pulls_harder_than_another() -> None:
    view = _view(np.array([0.0, 0.3]), np.random.default_rng(5))
    cov = edge_covariance(view, PLACE, OWN, JITTER_DEG, NOISE)
    times = np.array([0.0, 1.0, NOISE.huber, 2.0 * NOISE.huber])
    trust = cov.trust(np.tile(times, (1, 2, 1)) * cov.sigma * np.array([1.0, -1.0, 1.0, -1.0]), NOISE.huber)
    np.testing.assert_allclose(trust, np.tile([1.0, 1.0, 1.0, 0.5], (1, 2, 1)))
    # Alone, an edge of trust t has the weight t^2 / sigma^2: a pull of huber^2 / residual, less and less.
    alone = EdgeCovariance(np.full((1, 2, 2), 4.0), np.zeros((1, 2, 2, 2)))
    pulls = []
    for size in (4.0, 8.0, 16.0, 64.0):
        r = np.full((1, 2, 2), size)
        pulls.append(float((alone.weight(alone.trust(r, NOISE.huber)) @ r[..., None])[0, 0, 0, 0]))
    assert pulls[0] == pytest.approx(4.0 / 4.0)
    assert pulls[1:] == pytest.approx([NOISE.huber**2 / size for size in (8.0, 16.0, 64.0)])


def test_slack_frees_the_left_then_the_right_edge_of_all_frames() -> None:
    rng = np.random.default_rng(6)
    view = _view(np.array([0.0, 0.2, 0.4]), rng, count=2)
    cov = edge_covariance(view, PLACE.repeat(2, axis=0), OWN.repeat(2, axis=0), JITTER_DEG.repeat(2, axis=0), NOISE)
    grown = _full(cov.slack(0.15, 0.01)) - np.concatenate([_full(cov)] * 2)
    one = 0.15**2 * np.ones((3, 3)) + 0.01**2 * np.eye(3)
    expected = np.zeros((4, 2, 6, 6))
    expected[:2, 0, :3, :3] = expected[2:, 0, 3:, 3:] = one
    np.testing.assert_allclose(grown, expected, atol=1e-12)


def test_rows_are_those_asked_for() -> None:
    view = _view(np.array([0.0, 0.2]), np.random.default_rng(7), count=3)
    cov = edge_covariance(view, PLACE.repeat(3, axis=0), OWN.repeat(3, axis=0), JITTER_DEG.repeat(3, axis=0), NOISE)
    np.testing.assert_array_equal(_full(cov.of(np.array([2, 0]))), _full(cov)[[2, 0]])
