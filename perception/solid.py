"""What solids of a class look like in a picture: the box around the projected outline, with its derivatives.

A vehicle is a cuboid along its heading; anything "round" is a eight-sided cylinder, an elliptic one that may point
anywhere where the class has a long side; flat marks have no height. So one
model gives bearing (left, right), ground plane (bottom) and known size (height, width) in the same four edges. All
tracks of a batch are evaluated at once: arrays are (B tracks, F frames, ...), padded where a track has fewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Mask, Pose, Rows
from perception.camera import CameraModel, rotation
from perception.catalogue import ObjectClass
from perception.types import Observation

_MOUNT_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_NEAR_M = 0.3
_SIDES = 8
_ACROSS = np.array([True, False, True, False])
EAST, NORTH, BASE, LENGTH, WIDTH, HEIGHT, YAW, ALONG, ACROSS, MOUNT_YAW, MOUNT_PITCH, MOUNT_HEIGHT = range(12)
PARAMETERS = 12
MOUNT = slice(MOUNT_YAW, MOUNT_HEIGHT + 1)


def template(shape: ObjectClass) -> Array:
    """Unit corner points (C, 3): x along, y across in -0.5..0.5, z in 0..1."""
    if shape.yaw == "road":
        ring = np.array([[x, y] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    else:
        turn = np.arange(_SIDES) * 2.0 * math.pi / _SIDES
        # Widened so that the polygon is as wide as the circle on average over all directions.
        radius = 0.5 * (math.pi / _SIDES) / math.sin(math.pi / _SIDES)
        ring = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    levels = (0.0,) if shape.flat else (0.0, 1.0)
    return np.concatenate([np.column_stack([ring, np.full(len(ring), z)]) for z in levels])


def turns(shape: ObjectClass) -> bool:
    """Has it a long side that may point anywhere (a stall, a parked bike)?"""
    return shape.yaw != "road" and shape.size_m[1] < 0.9 * shape.size_m[0]


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Observations of B objects with the poses they were made from, in one local east/north frame (metres).

    `edges` (B, F, 4) are left, top, right, bottom in normalised image coordinates; `sigma` (B, F, 4) 1 sigma of each
    (inf: unusable or padding); `sides` (B, F, 2) width and height. `east_m, north_m, yaw_rad` (B, F) describe the
    vehicle, yaw counter-clockwise from east; `time_s` (B, F) from mid-track, `accel_mps2` (B, F) its acceleration.
    `corners` (B, C, 3) unit outlines, `round` (B,). The camera of each object: rotation `tilt` (B, 3, 3) of its roll,
    angles `aim` (B, 2) yaw and pitch in rad, position `centre` (B, 3) in the vehicle frame.
    """

    edges: Array
    sigma: Array
    sides: Array
    east_m: Array
    north_m: Array
    yaw_rad: Array
    time_s: Array
    accel_mps2: Array
    corners: Array
    round: Mask
    tilt: Array
    aim: Array
    centre: Array

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def seen(self) -> Mask:
        """(B, F) true where there is an observation and not padding."""
        finite: Mask = np.isfinite(self.sides[:, :, 0])
        return finite

    def of(self, rows: Rows) -> Sightings:
        """The objects `rows` (M,) alone."""
        return Sightings(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def optical(self, hypotheses: Array) -> Array:
        """Rotations (B, 3, 3) vehicle-from-optical, with each hypothesis's own mount bias."""
        yaw, pitch = self.aim[:, 0] + hypotheses[:, MOUNT_YAW], self.aim[:, 1] + hypotheses[:, MOUNT_PITCH]
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turn = np.array([[cy * cp, -sy, cy * sp], [sy * cp, cy, sy * sp], [-sp, np.zeros_like(yaw), cp]])
        product: Array = turn.transpose(2, 0, 1) @ self.tilt
        return product

    def outline(self, hypotheses: Array) -> tuple[Array, Array]:
        """Boxes (B, F, 4) in normalised coordinates that hypotheses (B, 12) would show, and their derivatives.

        Derivatives are (12, B, F, 4). LENGTH, WIDTH and HEIGHT are logarithms of metres, so that sizes stay sizes.
        ALONG and ACROSS are the velocity's east and north parts: a fixed frame keeps them linear.
        """
        h = hypotheses
        cos_o, sin_o = np.cos(h[:, YAW, None]), np.sin(h[:, YAW, None])
        size = np.exp(h[:, LENGTH : HEIGHT + 1])
        across = np.where(self.round, size[:, 0], size[:, 1])[:, None]
        length, width = size[:, :1] * self.corners[:, :, 0], across * self.corners[:, :, 1]
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        east = h[:, EAST, None] + h[:, ALONG, None] * self.time_s - self.east_m
        north = h[:, NORTH, None] + h[:, ACROSS, None] * self.time_s - self.north_m
        ahead, aside = cos_o * length - sin_o * width, sin_o * length + cos_o * width
        turn = self.optical(h)
        # The camera's view of the centre and of each corner's offset: one sum per corner and frame.
        forward, left = (
            cos * east + sin * north - self.centre[:, None, 0],
            cos * north - sin * east - self.centre[:, None, 1],
        )
        up = h[:, BASE] - self.centre[:, 2] - h[:, MOUNT_HEIGHT]
        body = np.stack([forward, left, np.broadcast_to(up[:, None], forward.shape)], axis=2) @ turn
        rise = size[:, 2:] * self.corners[:, :, 2]
        turned_e = (cos[:, :, None] * turn[:, None, 0] - sin[:, :, None] * turn[:, None, 1]).transpose(2, 0, 1)
        turned_n = (sin[:, :, None] * turn[:, None, 0] + cos[:, :, None] * turn[:, None, 1]).transpose(2, 0, 1)
        points = [
            body[:, :, i, None] + turned_e[i][:, :, None] * ahead[:, None] + turned_n[i][:, :, None] * aside[:, None]
            + turn[:, None, 2, i, None] * rise[:, None]
            for i in range(3)
        ]  # fmt: skip
        depth = np.maximum(points[2], _NEAR_M)
        x, y = points[0] / depth, points[1] / depth
        which = np.stack([x.argmin(axis=2), y.argmin(axis=2), x.argmax(axis=2), y.argmax(axis=2)], axis=2)
        xy = np.take_along_axis(x, which, axis=2), np.take_along_axis(y, which, axis=2)
        edges = np.where(_ACROSS, xy[0], xy[1])
        deep = np.take_along_axis(depth, which, axis=2)
        # Derivative of an edge by its corner's place in the vehicle frame, then in the world.
        axis = np.where(_ACROSS[:, None], turn[:, None, None, :, 0], turn[:, None, None, :, 1])
        clear = np.where(deep > _NEAR_M, edges, 0.0)[..., None]
        by = (axis - clear * turn[:, None, None, :, 2]) / deep[..., None]
        by_f, by_l, by_u = by[..., 0], by[..., 1], by[..., 2]
        by_e = cos[:, :, None] * by_f - sin[:, :, None] * by_l
        by_n = sin[:, :, None] * by_f + cos[:, :, None] * by_l
        corner = self.corners[np.arange(len(h))[:, None, None], which]
        unit_l, unit_w, unit_h = corner[..., 0], corner[..., 1], corner[..., 2]
        off_e, off_n = np.take_along_axis(ahead[:, None], which, 2), np.take_along_axis(aside[:, None], which, 2)
        c, s = cos_o[:, :, None], sin_o[:, :, None]
        by_along, by_across = by_e * c + by_n * s, by_n * c - by_e * s
        lengthwise, crosswise = by_along * unit_l * size[:, :1, None], by_across * unit_w * across[:, :, None]
        is_round = self.round[:, None, None]
        point_f = forward[:, :, None] + cos[:, :, None] * off_e + sin[:, :, None] * off_n
        point_l = left[:, :, None] + cos[:, :, None] * off_n - sin[:, :, None] * off_e
        point_u = up[:, None, None] + size[:, 2:, None] * unit_h
        yaw = (self.aim[:, 0] + h[:, MOUNT_YAW])[:, None, None]
        tip_f, tip_l = -np.sin(yaw), np.cos(yaw)
        out = np.empty((PARAMETERS, *edges.shape))
        out[EAST], out[NORTH], out[BASE] = by_e, by_n, by_u
        out[LENGTH] = lengthwise + np.where(is_round, crosswise, 0.0)
        out[WIDTH] = np.where(is_round, 0.0, crosswise)
        out[HEIGHT] = by_u * unit_h * size[:, 2:, None]
        out[YAW] = by_n * off_e - by_e * off_n
        out[ALONG], out[ACROSS] = by_e * self.time_s[:, :, None], by_n * self.time_s[:, :, None]
        # A camera that turns left sees the world turn right: the point moves by -axis x point.
        out[MOUNT_YAW] = by_f * point_l - by_l * point_f
        out[MOUNT_PITCH] = -by_f * tip_l * point_u + by_l * tip_f * point_u - by_u * (tip_f * point_l - tip_l * point_f)
        out[MOUNT_HEIGHT] = -by_u
        return edges, out


def sightings(
    tracks: Sequence[Sequence[Observation]],
    poses: Sequence[Sequence[Pose]],
    places: Sequence[Array],
    cameras: Sequence[CameraModel],
    shapes: Sequence[ObjectClass],
    edge_sigma: tuple[float, float],
) -> Sightings:
    """Collect B tracks with their poses; `places[b]` (F, 2) are the poses' east/north.

    Box noise per edge is hypot(width of the picture x edge_sigma[0], side x edge_sigma[1]): a detector looks at a
    picture reduced to a fixed width, so its grain grows with the picture (geolocation.md, 8B).
    """
    count, longest = len(tracks), max(len(t) for t in tracks)
    edges, sigma = np.zeros((count, longest, 4)), np.full((count, longest, 4), np.inf)
    sides = np.full((count, longest, 2), np.inf)
    east, north, yaw, time_s, accel = (np.zeros((count, longest)) for _ in range(5))
    outlines = [template(shape) for shape in shapes]
    most = max(len(o) for o in outlines)
    for b, (track, track_poses, place, camera) in enumerate(zip(tracks, poses, places, cameras, strict=True)):
        n = len(track)
        boxes = np.array([o.xyxy for o in track], dtype=np.float64) - 0.5
        edges[b, :n] = _normalised(boxes, camera)
        wide = boxes[:, 2:] - boxes[:, :2]
        sides[b, :n] = wide
        noise = np.hypot(edge_sigma[0] * camera.width, edge_sigma[1] * wide) / (camera.fx, camera.fy)
        usable = np.array([o.edges for o in track], dtype=bool)
        sigma[b, :n] = np.where(usable, np.tile(noise, 2), np.inf)
        east[b, :n], north[b, :n] = place[:, 0], place[:, 1]
        yaw[b, :n] = np.radians(90.0 - np.array([p.heading_deg for p in track_poses]))
        stamps = np.array([o.stamp_ns for o in track], dtype=np.int64)
        time_s[b, :n] = (stamps - (stamps[0] + stamps[-1]) // 2) * 1e-9
        accel[b, :n] = _slope(time_s[b, :n], np.array([p.speed_mps for p in track_poses]))
        for array in (east, north, yaw, time_s, accel):
            array[b, n:] = array[b, n - 1]
    roll = [rotation(0.0, 0.0, math.radians(c.roll_deg)) @ _MOUNT_FROM_OPTICAL for c in cameras]
    return Sightings(
        edges, sigma, sides, east, north, yaw, time_s, accel,
        np.stack([np.concatenate([o, np.repeat(o[:1], most - len(o), axis=0)]) for o in outlines]),
        np.array([shape.yaw != "road" and not turns(shape) for shape in shapes]),
        np.stack(roll), np.radians([[c.yaw_deg, c.pitch_deg] for c in cameras]),
        np.stack([c.position_m for c in cameras]),
    )  # fmt: skip


def _slope(time_s: Array, values: Array) -> Array:
    """Slope (F,) of values over time, by a line through what lies within half a second of each."""
    near = np.abs(time_s[:, None] - time_s[None, :]) <= 0.55
    count = near.sum(axis=1)
    t, v = near @ time_s / count, near @ values / count
    moment = (near * (time_s[None, :] - t[:, None]) ** 2).sum(axis=1)
    product = (near * (time_s[None, :] - t[:, None]) * (values[None, :] - v[:, None])).sum(axis=1)
    return np.where(moment > 0.01, product / np.maximum(moment, 1e-9), 0.0)


def _normalised(boxes: Array, camera: CameraModel) -> Array:
    """Boxes (F, 4) in px -> edges (F, 4) in undistorted normalised coordinates, each at the middle of its side."""
    u, v = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    points = np.stack([np.column_stack([boxes[:, 0], v]), np.column_stack([u, boxes[:, 1]]),
                       np.column_stack([boxes[:, 2], v]), np.column_stack([u, boxes[:, 3]])], axis=1)  # fmt: skip
    normal = camera.normalise(points.reshape(-1, 2)).reshape(-1, 4, 2)
    return np.column_stack([normal[:, 0, 0], normal[:, 1, 1], normal[:, 2, 0], normal[:, 3, 1]])
