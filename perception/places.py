"""The places of all live tracks of one camera, as arrays that move and are corrected together, frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose, Rows
from perception.camera import CameraModel
from perception.ground import CarPlace, GroundParams, ahead_of_time, born, contacts, corrected

_RECENTRE_M = 2000.0
_FARTHEST_M = 120.0
_OFFSET_MEMORY = 0.5
_LEAST_INSIDE = 0.05
_ROWS = ("state", "spread", "depth_m", "offset", "boxes", "stamp_ns", "seen_ns", "hits", "movable", "height_m")


def _none(*shape: int) -> Array:
    return np.zeros((0, *shape))


@dataclass(slots=True)
class Places:
    """Rows are the live tracks, in the tracker's order.

    `state` (T, 4) east, north and their rates in a frame that follows the car, `spread` (T, 4, 4); `depth_m` (T,) along
    the optical axis at the last sight, NaN before the first usable one; `offset` (T, 2) px of the box's foot from the
    place's projection; `boxes` (T, 4) as last seen; `stamp_ns` (T,) of the state, `seen_ns` (T,) of the last sight;
    `hits` (T,) boxes so far; `movable` and `height_m` (T,) of the class.
    """

    camera: CameraModel
    params: GroundParams
    frame: LocalFrame | None = None
    state: Array = field(default_factory=lambda: _none(4))
    spread: Array = field(default_factory=lambda: _none(4, 4))
    depth_m: Array = field(default_factory=_none)
    offset: Array = field(default_factory=lambda: _none(2))
    boxes: Array = field(default_factory=lambda: _none(4))
    stamp_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    seen_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    movable: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    height_m: Array = field(default_factory=_none)

    def add(self, count: int) -> None:
        """Rows for new tracks; they get their places with the next correction."""
        grown = np.zeros(count)
        self.state = np.concatenate([self.state, np.zeros((count, 4))])
        self.spread = np.concatenate([self.spread, np.zeros((count, 4, 4))])
        self.depth_m = np.concatenate([self.depth_m, np.full(count, np.nan)])
        self.offset = np.concatenate([self.offset, np.zeros((count, 2))])
        self.boxes = np.concatenate([self.boxes, np.zeros((count, 4))])
        self.stamp_ns = np.concatenate([self.stamp_ns, grown.astype(np.int64)])
        self.seen_ns = np.concatenate([self.seen_ns, grown.astype(np.int64)])
        self.hits = np.concatenate([self.hits, grown.astype(np.int64)])
        self.movable = np.concatenate([self.movable, grown.astype(np.bool_)])
        self.height_m = np.concatenate([self.height_m, grown])

    def keep(self, rows: Mask) -> None:
        """Forget the other tracks."""
        for name in _ROWS:
            setattr(self, name, getattr(self, name)[rows])

    def car(self, pose: Pose) -> CarPlace:
        """The vehicle in the local frame, which follows it."""
        if self.frame is None:
            self.frame = LocalFrame(pose.lat_deg, pose.lon_deg)
        car = CarPlace.of(pose, self.frame)
        if math.hypot(car.east_m, car.north_m) > _RECENTRE_M:
            self.frame = LocalFrame(pose.lat_deg, pose.lon_deg)
            self.state = self.state - (car.east_m, car.north_m, 0.0, 0.0)
            car = CarPlace.of(pose, self.frame)
        return car

    def expect(self, car: CarPlace, now_ns: int) -> Array:
        """Move all places to `now_ns`; boxes (T, 4) as they would be seen from here, cut at the border of the picture.

        The box of a thing that the car has driven past is NaN: no later box can be it, unless it moves.
        """
        dt_s: Array = (now_ns - self.stamp_ns).astype(np.float64) * 1e-9
        self.state, self.spread = ahead_of_time(self.state, self.spread, dt_s, self.movable, self.params)
        self.stamp_ns = np.full(len(self.state), now_ns, np.int64)
        pixels, depth = self._seen_from(car, self.state)
        good = np.isfinite(self.depth_m) & (depth > 1.0) & (self.depth_m < _FARTHEST_M)
        scale = np.where(good, np.clip(np.where(good, self.depth_m, 1.0) / np.maximum(depth, 0.5), 0.4, 4.0), 1.0)
        foot = pixels + self.offset * scale[:, None]
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]) * scale[:, None]
        half, tall = sides[:, 0] / 2, sides[:, 1]
        moved = np.stack([foot[:, 0] - half, foot[:, 1] - tall, foot[:, 0] + half, foot[:, 1]], axis=1)
        whole = np.where(good[:, None], moved, self.boxes)
        # A detector boxes what is in the picture: that is what a thing that leaves it should look like.
        inside = np.clip(whole, 0.0, np.array([self.camera.width, self.camera.height] * 2, dtype=np.float64))
        left = (inside[:, 2:] - inside[:, :2]) / np.maximum(whole[:, 2:] - whole[:, :2], 1e-6)
        passed = np.isfinite(self.depth_m) & (self.depth_m > 0) & (depth <= 1.0)
        return np.where((passed | (left.min(axis=1) < _LEAST_INSIDE))[:, None], np.nan, inside)

    def _seen_from(self, car: CarPlace, state: Array) -> tuple[Array, Array]:
        """Pixel-edge coordinates (N, 2) of places on the ground, and their depths (N,)."""
        body = np.zeros((len(state), 3))
        body[:, :2] = car.to_body(state[:, :2])
        pixels, depth = self.camera.project(body)
        if self.camera.guessed:
            # Nobody knows where the horizon is: only the way across tells; the box's foot moves with its size.
            pixels[:, 1] = self.camera.cy
        return pixels + 0.5, depth

    def correct(self, rows: Rows, boxes: Array, foot_cut: Mask, car: CarPlace, now_ns: int) -> None:
        """Bring the places of `rows` (N,) up to date with the boxes (N, 4) that were found; `foot_cut` (N,)."""
        if not len(rows):
            return
        self.boxes[rows], self.seen_ns[rows], self.stamp_ns[rows] = boxes, now_ns, now_ns
        self.hits[rows] += 1
        height = self.height_m[rows]
        by_height = foot_cut | (self.camera.guessed & (height > 0.0))
        place, noise, usable = contacts(boxes, self.camera, height, by_height, self.params)
        cos, sin = math.cos(car.yaw_rad), math.sin(car.yaw_rad)
        turn = np.array([[cos, -sin], [sin, cos]])
        place, noise = car.to_world(place), turn @ noise @ turn.T
        first = ~np.isfinite(self.depth_m[rows])
        new, again = np.flatnonzero(usable & first), np.flatnonzero(usable & ~first)
        if len(new):
            begun = born(place[new], noise[new], self.movable[rows[new]], self.params)
            self.state[rows[new]], self.spread[rows[new]] = begun
        mine = rows[again]
        self.state[mine], self.spread[mine] = corrected(self.state[mine], self.spread[mine], place[again], noise[again])
        known = rows[usable | ~first]
        if not len(known):
            return
        pixels, depth = self._seen_from(car, self.state[known])
        gap = np.stack([(self.boxes[known, 0] + self.boxes[known, 2]) / 2, self.boxes[known, 3]], axis=1) - pixels
        before = self.depth_m[known]
        old = np.isfinite(before)
        grown = np.where(old, np.clip(np.where(old, before, 1.0) / np.maximum(depth, 0.5), 0.25, 4.0), 0.0)
        keep = np.where(old, _OFFSET_MEMORY, 0.0)
        self.offset[known] = (keep * grown)[:, None] * self.offset[known] + (1.0 - keep)[:, None] * gap
        self.depth_m[known] = depth
