"""The Bayesian Cramer-Rao floor of a place: how well anybody could know it from the same boxes and fixes.

Association is known and the noise card is the true one. With the edges of a pass linearised about the truth,

    y = J x + A a + P p + w,      x: what is wanted and what all passes share (things and mounts)
                                  a: attitude of the body, Gauss-Markov;  p: error of the pose;  w: noise of the edges

the information of one pass on x is J' R^-1 J with R = W + A Ca A' + P Cp P'. Passes have independent a, p and w, so
their information adds; the prior of x adds its own. The floor is the inverse (van Trees: no estimator, biased by the
same prior or not, has a smaller mean squared error when everything is Gaussian). Gauss-Markov parts enter with their
exact covariance s^2 exp(-|dt| / tau), and the error of the pose with that of an optimal smoother over the whole drive.

Left out, which can only lower the floor: road grade, misses, clutter, confusion, cut boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from gnss.types import Array
from replays.world.card import NoiseCard
from replays.world.shapes import Indices

_ANYWHERE_M = 100.0
_ANY_HEADING_RAD = 0.5


def gauss_markov(time_s: Array, sigma: float | Array, tau_s: float) -> Array:
    """Covariance (N, N) of a Gauss-Markov process at `time_s` (N,): sigma_i sigma_j exp(-|t_i - t_j| / tau)."""
    spread = np.broadcast_to(np.asarray(sigma, dtype=np.float64), time_s.shape)
    kernel = np.exp(-np.abs(time_s[:, None] - time_s[None, :]) / max(tau_s, 1e-9))
    cov: Array = spread[:, None] * kernel * spread[None, :]
    return cov


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All usable edges of one pass, one row each: derivatives in px per unit, and the sigma of the box noise in px.

    `by_state` (R, G) by what is wanted, `by_attitude` (R, 3) by pitch, yaw and roll of the body (rad), `by_pose` (R, 3)
    by east, north (m) and yaw (rad) of the vehicle. `frame` (R,) indexes `time_s` (F,); noise of one `chain` (R,) is
    correlated in time, of two it is not.
    """

    by_state: Array
    by_attitude: Array
    by_pose: Array
    frame: Indices
    chain: Indices
    sigma_px: Array
    time_s: Array


def _whitened(rows: Rows, card: NoiseCard, columns: Array) -> Array:
    """L^-1 columns with W = L L': per chain, `edge_share` of the edge's variance is Gauss-Markov, the rest white."""
    when = rows.time_s[rows.frame]
    out = np.empty_like(columns)
    for chain in np.unique(rows.chain):
        mine = np.flatnonzero(rows.chain == chain)
        sigma = rows.sigma_px[mine]
        noise = gauss_markov(when[mine], math.sqrt(card.edge_share) * sigma, card.edge_tau_s)
        noise += np.diag((1.0 - card.edge_share) * sigma**2)
        out[mine] = solve_triangular(np.linalg.cholesky(noise), columns[mine], lower=True)
    return out


def _root(cov: Array) -> Array:
    """Lower Cholesky factor of a covariance that may be nearly singular."""
    return np.asarray(np.linalg.cholesky(cov + 1e-12 * np.eye(len(cov))), dtype=np.float64)


def _spread_over(factors: Array, root: Array, frame: Indices) -> Array:
    """(R, K) whose square is the covariance that `root` (F, n, K), per frame, gives rows with `factors` (R, n)."""
    spread: Array = np.einsum("rn,rnk->rk", factors, root[frame])
    return spread


def information(rows: Rows, card: NoiseCard, pose_cov: Array | None) -> Array:
    """Information (G, G) of one pass; `pose_cov` (3F, 3F) of e, n, yaw at every frame, None: the pose is known.

    R = W + U U' with W block-diagonal, so R^-1 follows by Woodbury's identity.
    """
    frame, count = rows.frame, len(rows.time_s)
    alike = _root(gauss_markov(rows.time_s, 1.0, card.attitude_tau_s))
    parts = [
        _spread_over(math.radians(sigma) * rows.by_attitude[:, i : i + 1], alike[:, None, :], frame)
        for i, sigma in enumerate((card.pitch_deg, card.yaw_deg, card.roll_deg))
    ]
    if pose_cov is not None:
        parts.append(_spread_over(rows.by_pose, _root(pose_cov).reshape(count, 3, 3 * count), frame))
    white = _whitened(rows, card, np.concatenate([rows.by_state, *parts], axis=1))
    state, shared = white[:, : rows.by_state.shape[1]], white[:, rows.by_state.shape[1] :]
    cross = shared.T @ state
    found: Array = state.T @ state - cross.T @ np.linalg.solve(np.eye(shared.shape[1]) + shared.T @ shared, cross)
    return 0.5 * (found + found.T)


def floor_covariance(passes: Sequence[Array], prior: Array) -> Array:
    """Covariance (G, G) of x from the information of its passes and that of its prior, both (G, G)."""
    total = sum(passes, np.zeros_like(prior)) + prior
    scale = 1.0 / np.sqrt(np.maximum(np.diag(total), 1e-12))
    cov: Array = np.linalg.inv(total * scale[:, None] * scale[None, :]) * scale[:, None] * scale[None, :]
    return cov


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The true way of the vehicle at the ticks of its odometer: time, yaw (rad, from east) and speed, all (T,)."""

    time_s: Array
    yaw_rad: Array
    speed_mps: Array


def _reckoning(way: Way, card: NoiseCard) -> tuple[Array, Array]:
    """Dead reckoning as a linear map: (3T, U) of unit-variance causes to e, n, yaw errors; (T, U) to speed errors.

    Causes: start e, n, yaw; odometer scale; gyro bias; then one odometer and one gyro sample per tick.
    """
    ticks = len(way.time_s)
    dt = np.diff(way.time_s, append=way.time_s[-1])
    speed, turn = np.zeros((ticks, 5 + 2 * ticks)), np.zeros((ticks, 5 + 2 * ticks))
    speed[:, 3] = card.odometer_scale * way.speed_mps
    speed[np.arange(ticks), 5 + np.arange(ticks)] = card.odometer_mps
    turn[:, 4] = math.radians(card.gyro_bias_dps)
    turn[np.arange(ticks), 5 + ticks + np.arange(ticks)] = math.radians(card.gyro_dps)

    def summed(rate: Array) -> Array:
        total = np.cumsum(rate * dt[:, None], axis=0)
        return np.vstack([np.zeros((1, rate.shape[1])), total[:-1]])

    yaw = summed(turn)
    yaw[:, 2] = _ANY_HEADING_RAD
    cos, sin = np.cos(way.yaw_rad)[:, None], np.sin(way.yaw_rad)[:, None]
    ground = way.speed_mps[:, None]
    east, north = summed(speed * cos - ground * sin * yaw), summed(speed * sin + ground * cos * yaw)
    east[:, 0] = north[:, 1] = _ANYWHERE_M
    return np.stack([east, north, yaw], axis=1).reshape(3 * ticks, -1), speed


def pose_covariance(way: Way, frame_s: Array, fix_s: Array, card: NoiseCard) -> Array:
    """Covariance (3F, 3F) of e, n (m) and yaw (rad) at the frames, after an optimal smoother over all fixes.

    A fix reads e and n with a Gauss-Markov bias and white noise, the speed, and (above 0.5 m/s) the course.
    Raises ValueError when the card has no odometer: then no dead reckoning bounds the way between fixes.
    """
    if card.motion_hz is None:
        raise ValueError("the floor of a pose needs motion on the noise card")
    errors, speeds = _reckoning(way, card)
    at_frame = np.searchsorted(way.time_s, frame_s + 1e-6, side="right") - 1
    at_fix = np.searchsorted(way.time_s, fix_s + 1e-6, side="right") - 1
    blocks = errors.reshape(len(way.time_s), 3, -1)
    frames = blocks[at_frame].reshape(3 * len(frame_s), -1)
    moving = way.speed_mps[at_fix] > 0.5
    seen = np.vstack([blocks[at_fix, 0], blocks[at_fix, 1], speeds[at_fix], blocks[at_fix[moving], 2]])
    count = len(fix_s)
    noise = np.zeros((len(seen), len(seen)))
    bias = gauss_markov(fix_s, card.gnss_bias_m, card.gnss_tau_s) + card.gnss_white_m**2 * np.eye(count)
    noise[:count, :count] = noise[count : 2 * count, count : 2 * count] = bias
    rest = np.concatenate(
        [np.full(count, card.speed_mps), card.course_mps / np.maximum(way.speed_mps[at_fix[moving]], 0.5)]
    )
    noise[2 * count :, 2 * count :] = np.diag(rest**2)
    cross = frames @ seen.T
    cov: Array = frames @ frames.T - cross @ np.linalg.solve(seen @ seen.T + noise, cross.T)
    return 0.5 * (cov + cov.T)
