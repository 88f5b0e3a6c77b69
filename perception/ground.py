"""Where live tracks are on the ground, frame by frame: a Kalman filter on contact points, for all at once.

State per track: east, north (m) and their rates (m/s) in a local frame. It gives the tracker its prediction, so that a
box of one bad frame does not lead the next one astray, and whoever asks a place before the track's final fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose
from perception.camera import CameraModel


@dataclass(frozen=True, slots=True)
class GroundParams:
    """Tuning, 1 sigma. `size_rel` is that of ranges by known height; speeds are those of movable and fixed things."""

    pitch_deg: float = 0.5
    bearing_deg: float = 0.4
    edge_px: float = 3.0
    size_rel: float = 0.2
    farthest_m: float = 80.0
    movable_mps: float = 6.0
    fixed_mps: float = 0.05
    movable_mps2: float = 2.0
    fixed_mps2: float = 0.05
    walk_m_per_sqrt_s: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class CarPlace:
    """The vehicle in the filter's local frame: metres east/north and yaw (rad, counter-clockwise from east)."""

    east_m: float
    north_m: float
    yaw_rad: float

    @staticmethod
    def of(pose: Pose, frame: LocalFrame) -> CarPlace:
        """Where a pose is in `frame`."""
        east, north = frame.to_enu(pose.lat_deg, pose.lon_deg)
        return CarPlace(east, north, math.radians(90.0 - pose.heading_deg))

    def to_world(self, body: Array) -> Array:
        """Vehicle-frame points (N, 2) forward, left -> east, north."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turned: Array = body @ np.array([[cos, sin], [-sin, cos]]) + (self.east_m, self.north_m)
        return turned

    def to_body(self, world: Array) -> Array:
        """East, north (N, 2) -> forward, left."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turned: Array = (world - (self.east_m, self.north_m)) @ np.array([[cos, -sin], [sin, cos]])
        return turned


def contacts(
    boxes: Array, camera: CameraModel, heights_m: Array, by_height: Mask, params: GroundParams
) -> tuple[Array, Array, Mask]:
    """Vehicle-frame contact points (N, 2) of boxes (N, 4), their covariances (N, 2, 2), and which can be used (N,).

    `by_height` (N,): range from the known height `heights_m` and not from the ground plane (the bottom edge is cut, or
    nobody knows where the horizon is). Formula of sigma: geolocation.md 5.
    """
    pixels = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]]) - 0.5
    ground = camera.ground_point(pixels)
    tall = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    ahead = camera.fy * heights_m / tall
    aside = np.column_stack([ahead, -camera.normalise(pixels)[:, 0] * ahead])
    turn = math.radians(camera.yaw_deg)
    sized = camera.position_m[:2] + aside @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    place = np.where(by_height[:, None], sized, ground)
    from_lens = place - camera.position_m[:2]
    distance = np.hypot(from_lens[:, 0], from_lens[:, 1])
    usable = np.isfinite(distance) & (distance < params.farthest_m) & (~by_height | (heights_m > 0.0))
    distance = np.where(usable, distance, 1.0)
    along = np.where(usable[:, None], from_lens, (1.0, 0.0)) / np.maximum(distance, 1e-6)[:, None]
    angle = math.hypot(math.radians(params.pitch_deg), params.edge_px / camera.fy)
    range_sigma = np.where(by_height, params.size_rel * distance, distance**2 / camera.z_m * angle + 0.1)
    across_sigma = distance * math.hypot(math.radians(params.bearing_deg), params.edge_px / camera.fx) + 0.1
    across = np.column_stack([-along[:, 1], along[:, 0]])
    cov = _spread(along, range_sigma) + _spread(across, across_sigma)
    return np.where(usable[:, None], place, 0.0), cov, usable


def _spread(direction: Array, sigma: Array) -> Array:
    product: Array = direction[:, :, None] * direction[:, None, :] * (sigma**2)[:, None, None]
    return product


def born(place: Array, cov: Array, movable: Mask, params: GroundParams) -> tuple[Array, Array]:
    """States (N, 4) and covariances (N, 4, 4) of tracks first seen at `place` (N, 2) with `cov` (N, 2, 2)."""
    state, spread = np.zeros((len(place), 4)), np.zeros((len(place), 4, 4))
    state[:, :2], spread[:, :2, :2] = place, cov
    speed = np.where(movable, params.movable_mps, params.fixed_mps) ** 2
    spread[:, 2, 2] = spread[:, 3, 3] = speed
    return state, spread


def ahead_of_time(state: Array, cov: Array, dt_s: Array, movable: Mask, params: GroundParams) -> tuple[Array, Array]:
    """States and covariances `dt_s` (N,) later: constant velocity with white acceleration."""
    step = np.repeat(np.eye(4)[None], len(state), axis=0)
    step[:, 0, 2] = step[:, 1, 3] = dt_s
    accel = np.where(movable, params.movable_mps2, params.fixed_mps2) ** 2
    noise = np.zeros_like(cov)
    for k in (0, 1):
        noise[:, k, k] = accel * dt_s**3 / 3.0 + params.walk_m_per_sqrt_s**2 * dt_s
        noise[:, k, k + 2] = noise[:, k + 2, k] = accel * dt_s**2 / 2.0
        noise[:, k + 2, k + 2] = accel * dt_s
    return (step @ state[:, :, None])[:, :, 0], step @ cov @ step.transpose(0, 2, 1) + noise


def corrected(state: Array, cov: Array, place: Array, noise: Array) -> tuple[Array, Array]:
    """Kalman update of N tracks with measured places (N, 2) of covariance (N, 2, 2), far outliers widened (Huber)."""
    innovation = place - state[:, :2]
    total = cov[:, :2, :2] + noise
    distance2 = (innovation[:, None, :] @ _inverse2(total) @ innovation[:, :, None])[:, 0, 0]
    total = total + noise * (np.maximum(1.0, distance2 / 6.0) - 1.0)[:, None, None]
    gain = cov[:, :, :2] @ _inverse2(total)
    new = cov - gain @ cov[:, :2, :]
    return state + (gain @ innovation[:, :, None])[:, :, 0], 0.5 * (new + new.transpose(0, 2, 1))


def _inverse2(m: Array) -> Array:
    """Inverses of symmetric matrices (N, 2, 2), by their closed form."""
    a, b, d = m[:, 0, 0], m[:, 0, 1], m[:, 1, 1]
    inverse: Array = np.stack([d, -b, -b, a], axis=1).reshape(-1, 2, 2) / (a * d - b * b)[:, None, None]
    return inverse
