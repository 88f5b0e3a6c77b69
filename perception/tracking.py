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

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose, Rows
from perception.camera import CameraModel
from perception.ground import CarPlace, GroundParams, ahead_of_time, born, contacts, corrected
from perception.matching import Expected, Matching, MatchParams, all_known, usable_edges
from perception.types import Detections, Observation, Seen, Track

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
    offset_memory: float = 0.5
    match: MatchParams = field(default_factory=MatchParams)
    ground: GroundParams = field(default_factory=GroundParams)
    most_observations: int = 600
    look_memory: float = 0.7
    aimed_jitter_deg: float = 3.0
    shake_pairs: int = 4
    bump_deg: float = 1.0
    calm_share: float = 0.7
    least_inside: float = 0.05
    missed_px: float = 24.0
    missed_thin_px: float = 5.0
    missed_covered: float = 0.2
    most_missed: int = 200
    tentative_periods: float = 5.0


@dataclass(slots=True)
class _Live:
    id: int
    observations: list[Observation]
    place: Array
    spread: Array
    offset: Array
    depth_m: float
    placed_ns: int = 0
    name: str = ""
    votes: dict[str, float] = field(default_factory=dict)
    look: Array | None = None
    missed_ns: list[int] = field(default_factory=list)

    @property
    def last(self) -> Observation:
        return self.observations[-1]

    def vote(self, name: str, confidence: float) -> None:
        """Count a box's class; the track's own is the one with the most confidence in sum."""
        self.votes[name] = self.votes.get(name, 0.0) + confidence
        if name != self.name:
            self.name = max(sorted(self.votes), key=lambda one: self.votes[one])


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
        boxes, p = seen.detections, self._params
        limits, known = all_known(boxes.class_names, self._thresholds)
        strong = boxes.confidence >= limits[boxes.class_id]
        weak = known[boxes.class_id] & ~strong
        car = self._car(pose)
        pairs: list[tuple[int, int]] = []
        unseen = np.zeros((0, 4))
        if self._live and len(boxes):
            expected = self._expected(car, seen.stamp_ns)
            jitter_px = math.radians(p.aimed_jitter_deg) * self._camera.fx if self._aimed else 0.0
            matching = Matching(expected, boxes, (seen.width, seen.height), p.match, jitter_px)
            pairs = self._matched(matching, expected, np.flatnonzero(strong), np.flatnonzero(weak))
            missed = np.ones(len(self._live), dtype=bool)
            missed[[track for track, _ in pairs]] = False
            unseen = expected.boxes[missed & np.isfinite(expected.boxes).all(axis=1)]
        xyxy = boxes.xyxy.astype(np.float64)
        if len(unseen):
            self._count_missed(np.flatnonzero(missed), expected.boxes[missed], xyxy, seen.stamp_ns)
        edges = usable_edges(xyxy, seen.width, seen.height, p.match.border_px, p.match.cut_px, unseen)
        found: list[_Live] = []
        for track, box in pairs:
            self._extend(self._live[track], seen, box, edges[box])
            strong[box] = False
            found.append(self._live[track])
        for box in np.flatnonzero(strong).tolist():
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
        keep_ns = self._keep_ns()
        # One box or two may be nothing: they do not wait long for more, lest they catch what is not theirs.
        tentative_ns = min(keep_ns, int(self._params.tentative_periods * self._period_s * 1e9))
        hits = self._params.confirm_hits
        old = [
            live
            for live in self._live
            if now_ns - live.last.stamp_ns > (keep_ns if len(live.observations) >= hits else tentative_ns)
        ]
        if old:
            gone = {live.id for live in old}
            self._live = [live for live in self._live if live.id not in gone]
        return [self._track(live) for live in old]

    def _track(self, live: _Live) -> Track:
        p = self._params
        span_s = (live.last.stamp_ns - live.observations[0].stamp_ns) * 1e-9
        slow = self._period_s > p.slow_period_s
        hits = p.slow_confirm_hits if slow else p.confirm_hits
        confirmed = len(live.observations) >= hits and span_s >= p.confirm_s
        look = None if live.look is None else live.look.astype(np.float32)
        return Track(live.id, live.name, tuple(live.observations), confirmed, look, tuple(live.missed_ns))

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
        return np.array([live.name in self._mobile for live in lives], dtype=bool)

    def _expected(self, car: CarPlace, now_ns: int) -> Expected:
        """What the live tracks lead to expect in a frame seen from here; their places move on as well.

        The box of a thing that the car has driven past is NaN: no later box can be it, unless it moves.
        """
        gaps_s = np.array([(now_ns - live.last.stamp_ns) * 1e-9 for live in self._live])
        size = max((len(live.look) for live in self._live if live.look is not None), default=0)
        looks = np.array([np.zeros(size) if live.look is None else live.look for live in self._live]) if size else None
        return Expected(self._predict(car, now_ns), gaps_s, [live.name for live in self._live], looks)

    def _predict(self, car: CarPlace, now_ns: int) -> Array:
        """Boxes (T, 4) of the live tracks as their places on the ground would show them."""
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
        # A detector boxes what is in the picture: that is what a thing that leaves it should look like.
        size = np.array([self._camera.width, self._camera.height] * 2, dtype=np.float64)
        whole = np.where(good[:, None], new, boxes)
        inside = np.clip(whole, 0.0, size)
        left = (inside[:, 2:] - inside[:, :2]) / np.maximum(whole[:, 2:] - whole[:, :2], 1e-6)
        return np.where((passed | (left.min(axis=1) < self._params.least_inside))[:, None], np.nan, inside)

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
        heights = np.array([self._heights_m.get(live.name, 0.0) for live in found])
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
        again = np.flatnonzero(usable & ~new)
        if new.any():
            begun = [live for live, is_new in zip(found, new, strict=True) if is_new]
            state[new], spread[new] = born(place[new], noise[new], self._movable(begun), p.ground)
        state[again], spread[again] = corrected(state[again], spread[again], place[again], noise[again])
        pixels, depth = self._seen_from(car, state)
        contact = np.column_stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]])
        for k, live in enumerate(found):
            if new[k] and not usable[k]:
                continue
            keep = 0.0 if new[k] else p.offset_memory * min(4.0, max(0.25, live.depth_m / max(depth[k], 0.5)))
            share = 0.0 if new[k] else p.offset_memory
            live.place, live.spread, live.depth_m = state[k], spread[k], float(depth[k])
            live.offset = keep * live.offset + (1.0 - share) * (contact[k] - pixels[k])

    def _matched(self, matching: Matching, expected: Expected, strong: Rows, weak: Rows) -> list[tuple[int, int]]:
        """Pairs (track, box): confident boxes first, then the others for tracks still without one.

        The road tilts the whole picture a little in every frame: the tracks' common shift is taken out. When many that
        were just seen find nothing, a bump may have tilted it far, and a wider net is cast for the shift.
        """
        p, tracks = self._params, np.arange(len(self._live))
        pairs, shift = matching.pairs(tracks, strong), None
        hoped = min(int((expected.gaps_s < p.slow_period_s).sum()), len(strong))
        if hoped >= p.shake_pairs and not self._aimed:
            bumped = len(pairs) < p.calm_share * hoped
            bump_px = math.radians(p.bump_deg) * self._camera.fy if bumped else 0.0
            shift = matching.shift(matching.pairs(tracks, strong, None, bump_px) if bumped else pairs, p.shake_pairs)
            shifted = [] if shift is None else matching.pairs(tracks, strong, shift)
            pairs, shift = (shifted, shift) if len(shifted) >= len(pairs) else (pairs, None)
        left = np.setdiff1d(tracks, np.array([track for track, _ in pairs], dtype=np.intp))
        return pairs + matching.pairs(left, weak, shift)

    def _count_missed(self, rows: Rows, expected: Array, boxes: Array, now_ns: int) -> None:
        """Note which tracks should have been seen in this frame: whole in the picture, large enough, hidden by none."""
        p = self._params
        size = np.array([self._camera.width, self._camera.height])
        sides = expected[:, 2:] - expected[:, :2]
        margin = p.match.border_px + 0.08 * sides
        whole = (expected[:, :2] > margin).all(axis=1) & (expected[:, 2:] < size - margin).all(axis=1)
        large = (sides.prod(axis=1) >= p.missed_px**2) & (sides.min(axis=1) >= p.missed_thin_px)
        for row, box in zip(rows[whole & large].tolist(), expected[whole & large], strict=True):
            low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
            covered = np.maximum(high - low, 0.0).prod(axis=1).max(initial=0.0) / max(
                float(np.prod(box[2:] - box[:2])), 1.0
            )
            if covered < p.missed_covered and len(self._live[row].missed_ns) < p.most_missed:
                self._live[row].missed_ns.append(now_ns)

    def _extend(self, live: _Live, seen: Seen, box: int, edges: tuple[bool, bool, bool, bool]) -> None:
        boxes: Detections = seen.detections
        xyxy = boxes.xyxy[box].astype(np.float64)
        live.placed_ns = seen.stamp_ns
        name = boxes.class_names[boxes.class_id[box]]
        confidence = float(boxes.confidence[box])
        live.vote(name, confidence)
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

    def places(self) -> list[tuple[Track, LocalFrame, Array, Array]]:
        """The live tracks that have a place: with the frame it is in, place (2,) east/north m and covariance (2, 2)."""
        if self._frame is None:
            return []
        placed = [live for live in self._live if math.isfinite(live.depth_m)]
        return [(self._track(live), self._frame, live.place[:2], live.spread[:2, :2]) for live in placed]

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
