"""Boxes followed through one camera's frames: predicted from where each is on the ground, assigned jointly.

A box is predicted by its track's place and speed on the ground (perception.ground) as the car's new pose sees it; cost
is a Mahalanobis distance on centre and log size with a class penalty; a bump that moves the whole picture is found and
taken out first; a second round takes low-confidence boxes (ByteTrack's idea). Ages count in seconds. Boxes stay *as
detected*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose
from perception.camera import CameraModel
from perception.ground import CarPlace, GroundParams, ahead_of_time, born, contacts, corrected
from perception.types import Detections, Observation, Seen, Track

_FORBIDDEN = 1e6
_RECENTRE_M = 2000.0


@dataclass(frozen=True, slots=True)
class TrackerParams:
    """Tuning of the tracker. Frames rarer than `slow_period_s` were aimed one by one: each has its own jitter."""

    keep_s: float = 1.5
    keep_periods: float = 3.0
    confirm_s: float = 0.3
    confirm_hits: int = 3
    slow_period_s: float = 0.5
    slow_confirm_hits: int = 2
    gate: float = 16.0
    class_penalty: float = 6.0
    centre_sigma: float = 0.22
    centre_floor_px: float = 6.0
    log_size_sigma: float = 0.18
    offset_memory: float = 0.5
    ground: GroundParams = field(default_factory=GroundParams)
    border_px: float = 3.0
    cut_px: float = 4.0
    most_observations: int = 600
    look_weight: float = 8.0
    look_memory: float = 0.7
    aimed_jitter_deg: float = 3.0
    shake_pairs: int = 4
    bump_deg: float = 1.0


@dataclass(slots=True)
class _Live:
    id: int
    observations: list[Observation]
    place: Array
    spread: Array
    offset: Array
    depth_m: float
    placed_ns: int = 0
    votes: dict[str, float] = field(default_factory=dict)
    look: Array | None = None

    @property
    def last(self) -> Observation:
        return self.observations[-1]

    def class_name(self) -> str:
        return max(sorted(self.votes), key=lambda name: self.votes[name])


def _centres(xyxy: Array) -> Array:
    """(N, 4) xyxy -> (N, 4) centre x, centre y, log width, log height."""
    wide = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 1.0)
    return np.column_stack([(xyxy[:, :2] + xyxy[:, 2:]) / 2, np.log(wide)])


def usable_edges(
    boxes: Array, width: int, height: int, border_px: float, cut_px: float = 0.0
) -> list[tuple[bool, bool, bool, bool]]:
    """Which edges (left, top, right, bottom) of boxes (N, 4) are real: not cut by the border or by a nearer box.

    A hidden thing's box ends where the nearer one begins, so an edge within `cut_px` of a nearer box counts as cut.
    """
    x1, y1, x2, y2 = boxes.T
    # A detector misses the border by a share of the box's size, like any other edge.
    across, down = border_px + 0.08 * (x2 - x1), border_px + 0.08 * (y2 - y1)
    usable = np.column_stack([x1 > across, y1 > down, x2 < width - across, y2 < height - down])
    # Of a thing that leaves at the side, the lowest and highest parts are those outside: only the inner edge is real.
    usable[:, [1, 3]] &= (usable[:, 0] & usable[:, 2])[:, None]
    u = np.column_stack([x1, (x1 + x2) / 2, x2, (x1 + x2) / 2])[:, :, None]
    v = np.column_stack([(y1 + y2) / 2, y1, (y1 + y2) / 2, y2])[:, :, None]
    inside = (u > x1 - cut_px) & (u < x2 + cut_px) & (v > y1 - cut_px) & (v < y2 + cut_px)
    nearer = (y2[None, :] > y2[:, None] + 4.0)[:, None, :]
    usable &= ~(inside & nearer).any(axis=2)
    return [(bool(row[0]), bool(row[1]), bool(row[2]), bool(row[3])) for row in usable]


class Tracker:
    """Follows the boxes of one camera; ids count from 1 per instance."""

    def __init__(
        self,
        camera: CameraModel,
        thresholds: dict[str, float],
        params: TrackerParams,
        heights_m: dict[str, float] | None = None,
        mobile: frozenset[str] = frozenset(),
    ) -> None:
        """`thresholds`: confidence by class from which a track may start; `heights_m`: known heights by class.

        `mobile` are the classes that may move.
        """
        self._heights_m = heights_m or {}
        self._mobile = mobile
        self._frame: LocalFrame | None = None
        self._camera = camera
        self._thresholds = thresholds
        self._params = params
        self._live: list[_Live] = []
        self._next = 1
        self._last_stamp_ns: int | None = None
        self._period_s: float = 0.0

    def step(self, seen: Seen, pose: Pose) -> list[Track]:
        """Take one frame's boxes; returns the tracks that ended by now."""
        if self._last_stamp_ns is not None:
            gap = (seen.stamp_ns - self._last_stamp_ns) * 1e-9
            first = self._period_s == 0.0
            self._period_s = gap if first or self._period_s > 4 * gap else 0.8 * self._period_s + 0.2 * gap
            self._period_s = max(self._period_s, gap / 4)
        self._last_stamp_ns = seen.stamp_ns
        ended = self._expire(seen.stamp_ns)
        boxes = seen.detections
        names = boxes.names()
        strong = np.array(
            [c >= self._thresholds.get(n, 1.1) for n, c in zip(names, boxes.confidence, strict=True)], dtype=bool
        )
        known = np.array([n in self._thresholds for n in names], dtype=bool)
        xyxy = boxes.xyxy.astype(np.float64)
        edges = usable_edges(xyxy, seen.width, seen.height, self._params.border_px, self._params.cut_px)
        car = self._car(pose)
        predicted = self._predict(car, seen.stamp_ns)
        free = list(range(len(self._live)))
        predicted = predicted + self._shake(free, strong, predicted, seen)
        found: list[_Live] = []
        for chosen in (strong, known & ~strong):
            rows = [int(row) for row in np.flatnonzero(chosen)]
            pairs = self._assign(free, rows, predicted, seen)
            for track_index, box in pairs:
                self._extend(self._live[track_index], seen, box, edges[box])
                free.remove(track_index)
                strong[box] = False
            found += [self._live[track_index] for track_index, _ in pairs]
        for box in [int(row) for row in np.flatnonzero(strong)]:
            live = _Live(self._next, [], np.zeros(4), np.zeros((4, 4)), np.zeros(2), math.nan)
            self._next += 1
            self._extend(live, seen, box, edges[box])
            self._live.append(live)
            found.append(live)
        self._correct(found, car)
        return ended

    def flush(self) -> list[Track]:
        """End every track."""
        ended = [self._track(live) for live in self._live]
        self._live.clear()
        return ended

    @property
    def _aimed(self) -> bool:
        """Is this a series of photos, each aimed by hand?"""
        return self._camera.guessed and self._period_s > self._params.slow_period_s

    def _keep_ns(self) -> int:
        return int(max(self._params.keep_s, self._params.keep_periods * self._period_s) * 1e9)

    def _expire(self, now_ns: int) -> list[Track]:
        old = [live for live in self._live if now_ns - live.last.stamp_ns > self._keep_ns()]
        self._live = [live for live in self._live if now_ns - live.last.stamp_ns <= self._keep_ns()]
        return [self._track(live) for live in old]

    def _track(self, live: _Live) -> Track:
        p = self._params
        span_s = (live.last.stamp_ns - live.observations[0].stamp_ns) * 1e-9
        slow = self._period_s > p.slow_period_s
        hits = p.slow_confirm_hits if slow else p.confirm_hits
        confirmed = len(live.observations) >= hits and span_s >= p.confirm_s
        look = None if live.look is None else live.look.astype(np.float32)
        return Track(live.id, live.class_name(), tuple(live.observations), confirmed, look)

    def _car(self, pose: Pose) -> CarPlace:
        """The vehicle in this tracker's local frame, which follows it."""
        if self._frame is None:
            self._frame = LocalFrame(pose.lat_deg, pose.lon_deg)
        car = CarPlace.of(pose, self._frame)
        if math.hypot(car.east_m, car.north_m) > _RECENTRE_M:
            self._frame = LocalFrame(pose.lat_deg, pose.lon_deg)
            for live in self._live:
                live.place = live.place - (car.east_m, car.north_m, 0.0, 0.0)
            car = CarPlace.of(pose, self._frame)
        return car

    def _movable(self, lives: Sequence[_Live]) -> Mask:
        return np.array([live.class_name() in self._mobile for live in lives], dtype=bool)

    def _predict(self, car: CarPlace, now_ns: int) -> Array:
        """Predicted boxes (T, 4) of the live tracks as they would be seen from here; their places move on as well.

        A thing that the car has driven past comes back as NaN: no later box can be it, unless it moves.
        """
        if not self._live:
            return np.zeros((0, 4))
        boxes = np.array([live.last.xyxy for live in self._live], dtype=np.float64)
        dt_s = np.array([(now_ns - live.placed_ns) * 1e-9 for live in self._live])
        state, spread = ahead_of_time(
            np.array([live.place for live in self._live]), np.array([live.spread for live in self._live]),
            dt_s, self._movable(self._live), self._params.ground,
        )  # fmt: skip
        pixels, depth = self._seen_from(car, state)
        before = np.array([live.depth_m for live in self._live])
        offset = np.array([live.offset for live in self._live])
        good = np.isfinite(before) & (depth > 1.0) & (before < 120.0)
        scale = np.where(good, np.clip(np.where(good, before, 1.0) / np.maximum(depth, 0.5), 0.4, 4.0), 1.0)
        contact = pixels + offset * scale[:, None]
        half, tall = (boxes[:, 2] - boxes[:, 0]) / 2 * scale, (boxes[:, 3] - boxes[:, 1]) * scale
        new = np.column_stack([contact[:, 0] - half, contact[:, 1] - tall, contact[:, 0] + half, contact[:, 1]])
        for live, x, p in zip(self._live, state, spread, strict=True):
            live.place, live.spread, live.placed_ns = x, p, now_ns
        passed = np.isfinite(before) & (before > 0) & (depth <= 0)
        return np.where(passed[:, None], np.nan, np.where(good[:, None], new, boxes))

    def _seen_from(self, car: CarPlace, state: Array) -> tuple[Array, Array]:
        """Pixel-edge coordinates (T, 2) of places on the ground, and their depths (T,)."""
        body = car.to_body(state[:, :2])
        pixels, depth = self._camera.project(np.column_stack([body, np.zeros(len(body))]))
        if self._camera.guessed:
            # Nobody knows where the horizon is: only the way across tells; the box's foot moves with its size.
            pixels[:, 1] = self._camera.cy
        return pixels + 0.5, depth

    def _correct(self, found: Sequence[_Live], car: CarPlace) -> None:
        """Bring the places of the tracks seen in this frame up to date."""
        if not found:
            return
        p = self._params
        boxes = np.array([live.last.xyxy for live in found])
        heights = np.array([self._heights_m.get(live.class_name(), 0.0) for live in found])
        cut = np.array([not live.last.edges[3] for live in found])
        place, noise, usable = contacts(
            boxes, self._camera, heights, cut | self._camera.guessed & (heights > 0), p.ground
        )
        place = car.to_world(place)
        turn = np.array(
            [[math.cos(car.yaw_rad), -math.sin(car.yaw_rad)], [math.sin(car.yaw_rad), math.cos(car.yaw_rad)]]
        )
        noise = turn @ noise @ turn.T
        new = np.array([not np.isfinite(live.depth_m) for live in found])
        state, spread = np.array([live.place for live in found]), np.array([live.spread for live in found])
        first = born(place, noise, self._movable(found), p.ground)
        later = corrected(
            np.where(new[:, None], first[0], state), np.where(new[:, None, None], first[1], spread), place, noise
        )
        state = np.where(new[:, None], first[0], np.where(usable[:, None], later[0], state))
        spread = np.where(new[:, None, None], first[1], np.where(usable[:, None, None], later[1], spread))
        pixels, depth = self._seen_from(car, state)
        contact = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]])
        for k, live in enumerate(found):
            if new[k] and not usable[k]:
                continue
            keep = 0.0 if new[k] else p.offset_memory * min(4.0, max(0.25, live.depth_m / max(depth[k], 0.5)))
            share = 0.0 if new[k] else p.offset_memory
            live.place, live.spread, live.depth_m = state[k], spread[k], float(depth[k])
            live.offset = keep * live.offset + (1.0 - share) * (contact[k] - pixels[k])

    def _shake(self, free: list[int], strong: Mask, predicted: Array, seen: Seen) -> Array:
        """How far the whole picture moved against the prediction (4,), px: a bump tilts it for all tracks alike."""
        nothing = np.zeros(4)
        bump_px = math.radians(self._params.bump_deg) * self._camera.fy
        pairs = self._assign(free, np.flatnonzero(strong).tolist(), predicted, seen, bump_px)
        if len(pairs) < self._params.shake_pairs or self._aimed:
            return nothing
        rows = [row for row, _ in pairs]
        found = seen.detections.xyxy[[box for _, box in pairs]].astype(np.float64)
        gaps = ((found[:, :2] + found[:, 2:]) - (predicted[rows, :2] + predicted[rows, 2:])) / 2
        return np.tile(np.median(gaps, axis=0), 2)

    def _assign(
        self, free: list[int], rows: list[int], predicted: Array, seen: Seen, bump_px: float = 0.0
    ) -> list[tuple[int, int]]:
        """Pairs (track, box) of least total cost within the gate; `bump_px` is 1 sigma of a shift of the whole picture."""
        if not free or not rows:
            return []
        p = self._params
        names, looks = seen.detections.names(), seen.detections.appearance
        a = _centres(predicted[free])[:, None, :]
        b = _centres(seen.detections.xyxy[rows].astype(np.float64))[None, :, :]
        size = np.exp((a[..., 2] + a[..., 3]) / 2)
        gaps_s = np.array([(seen.stamp_ns - self._live[index].last.stamp_ns) * 1e-9 for index in free])
        wider = 1.0 + np.minimum(gaps_s, 3.0)[:, None]
        sigma = np.hypot(np.maximum(p.centre_floor_px, p.centre_sigma * size) * wider, bump_px)
        if self._aimed:
            sigma = np.hypot(sigma, math.radians(p.aimed_jitter_deg) * self._camera.fx)
        cost = ((a[..., 0] - b[..., 0]) ** 2 + (a[..., 1] - b[..., 1]) ** 2) / sigma**2
        # A box cut by the border shrinks without moving nearer or farther, so size counts less than place.
        size_gap = ((a[..., 2:] - b[..., 2:]) ** 2).sum(axis=-1)
        cost += 0.5 * size_gap / (p.log_size_sigma * wider) ** 2
        known = np.array([self._live[index].class_name() for index in free])
        cost += np.where(known[:, None] == np.array([names[box] for box in rows])[None, :], 0.0, p.class_penalty)
        if looks is not None:
            # Squared Hellinger distance of the colour histograms: 0 the same, 1 nothing in common.
            roots = [self._live[index].look for index in free]
            kept = np.sqrt(np.array([look if look is not None else np.zeros(looks.shape[1]) for look in roots]))
            apart = 1.0 - kept @ np.sqrt(looks[rows].astype(np.float64)).T
            cost += p.look_weight * np.where(np.array([look is not None for look in roots])[:, None], apart, 0.0)
        bounded = np.where(cost <= p.gate, cost, _FORBIDDEN)
        left, right = linear_sum_assignment(bounded)
        return [(free[i], rows[j]) for i, j in zip(left, right, strict=True) if bounded[i, j] < _FORBIDDEN]

    def _extend(self, live: _Live, seen: Seen, box: int, edges: tuple[bool, bool, bool, bool]) -> None:
        boxes: Detections = seen.detections
        xyxy = boxes.xyxy[box].astype(np.float64)
        live.placed_ns = seen.stamp_ns
        name = boxes.class_names[boxes.class_id[box]]
        confidence = float(boxes.confidence[box])
        live.votes[name] = live.votes.get(name, 0.0) + confidence
        if boxes.appearance is not None:
            new = boxes.appearance[box].astype(np.float64)
            keep = self._params.look_memory
            live.look = new if live.look is None else keep * live.look + (1.0 - keep) * new
        x1, y1, x2, y2 = (float(v) for v in xyxy)
        live.observations.append(
            Observation(
                seen.stamp_ns,
                seen.camera,
                seen.index,
                (x1, y1, x2, y2),
                confidence,
                name,
                seen.width,
                seen.height,
                edges,
            )
        )
        if len(live.observations) > self._params.most_observations:
            # A car beside us at a long light: every second of the older half says as much, and memory stays bounded.
            half = len(live.observations) // 2
            live.observations[:half] = live.observations[:half:2]

    def tracks(self) -> list[Track]:
        """The live tracks as they stand."""
        return [self._track(live) for live in self._live]

    @property
    def begun(self) -> int:
        """How many tracks were started so far."""
        return self._next - 1

    @property
    def live(self) -> list[tuple[int, Observation]]:
        """Ids of the live tracks with their newest observation."""
        return [(live.id, live.last) for live in self._live]
