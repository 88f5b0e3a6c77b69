"""What a solid of a class looks like in a picture: the box around its projected outline, for many hypotheses at once.

A vehicle is a cuboid along its heading; anything "round" is an eight-sided cylinder; flat marks have no height. So one
model gives bearing (left, right), ground plane (bottom) and known size (height, width) in the same four residuals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Pose
from perception.camera import CameraModel, rotation
from perception.catalogue import ObjectClass
from perception.types import Observation

_MOUNT_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_NEAR_M = 0.3
EAST, NORTH, BASE, LENGTH, WIDTH, HEIGHT, YAW, MOUNT_YAW, MOUNT_PITCH, ALONG, ACROSS = range(11)
PARAMETERS = 11


def template(shape: ObjectClass) -> Array:
    """Unit corner points (C, 3): x along, y across in -0.5..0.5, z in 0..1."""
    if shape.yaw == "road":
        ring = np.array([[x, y] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    else:
        turn = np.arange(8) * math.pi / 4
        ring = 0.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    levels = (0.0,) if shape.flat else (0.0, 1.0)
    return np.concatenate([np.column_stack([ring, np.full(len(ring), z)]) for z in levels])


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Observations of one object with the poses they were made from, in a local east/north frame (metres).

    `edges` (F, 4) are left, top, right, bottom in normalised image coordinates, `sigma` (F, 4) too (inf: unusable).
    `shake` (F, 2) is 1 sigma of what moves a whole box across and up: attitude jitter and the pose's own noise.
    `east_m, north_m, yaw_rad` (F,) describe the vehicle, yaw counter-clockwise from east; `time_s` (F,) from mid-track.
    """

    edges: Array
    sigma: Array
    shake: Array
    east_m: Array
    north_m: Array
    yaw_rad: Array
    time_s: Array
    camera: CameraModel

    def part(self, piece: slice) -> Sightings:
        """Some of the observations, with the times they have in the whole."""
        return Sightings(
            self.edges[piece], self.sigma[piece], self.shake[piece], self.east_m[piece], self.north_m[piece],
            self.yaw_rad[piece], self.time_s[piece], self.camera,
        )  # fmt: skip

    def whitening(self) -> Array:
        """Matrices (F, 4, 4) that turn edge gaps into independent unit-variance residuals.

        Where both edges of a direction are usable, the gap splits into a shift, which shake blurs, and a size, which
        it does not: a hand-held picture still tells the range of a car.
        """
        out = np.zeros((len(self.sigma), 4, 4))
        for axis in (0, 1):
            low, high, shake = self.sigma[:, axis], self.sigma[:, axis + 2], self.shake[:, axis]
            both = np.isfinite(low) & np.isfinite(high)
            for edge, sigma in ((axis, low), (axis + 2, high)):
                out[:, edge, edge] = np.where(both, 0.0, 1.0 / np.hypot(sigma, shake))
            middle = np.hypot(np.hypot(low, high) / 2, shake)
            out[both, axis, axis] = out[both, axis, axis + 2] = 0.5 / middle[both]
            size = np.hypot(low, high)
            out[both, axis + 2, axis], out[both, axis + 2, axis + 2] = -1.0 / size[both], 1.0 / size[both]
        return out

    def outline(self, hypotheses: Array, corners: Array, shape: ObjectClass) -> Array:
        """Boxes (B, F, 4) in normalised coordinates that hypotheses (B, 11) would show; `corners` from `template`."""
        yaw = hypotheses[:, YAW, None]
        length = hypotheses[:, LENGTH, None] * corners[:, 0]
        width_of = hypotheses[:, WIDTH, None] if shape.yaw == "road" else hypotheses[:, LENGTH, None]
        width = width_of * corners[:, 1]
        ahead = np.cos(yaw) * length - np.sin(yaw) * width
        aside = np.sin(yaw) * length + np.cos(yaw) * width
        along, across = hypotheses[:, ALONG, None], hypotheses[:, ACROSS, None]
        moved_e = (np.cos(yaw) * along - np.sin(yaw) * across) * self.time_s
        moved_n = (np.sin(yaw) * along + np.cos(yaw) * across) * self.time_s
        east = (hypotheses[:, EAST, None] + moved_e)[:, :, None] + ahead[:, None, :] - self.east_m[None, :, None]
        north = (hypotheses[:, NORTH, None] + moved_n)[:, :, None] + aside[:, None, :] - self.north_m[None, :, None]
        up = (hypotheses[:, BASE, None] + hypotheses[:, HEIGHT, None] * corners[:, 2])[:, None, :]
        cos, sin = np.cos(self.yaw_rad)[None, :, None], np.sin(self.yaw_rad)[None, :, None]
        x, y = _to_optical(cos * east + sin * north, cos * north - sin * east, up, hypotheses, self.camera)
        return np.stack([x.min(axis=2), y.min(axis=2), x.max(axis=2), y.max(axis=2)], axis=2)


def _to_optical(forward: Array, left: Array, up: Array, hypotheses: Array, camera: CameraModel) -> tuple[Array, Array]:
    """Vehicle-frame points (B, F, C) -> normalised x, y (B, F, C), with each hypothesis's own mount bias."""
    yaw = math.radians(camera.yaw_deg) + hypotheses[:, MOUNT_YAW]
    pitch = math.radians(camera.pitch_deg) + hypotheses[:, MOUNT_PITCH]
    roll = rotation(0.0, 0.0, math.radians(camera.roll_deg)) @ _MOUNT_FROM_OPTICAL
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    turn = np.stack([cy * cp, -sy, cy * sp, sy * cp, cy, sy * sp, -sp, zero, cp], axis=1).reshape(-1, 3, 3)
    r = (turn @ roll)[:, None, None, :, :]
    dx, dy, dz = forward - camera.x_m, left - camera.y_m, up - camera.z_m
    right = r[..., 0, 0] * dx + r[..., 1, 0] * dy + r[..., 2, 0] * dz
    down = r[..., 0, 1] * dx + r[..., 1, 1] * dy + r[..., 2, 1] * dz
    depth = np.maximum(r[..., 0, 2] * dx + r[..., 1, 2] * dy + r[..., 2, 2] * dz, _NEAR_M)
    return right / depth, down / depth


def sightings(
    observations: Sequence[Observation], poses: Sequence[Pose], places: Array, camera: CameraModel, correlation: float
) -> Sightings:
    """Collect observations with their poses; `places` (F, 2) are the poses' east/north; no shake yet.

    Box noise per edge is hypot(2 px, 5 % of the side), widened by `correlation` because the errors of neighbouring
    frames are not independent (geolocation.md, 8B).
    """
    boxes = np.array([o.xyxy for o in observations], dtype=np.float64) - 0.5
    middle_u, middle_v = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    left = camera.normalise(np.column_stack([boxes[:, 0], middle_v]))[:, 0]
    top = camera.normalise(np.column_stack([middle_u, boxes[:, 1]]))[:, 1]
    right = camera.normalise(np.column_stack([boxes[:, 2], middle_v]))[:, 0]
    bottom = camera.normalise(np.column_stack([middle_u, boxes[:, 3]]))[:, 1]
    sides = np.column_stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]])
    across = np.hypot(2.0, 0.05 * sides[:, 0]) / camera.fx
    upright = np.hypot(2.0, 0.05 * sides[:, 1]) / camera.fy
    sigma = correlation * np.column_stack([across, upright, across, upright])
    usable = np.array([o.edges for o in observations], dtype=bool)
    stamps = np.array([o.stamp_ns for o in observations], dtype=np.int64)
    time_s = (stamps - (stamps[0] + stamps[-1]) // 2) * 1e-9
    yaw = np.radians(90.0 - np.array([p.heading_deg for p in poses]))
    return Sightings(
        np.column_stack([left, top, right, bottom]), np.where(usable, sigma, np.inf), np.zeros((len(boxes), 2)),
        places[:, 0], places[:, 1], yaw, time_s, camera,
    )  # fmt: skip
