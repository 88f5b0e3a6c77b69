"""How the errors of a track's box edges hang together: white grain, slow detector drift, and shakes of the whole box.

Every edge has a white part and a Gauss-Markov part; attitude that no pose knows moves both edges of a direction alike
and fades quickly, and the nod of a braking car stays while it brakes; the pose's own error moves them alike and fades
slowly. A track's errors of one direction are thus one Gaussian vector, and the fit weighs them by the inverse of its
covariance: thirty frames at 10 Hz are not thirty measurements (geolocation.md, heading and 8B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Rows
from perception.solid import Sightings

_UNUSABLE = 1e4
"""Sigma (normalised coordinates, i.e. 10,000 focal lengths) of an edge that says nothing."""


@dataclass(frozen=True, slots=True)
class BoxNoise:
    """1 sigma of what moves edges; `edge_share` is the share of the edges' variance that drifts with `edge_tau_s`."""

    edge_width_share: float = 1.0 / 640.0
    edge_rel: float = 0.02
    edge_share: float = 0.5
    edge_tau_s: float = 0.3
    pitch_jitter_deg: float = 0.3
    yaw_jitter_deg: float = 0.2
    jitter_tau_s: float = 0.25
    pose_tau_s: float = 10.0
    nod_deg_per_mps2: float = 0.25
    huber: float = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class EdgeCovariance:
    """Covariances (B, 2, 2F, 2F) across and up (left/right, top/bottom edges of all frames), white part apart."""

    white: Array
    shared: Array

    @property
    def sigma(self) -> Array:
        """1 sigma (B, 2, 2F) of each residual."""
        return np.asarray(np.sqrt(self.white + np.einsum("bgmm->bgm", self.shared)), np.float64)

    def of(self, rows: Rows) -> EdgeCovariance:
        """Those of the tracks `rows` alone."""
        return EdgeCovariance(self.white[rows], self.shared[rows])

    def slack(self, shift: float, grain: float) -> EdgeCovariance:
        """All tracks twice: with a left, then with a right edge that ends somewhere inside the thing all the time.

        Something that no detector names hides that side: the edge is off by one unknown `shift` (1 sigma, normalised
        coordinates) in all frames and by `grain` in each.
        """
        count, half = len(self.white), self.white.shape[-1] // 2
        white, shared = np.concatenate([self.white] * 2), np.concatenate([self.shared] * 2)
        for edge in (0, 1):
            mine, own = slice(edge * count, (edge + 1) * count), slice(edge * half, (edge + 1) * half)
            white[mine, 0, own] += grain**2
            shared[mine, 0, own, own] += shift**2
        return EdgeCovariance(white, shared)

    def weight(self, trust: Array | None = None) -> Array:
        """Inverse covariance (B, 2, 2F, 2F); `trust` (B, 2, 2F) in 0..1 widens outliers by 1/trust^2, each alone."""
        full = self.shared.copy()
        m = np.arange(full.shape[-1])
        full[..., m, m] += self.white if trust is None else self.white + self.sigma**2 * (1.0 / trust**2 - 1.0)
        return np.asarray(np.linalg.inv(full), np.float64)

    def trust(self, residuals: Array, huber: float) -> Array:
        """Trust (B, 2, 2F) in each residual: 1 within `huber` sigmas, beyond it falls so that none pulls harder.

        A box of something else pulls with all its weight under Huber's own weights; these let go of it.
        """
        size = np.abs(residuals) / self.sigma
        return np.asarray(np.minimum(1.0, huber / np.maximum(size, 1e-9)), np.float64)


def edge_covariance(
    view: Sightings, place: Array, pose_own: Array, jitter_deg: Array, noise: BoxNoise
) -> EdgeCovariance:
    """Covariances of the edges of B tracks; `place` (B, 2) about where each is, `pose_own` (B, 3, 3) of the poses.

    `jitter_deg` (B, 2) is 1 sigma of attitude, yaw and pitch. The part of the pose's error that outlasts the track is
    not in here: it moves the object with the car and is added to the object's covariance by whoever places it.
    """
    usable = np.isfinite(view.sigma)
    sigma = np.where(usable, view.sigma, _UNUSABLE)
    dt = np.abs(view.time_s[:, :, None] - view.time_s[:, None, :])
    drift = np.exp(-dt / noise.edge_tau_s)
    jitter = np.exp(-dt / noise.jitter_tau_s)
    # Only what changes within the track shakes its boxes: the constant part cancels, so e^-t/tau - 1 is what remains.
    slow = np.exp(-dt / noise.pose_tau_s)
    ranges = np.maximum(np.hypot(place[:, 0, None] - view.east_m, place[:, 1, None] - view.north_m), 2.0)
    place_m = np.sqrt(np.maximum(np.trace(pose_own[:, :2, :2], axis1=1, axis2=2) / 2.0, 0.0))[:, None]
    span = view.time_s.max(axis=1) - view.time_s.min(axis=1)
    fading = np.sqrt(1.0 - np.exp(-span / noise.pose_tau_s))[:, None]
    turn = np.sqrt(np.maximum(pose_own[:, 2, 2], 0.0))[:, None] * fading
    moved = place_m * fading / ranges
    lifted = place_m * fading * view.centre[:, 2, None] / ranges**2
    frames = view.edges.shape[1]
    shared = np.zeros((len(view), 2, 2 * frames, 2 * frames))
    white = np.zeros((len(view), 2, 2 * frames))
    for axis in (0, 1):
        bend = 1.0 + ((view.edges[:, :, axis] + view.edges[:, :, axis + 2]) / 2.0) ** 2
        shake = np.radians(jitter_deg[:, axis, None]) * bend
        slide = np.hypot(moved, turn) if axis == 0 else lifted
        both = jitter * _outer(shake) + slow * _outer(slide)
        if axis == 1:
            # A car that brakes nods for as long as it brakes; by how much is its own secret.
            both = both + _outer(math.radians(noise.nod_deg_per_mps2) * view.accel_mps2 * bend)
        for k, edge in enumerate((axis, axis + 2)):
            own = slice(k * frames, (k + 1) * frames)
            grain = np.where(usable[:, :, edge], sigma[:, :, edge], 0.0) * math.sqrt(noise.edge_share)
            shared[:, axis, own, own] = both + drift * _outer(grain)
            white[:, axis, own] = np.where(
                usable[:, :, edge], (1.0 - noise.edge_share) * sigma[:, :, edge] ** 2, sigma[:, :, edge] ** 2
            )
        shared[:, axis, :frames, frames:] = shared[:, axis, frames:, :frames] = both
    return EdgeCovariance(white, shared)


def _outer(values: Array) -> Array:
    product: Array = values[:, :, None] * values[:, None, :]
    return product
