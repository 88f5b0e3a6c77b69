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
from gnss.types import Array, Pose, Rows
from perception.camera import CameraModel
from perception.ground import CarPlace, GroundParams
from perception.matching import Expected, Matching, MatchParams, all_known, usable_edges
from perception.places import Places
from perception.types import Observation, Seen, Track


@dataclass(frozen=True, slots=True)
class TrackerParams:
    """Tuning of the tracker. Frames rarer than `slow_period_s` were aimed one by one: each has its own jitter."""

    keep_s: float = 1.5
    keep_periods: float = 3.0
    confirm_s: float = 0.3
    confirm_hits: int = 3
    slow_period_s: float = 0.5
    slow_confirm_hits: int = 2
    match: MatchParams = field(default_factory=MatchParams)
    ground: GroundParams = field(default_factory=GroundParams)
    most_observations: int = 600
    look_memory: float = 0.7
    aimed_jitter_deg: float = 3.0
    shake_pairs: int = 4
    bump_deg: float = 1.0
    calm_share: float = 0.7
    missed_px: float = 24.0
    missed_thin_px: float = 5.0
    missed_covered: float = 0.2
    most_missed: int = 200
    tentative_periods: float = 5.0


@dataclass(slots=True)
class _Live:
    id: int
    observations: list[Observation] = field(default_factory=list)
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
        self._camera = camera
        self._thresholds = thresholds
        self._params = params
        self._live: list[_Live] = []
        self._places = Places(camera, params.ground)
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
        car = self._places.car(pose)
        pairs: list[tuple[int, int]] = []
        unseen = np.zeros((0, 4))
        xyxy = boxes.xyxy.astype(np.float64)
        if self._live:
            expected = self._expected(car, seen.stamp_ns)
            jitter_px = math.radians(p.aimed_jitter_deg) * self._camera.fx if self._aimed else 0.0
            matching = Matching(expected, boxes, (seen.width, seen.height), p.match, jitter_px)
            pairs = self._matched(matching, expected, np.flatnonzero(strong), np.flatnonzero(weak))
            missed = np.ones(len(self._live), dtype=bool)
            missed[[track for track, _ in pairs]] = False
            missed &= np.isfinite(expected.boxes[:, 0])
            unseen = expected.boxes[missed]
            self._count_missed(np.flatnonzero(missed), unseen, xyxy, seen.stamp_ns)
        edges = usable_edges(xyxy, seen.width, seen.height, p.match.border_px, p.match.cut_px, unseen)
        strong[[box for _, box in pairs]] = False
        begun = np.flatnonzero(strong).tolist()
        pairs += [(len(self._live) + k, box) for k, box in enumerate(begun)]
        self._live += [_Live(self._next + k) for k in range(len(begun))]
        self._next += len(begun)
        self._places.add(len(begun))
        self._extend(pairs, seen, edges)
        rows, found = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        foot_cut = np.array([not edges[box][3] for box in found.tolist()], dtype=bool)
        self._places.correct(rows, xyxy[found], foot_cut, car, seen.stamp_ns)
        return ended

    def flush(self) -> list[Track]:
        """End every track."""
        ended = [self._track(live) for live in self._live]
        self._live.clear()
        self._places.keep(np.zeros(len(ended), dtype=bool))
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
        limits = np.where(self._places.hits >= self._params.confirm_hits, keep_ns, tentative_ns)
        old = now_ns - self._places.seen_ns > limits
        if not old.any():
            return []
        ended = [self._track(live) for live, is_old in zip(self._live, old.tolist(), strict=True) if is_old]
        self._live = [live for live, is_old in zip(self._live, old.tolist(), strict=True) if not is_old]
        self._places.keep(~old)
        return ended

    def _track(self, live: _Live) -> Track:
        p = self._params
        span_s = (live.last.stamp_ns - live.observations[0].stamp_ns) * 1e-9
        slow = self._period_s > p.slow_period_s
        hits = p.slow_confirm_hits if slow else p.confirm_hits
        confirmed = len(live.observations) >= hits and span_s >= p.confirm_s
        look = None if live.look is None else live.look.astype(np.float32)
        return Track(live.id, live.name, tuple(live.observations), confirmed, look, tuple(live.missed_ns))

    def _expected(self, car: CarPlace, now_ns: int) -> Expected:
        """What the live tracks lead to expect in a frame seen from here; their places move on as well."""
        gaps_s: Array = (now_ns - self._places.seen_ns).astype(np.float64) * 1e-9
        size = max((len(live.look) for live in self._live if live.look is not None), default=0)
        looks = np.array([np.zeros(size) if live.look is None else live.look for live in self._live]) if size else None
        return Expected(
            self._places.expect(car, now_ns), gaps_s, [live.name for live in self._live], self._places.movable, looks
        )

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
        sides = expected[:, 2:] - expected[:, :2]
        area = sides[:, 0] * sides[:, 1]
        size = np.array([self._camera.width, self._camera.height])
        margin = p.match.border_px + 0.08 * sides
        due = ((expected[:, :2] > margin) & (expected[:, 2:] < size - margin)).all(axis=1)
        due &= (area >= p.missed_px**2) & (sides.min(axis=1) >= p.missed_thin_px)
        rows, expected, area = rows[due], expected[due, None], area[due]
        if not len(rows):
            return
        shared = np.minimum(boxes[:, 2:], expected[..., 2:]) - np.maximum(boxes[:, :2], expected[..., :2])
        covered = np.maximum(shared, 0.0).prod(axis=2).max(axis=1, initial=0.0)
        for row in rows[covered < p.missed_covered * np.maximum(area, 1.0)].tolist():
            if len(self._live[row].missed_ns) < p.most_missed:
                self._live[row].missed_ns.append(now_ns)

    def _extend(
        self, pairs: Sequence[tuple[int, int]], seen: Seen, edges: Sequence[tuple[bool, bool, bool, bool]]
    ) -> None:
        """Give each track of `pairs` (track, box) its box."""
        boxes, keep = seen.detections, self._params.look_memory
        xyxy, confidence, classes = boxes.xyxy.tolist(), boxes.confidence.tolist(), boxes.class_id.tolist()
        looks = None if boxes.appearance is None else boxes.appearance.astype(np.float64)
        for track, box in pairs:
            live, name = self._live[track], boxes.class_names[classes[box]]
            before = live.name
            live.vote(name, confidence[box])
            if live.name != before:
                self._places.movable[track] = live.name in self._mobile
                self._places.height_m[track] = self._heights_m.get(live.name, 0.0)
            if looks is not None:
                live.look = looks[box] if live.look is None else keep * live.look + (1.0 - keep) * looks[box]
            x1, y1, x2, y2 = xyxy[box]
            live.observations.append(
                Observation(
                    seen.stamp_ns, seen.camera, seen.index, (x1, y1, x2, y2), confidence[box], name, seen.width,
                    seen.height, edges[box],
                )
            )  # fmt: skip
            if len(live.observations) > self._params.most_observations:
                # A car beside us at a long light: every second of the older half says as much; memory stays bounded.
                half = len(live.observations) // 2
                live.observations[:half] = live.observations[:half:2]

    def places(self) -> list[tuple[Track, LocalFrame, Array, Array]]:
        """The live tracks that have a place: with the frame it is in, place (2,) east/north m and covariance (2, 2)."""
        frame = self._places.frame
        if frame is None:
            return []
        state, spread = self._places.state, self._places.spread
        placed = np.flatnonzero(np.isfinite(self._places.depth_m)).tolist()
        return [(self._track(self._live[k]), frame, state[k, :2], spread[k, :2, :2]) for k in placed]

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
