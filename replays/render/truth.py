"""Exact boxes: the rendered vertices projected through the same pinhole camera, with occlusion by painting order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from replays.render.layout import HOLES, Street, Thing, mesh_of, placed
from replays.render.solids import Floats

NEAR_M, FAR_M = 0.25, 120.0
PAD = 0.5  # of the picture on each side: how far beyond its border a thing still counts as cut off, not as small
FLAT = (*HOLES, "manhole_closed")


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole without distortion; pixel centres at integers; mounting angles as in the drive format."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    x_m: float = 1.5
    y_m: float = 0.0
    z_m: float = 1.5
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the vehicle's reference point is: street frame metres, heading counter-clockwise from +x, time."""

    t_s: float
    x_m: float
    y_m: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Box:
    """The visible extent of one thing: xyxy in pixels, depth in metres, and three shares in 0..1.

    `visible`: painted pixels over the whole projected area (occlusion and picture border); `clear`: over the area
    inside the picture (occlusion alone); `picture`: over all pixels of the picture.
    """

    thing: str
    class_name: str
    xyxy: tuple[float, float, float, float]
    visible: float
    clear: float
    picture: float
    depth_m: float


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Floats:
    """Rz(yaw) Ry(pitch) Rx(roll), x forward, y left, z up."""
    y, p, r = (math.radians(v) for v in (yaw_deg, pitch_deg, roll_deg))
    rz = np.array([[math.cos(y), -math.sin(y), 0], [math.sin(y), math.cos(y), 0], [0, 0, 1.0]])
    ry = np.array([[math.cos(p), 0, math.sin(p)], [0, 1.0, 0], [-math.sin(p), 0, math.cos(p)]])
    rx = np.array([[1.0, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]])
    return np.asarray(rz @ ry @ rx, dtype=np.float64)


def camera_pose(camera: Camera, place: Place) -> tuple[Floats, Floats]:
    """(street_from_camera 3x3 with camera axes x forward, y left, z up; position (3,)) at a place."""
    street_from_vehicle = _rotation(place.yaw_deg, place.pitch_deg, 0.0)
    position = np.array([place.x_m, place.y_m, 0.0]) + street_from_vehicle @ np.array(
        [camera.x_m, camera.y_m, camera.z_m]
    )
    return street_from_vehicle @ _rotation(camera.yaw_deg, camera.pitch_deg, camera.roll_deg), position


def project(camera: Camera, place: Place, points: Floats) -> tuple[Floats, Floats]:
    """Pixels (N, 2) and depths (N,) of street points (N, 3); pixels mean nothing where the depth is not positive."""
    rotation, position = camera_pose(camera, place)
    seen = (points - position) @ rotation
    depth = np.maximum(seen[:, 0], 1e-6)
    pixels = np.stack([camera.cx - camera.fx * seen[:, 1] / depth, camera.cy - camera.fy * seen[:, 2] / depth], axis=1)
    return pixels, seen[:, 0]


class Geometry:
    """Meshes of a street's things, made once; only what stands above the road counts for boxes."""

    def __init__(self, street: Street) -> None:
        self._solids = tuple(_Solid.of(t) for t in street.things)

    def boxes(self, camera: Camera, place: Place, scale: float = 1.0) -> list[Box]:
        """Boxes of all things with a class that show at least one painted pixel, nearest first.

        `scale` is the resolution of the painting used for occlusion; unoccluded boxes are exact at any scale.
        """
        drawn = [d for s in self._solids if (d := _draw(s, camera, place)) is not None]
        drawn.sort(key=lambda d: (not d.solid.flat, -d.depth))
        ids, areas = _paint(drawn, camera, scale)
        counts = np.bincount(ids.ravel(), minlength=len(drawn) + 1)
        found = []
        for number, (item, area) in enumerate(zip(drawn, areas, strict=True), start=1):
            if item.solid.thing.class_name is not None and counts[number]:
                found.append(_box(item, ids == number, area, camera, scale))
        return found[::-1]


@dataclass(frozen=True, slots=True)
class _Solid:
    """A thing's vertices and its faces above the ground, grouped by their number of corners: arrays (n, corners)."""

    thing: Thing
    vertices: Floats
    faces: tuple[NDArray[np.int64], ...]
    flat: bool

    @staticmethod
    def of(thing: Thing) -> _Solid:
        mesh = mesh_of(thing)
        above = mesh.vertices[:, 2] > -0.015
        by_corners: dict[int, list[tuple[int, ...]]] = {}
        for face in mesh.faces:
            if all(above[i] for i in face):
                by_corners.setdefault(len(face), []).append(face)
        faces = tuple(np.array(group, dtype=np.int64) for group in by_corners.values())
        return _Solid(thing, mesh.vertices, faces, thing.model in FLAT)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A solid as one camera sees it: pixels (V, 2), the faces before the lens, their corners and median depth."""

    solid: _Solid
    pixels: Floats
    faces: tuple[NDArray[np.int64], ...]
    corners: NDArray[np.int64]
    depth: float


def _draw(solid: _Solid, camera: Camera, place: Place) -> _Drawn | None:
    """None when nothing of the solid is before the lens and within `FAR_M`."""
    pixels, depth = project(camera, place, placed(solid.thing, solid.vertices, place.t_s))
    faces = tuple(kept for group in solid.faces if len(kept := group[(depth[group] > NEAR_M).all(axis=1)]))
    if not faces:
        return None
    corners = np.unique(np.concatenate([f.ravel() for f in faces]))
    if depth[corners].min() > FAR_M:
        return None
    return _Drawn(solid, pixels, faces, corners, float(np.median(depth[corners])))


def _paint(drawn: Sequence[_Drawn], camera: Camera, scale: float) -> tuple[NDArray[np.int32], list[tuple[int, int]]]:
    """Paint from far to near: the picture's ids (H, W), and each solid's own area (with the border PAD, inside)."""
    w, h = int(camera.width * scale), int(camera.height * scale)
    px, py = int(w * PAD), int(h * PAD)
    ids, areas = np.zeros((h, w), np.int32), []
    for number, item in enumerate(drawn, start=1):
        points = np.round(np.clip((item.pixels + 0.5) * scale - 0.5, -8000.0, 8000.0) * 16.0).astype(np.int32)
        used = points[item.corners]
        x0, y0 = np.clip(used.min(axis=0) // 16 - 1, (-px, -py), (w + px, h + py)).tolist()
        x1, y1 = np.clip(used.max(axis=0) // 16 + 2, (-px, -py), (w + px, h + py)).tolist()
        canvas = np.zeros((y1 - y0, x1 - x0), np.uint8)
        if canvas.size:
            local = points - np.array((x0 * 16, y0 * 16), np.int32)
            hull = [cv2.convexHull(local[item.corners]).astype(np.int32)] if item.solid.flat else None
            for polygon in hull or (p for group in item.faces for p in local[group]):
                cv2.fillConvexPoly(canvas, polygon, 1, cv2.LINE_8, 4)
        inside = canvas[max(0, -y0) : max(0, h - y0), max(0, -x0) : max(0, w - x0)] > 0
        left, top = max(0, x0), max(0, y0)
        ids[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = number
        areas.append((int(canvas.sum()), int(inside.sum())))
    return ids, areas


def _box(item: _Drawn, mask: NDArray[np.bool_], area: tuple[int, int], camera: Camera, scale: float) -> Box:
    """The vertices' extent, cut back where the mask shows that an occluder or the border hides an end."""
    points = item.pixels[item.corners]
    limit = np.array([camera.width - 1.0, camera.height - 1.0])
    low, high = np.clip(points.min(axis=0), 0.0, limit), np.clip(points.max(axis=0), 0.0, limit)
    ys, xs = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    seen_low = np.array([xs[0], ys[0]]) / scale - 0.5 / scale
    seen_high = np.array([xs[-1] + 1, ys[-1] + 1]) / scale + 0.5 / scale
    slack = 1.5 / scale
    low = np.where(seen_low > low + slack, seen_low, low)
    high = np.where(seen_high < high - slack, seen_high, high)
    thing, count = item.solid.thing, int(mask.sum())
    xyxy = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Box(thing.id, str(thing.class_name), xyxy, count / area[0], count / area[1], count / mask.size, item.depth)
