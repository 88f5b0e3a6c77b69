"""From world points to boxes: true camera attitudes, the pinhole with its distortion, and the cut by the border.

Written apart from `perception.camera`, after the same definitions: x forward, y left, z up, R = Rz(yaw) Ry(pitch)
Rx(roll), pitch > 0 looks down; OpenCV's distortion x (1 + k1 r2 + k2 r4); pixel centres at integers, boxes in
pixel edges (half a pixel more).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnss.types import Array
from perception.camera import CameraModel
from replays.world.shapes import Indices

NEAR_M = 0.3
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def attitude(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Rz(yaw) Ry(pitch) Rx(roll) for angles (F,) in radians: matrices (F, 3, 3)."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """True optical centres (F, 3) east, north, up (m) and world_from_optical (F, 3, 3) of one camera's frames."""

    position: Array
    turn: Array
    camera: CameraModel

    @staticmethod
    def of(camera: CameraModel, body_m: Array, body_turn: Array, yaw_pitch: Array, height_m: float) -> Eyes:
        """From the body's places (F, 3), its attitudes (F, 3, 3), and true minus believed mount (F, 2) deg and m."""
        angles = np.radians(np.array([camera.yaw_deg, camera.pitch_deg]) + yaw_pitch)
        roll = np.full(len(angles), np.radians(camera.roll_deg))
        mount = attitude(angles[:, 0], angles[:, 1], roll)
        lever = np.array([camera.x_m, camera.y_m, camera.z_m + height_m])
        return Eyes(body_m + body_turn @ lever, body_turn @ mount @ _OPTICAL, camera)


def pixels(points: Array, camera: CameraModel) -> Array:
    """Optical-frame points (..., 3) m -> pixel-edge coordinates (..., 2); points behind count as just before it."""
    depth = np.maximum(points[..., 2], NEAR_M)
    x, y = points[..., 0] / depth, points[..., 1] / depth
    if camera.dist:
        k1, k2 = (*camera.dist, 0.0, 0.0)[:2]
        r2 = np.minimum(x * x + y * y, 4.0)  # far outside the picture the polynomial means nothing
        scale = 1.0 + r2 * (k1 + r2 * k2)
        x, y = x * scale, y * scale
    out: Array = np.stack([x * camera.fx + camera.cx + 0.5, y * camera.fy + camera.cy + 0.5], axis=-1)
    return out


def boxes_of(
    eyes: Eyes, frames: Indices, places: Array, points: Array, lines: Indices, numbers: Indices
) -> tuple[Array, Array]:
    """Whole boxes (P, 4) and their parts in the picture (P, 4; NaN: none) of P looks at things.

    `frames` (P,) picks the eye, `places` (P, 3) are feet of the things, `numbers` (P,) rows of `points` (n, C, 3).
    """
    camera = eyes.camera
    seen = (points[numbers] + (places - eyes.position[frames])[:, None, :]) @ eyes.turn[frames]
    spots = pixels(seen, camera)
    whole = np.concatenate([spots.min(axis=1), spots.max(axis=1)], axis=1)
    limit = np.array([camera.width, camera.height], dtype=np.float64)
    part = np.concatenate([np.maximum(whole[:, :2], 0.0), np.minimum(whole[:, 2:], limit)], axis=1)
    part[((part[:, 2:] - part[:, :2]) <= 0.0).any(axis=1) | (seen[..., 2].max(axis=1) < NEAR_M)] = np.nan
    cut = np.flatnonzero((part != whole).any(axis=1) & ~np.isnan(part[:, 0]))
    if len(cut):
        part[cut] = _within(spots[cut], lines, limit)
    return whole, part


def angular_share(part: Array, whole: Array, camera: CameraModel) -> Array:
    """Share (P,) of the solid angle of whole boxes (P, 4) in their parts; pixels would count near corners most."""
    centre = np.array([camera.cx, camera.cy] * 2) + 0.5
    focal = np.array([camera.fx, camera.fy] * 2)
    inner, outer = np.arctan((part - centre) / focal), np.arctan((whole - centre) / focal)
    shares: Array = np.prod((inner[:, 2:] - inner[:, :2]) / np.maximum(outer[:, 2:] - outer[:, :2], 1e-9), axis=1)
    return shares


def _within(spots: Array, lines: Indices, limit: Array) -> Array:
    """Boxes (Q, 4) of the parts of solids inside the picture: corners inside, and where edges cross the border.

    Of a car that leaves at the side, the lowest corner is outside: its visible part ends higher than the whole.
    """
    out = np.full((len(spots), 4), np.nan)
    low, high = np.full((len(spots), 2), np.inf), np.full((len(spots), 2), -np.inf)
    for axis in (0, 1):
        inside = (spots[..., axis] >= 0) & (spots[..., axis] <= limit[axis])
        other = spots[..., 1 - axis]
        low[:, 1 - axis] = np.where(inside, other, np.inf).min(axis=1)
        high[:, 1 - axis] = np.where(inside, other, -np.inf).max(axis=1)
        a, b = spots[:, lines[:, 0]], spots[:, lines[:, 1]]
        for border in (0.0, limit[axis]):
            step = b[..., axis] - a[..., axis]
            crosses = (a[..., axis] < border) != (b[..., axis] < border)
            share = (border - a[..., axis]) / np.where(crosses, step, 1.0)
            at = a[..., 1 - axis] + share * (b[..., 1 - axis] - a[..., 1 - axis])
            low[:, 1 - axis] = np.minimum(low[:, 1 - axis], np.where(crosses, at, np.inf).min(axis=1))
            high[:, 1 - axis] = np.maximum(high[:, 1 - axis], np.where(crosses, at, -np.inf).max(axis=1))
    low, high = np.maximum(low, 0.0), np.minimum(high, limit)
    good = (high > low).all(axis=1)
    out[good] = np.concatenate([low, high], axis=1)[good]
    return out
