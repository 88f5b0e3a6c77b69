"""One window of a drive: tracks become landmarks, fragments of one thing become one, and all make a PassRecord."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.geodesy import LocalFrame, distance_m
from gnss.types import Array, Pose, PoseState
from perception.camera import CameraModel
from perception.catalogue import Catalogue
from perception.existence import ExistenceParams, track_existence
from perception.locate import Placement, place_all
from perception.mount import MountBias
from perception.sights import LocateParams, Sight, chosen
from perception.types import Landmark, PassRecord, Picture, Track, TrackEnd, TrackEnded, Verdict, View


@dataclass(frozen=True, slots=True)
class WindowParams:
    """Where a window is cut, and when two landmarks of one window are one thing.

    `other_look`: squared Hellinger distance of two colour histograms above which two things are not one.
    """

    length_m: float = 250.0
    length_s: float = 120.0
    same_gate: float = 9.2
    same_floor_m2: float = 0.15
    same_iou: float = 0.5
    same_part: float = 0.6
    nested_m: float = 3.0
    other_look: float = 0.6
    fault_share: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """A confirmed track with its place."""

    track: Track
    landmark: Landmark


@dataclass(frozen=True, slots=True, eq=False)
class Surveyor:
    """Turns tracks into landmarks; `pose_at` answers for any recent stamp, `prior_odds`: of calibrated classes."""

    catalogue: Catalogue
    cameras: Mapping[str, CameraModel]
    thresholds: Mapping[str, float]
    locate: LocateParams
    existence: ExistenceParams
    pose_at: Callable[[int], Pose | None]
    prior_odds: Mapping[str, float] = field(default_factory=dict)

    def survey(
        self, tracks: Sequence[Track], pass_id: str, mounts: Mapping[str, MountBias]
    ) -> tuple[list[Closed | None], Mapping[str, MountBias]]:
        """Place tracks of one stretch together; None for one none of whose frames has a pose. Also the mounts after."""
        poses: dict[int, Pose | None] = {}
        sights: list[Sight] = []
        placed: list[int] = []
        for row, track in enumerate(tracks):
            # The fit takes no more observations than these, and every pose costs as much as a tracker step.
            seen = [track.observations[i] for i in chosen(track.observations, self.locate.most_observations)]
            for o in seen:
                if o.stamp_ns not in poses:
                    poses[o.stamp_ns] = self.pose_at(o.stamp_ns)
            pairs = [(o, p) for o in seen if (p := poses[o.stamp_ns]) is not None and p.state is not PoseState.NONE]
            if pairs:
                camera, shape = self.cameras[seen[0].camera], self.catalogue.classes[track.class_name]
                sights.append(Sight([o for o, _ in pairs], [p for _, p in pairs], camera, shape))
                placed.append(row)
        found = place_all(sights, mounts, self.locate)
        closed: list[Closed | None] = [None] * len(tracks)
        for row, sight, placement in zip(placed, sights, found.placements, strict=True):
            closed[row] = Closed(tracks[row], self._landmark(tracks[row], pass_id, sight, placement))
        return closed, found.mounts

    def provisional(self, track: Track, pass_id: str, place: tuple[float, float], cov_m2: Array) -> Landmark:
        """A track that goes on, at the place (lat, lon) where the tracker has it now."""
        first, last = track.observations[0], track.observations[-1]
        size = self.catalogue.classes[track.class_name].size_m
        return Landmark(
            f"{pass_id}/{first.camera}/{track.id}", pass_id, track.id, first.camera, track.class_name, last.confidence,
            *place, cov_m2, Verdict.UNKNOWN, 0.0, None, size, first.stamp_ns, last.stamp_ns, None, None,
            len(track.observations), 0.0, True, appearance=track.appearance,
        )  # fmt: skip

    def _landmark(self, track: Track, pass_id: str, sight: Sight, placed: Placement) -> Landmark:
        own = [o for o in track.observations if o.class_name == track.class_name]
        confidence = float(np.mean(sorted((o.confidence for o in own), reverse=True)[:5]))
        existence = track_existence(
            track.observations,
            self.thresholds.get(track.class_name, 0.3),
            self.existence,
            track.missed_ns,
            self.prior_odds.get(track.class_name),
        )
        first, last = sight.observations[0], sight.observations[-1]
        return Landmark(
            f"{pass_id}/{first.camera}/{track.id}", pass_id, track.id, first.camera, track.class_name, confidence,
            placed.lat_deg, placed.lon_deg, placed.cov_own_m2, placed.verdict, placed.speed_mps, placed.heading_deg,
            placed.extent_m, first.stamp_ns, last.stamp_ns, sight.poses[0].utc_ns, sight.poses[-1].utc_ns,
            len(track.observations), placed.closest_range_m, placed.coarse, existence, appearance=track.appearance,
        )  # fmt: skip


def _overlap(a: Track, b: Track) -> tuple[float, float] | None:
    """Mean IoU of two tracks in the frames they share, and the mean share of the smaller box; None: no such frame."""
    mine = {(o.camera, o.index): o.xyxy for o in a.observations}
    shared = [(mine[key], o.xyxy) for o in b.observations if (key := (o.camera, o.index)) in mine]
    if not shared:
        return None
    x, y = np.array(shared).transpose(1, 2, 0)
    sides = np.maximum(np.minimum(x[2:], y[2:]) - np.maximum(x[:2], y[:2]), 0.0)
    inter = sides[0] * sides[1]
    areas = np.prod(x[2:] - x[:2], axis=0), np.prod(y[2:] - y[:2], axis=0)
    iou = inter / np.maximum(areas[0] + areas[1] - inter, 1e-6)
    return float(np.mean(iou)), float(np.mean(inter / np.maximum(np.minimum(*areas), 1e-6)))


def same_thing(a: Closed, b: Closed, catalogue: Catalogue, params: WindowParams) -> bool:
    """Are two tracks of one window one object? Fragments share no frame; double detections overlap where they do."""
    if Verdict.MOVING in (a.landmark.verdict, b.landmark.verdict):
        return False
    frame = LocalFrame(a.landmark.lat_deg, a.landmark.lon_deg)
    gap = np.array(frame.to_enu(b.landmark.lat_deg, b.landmark.lon_deg))
    total = a.landmark.cov_own_m2 + b.landmark.cov_own_m2 + params.same_floor_m2 * np.eye(2)
    beside = float(gap @ np.linalg.solve(total, gap)) < params.same_gate
    if not beside and math.hypot(*gap) > params.nested_m:
        return False
    overlap = _overlap(a.track, b.track)
    x, y = catalogue.classes[a.landmark.class_name], catalogue.classes[b.landmark.class_name]
    alike = catalogue.identity_of(x.name) == catalogue.identity_of(y.name) or (x.kind is not None and x.kind == y.kind)
    if overlap is not None:
        # A detector that boxes a thing and a part of it gives nested boxes: one thing, if of one kind. A part's place
        # is not the whole's, so metres are asked, not sigmas.
        return (beside and overlap[0] >= params.same_iou) or (alike and overlap[1] >= params.same_part)
    if not (beside and alike):
        return False
    if a.track.appearance is not None and b.track.appearance is not None:
        if 1.0 - float(np.sqrt(a.track.appearance * b.track.appearance).sum()) > params.other_look:
            return False
    return True


def _is_the_fault(healthy: Closed, new: Closed, catalogue: Catalogue, params: WindowParams) -> bool:
    """Is `new` the fault of a thing that was boxed as sound at the same time?

    An overflowing bin is a bin: a detector that knows both boxes it as both. A sound one is boxed as overflowing now
    and then, not in every other frame.
    """
    x, y = catalogue.classes[healthy.track.class_name], catalogue.classes[new.track.class_name]
    if catalogue.identity_of(x.name) != catalogue.identity_of(y.name) or x.kind is not None or y.kind is None:
        return False
    often = len(new.track.observations) >= params.fault_share * len(healthy.track.observations)
    return often and not new.landmark.coarse and _overlap(healthy.track, new.track) is not None


def _joined(track: Track, new: Closed) -> Track | None:
    """A track with another's observations added; None when those say nothing new of the place."""
    if new.track.observations[0].camera != track.observations[0].camera or new.track.class_name != track.class_name:
        return None
    mine = {o.index: o for o in track.observations}
    by_frame = {o.index: o for o in new.track.observations} | mine
    if len(by_frame) - len(mine) < 0.2 * len(new.track.observations):
        return None  # a second box in frames that the first is in already
    missed = tuple(sorted({*track.missed_ns, *new.track.missed_ns}))
    return replace(track, observations=tuple(sorted(by_frame.values(), key=lambda o: o.stamp_ns)), missed_ns=missed)


class _Neighbours:
    """Landmarks kept so far as arrays: which of them can be the same thing at all, before the closer look."""

    def __init__(self, params: WindowParams) -> None:
        self._params = params
        self._frame: LocalFrame | None = None
        self._rows: list[tuple[float, float, float]] = []

    def _row(self, m: Landmark) -> tuple[float, float, float]:
        if self._frame is None:
            self._frame = LocalFrame(m.lat_deg, m.lon_deg)
        return (*self._frame.to_enu(m.lat_deg, m.lon_deg), float(np.trace(m.cov_own_m2)))

    def of(self, m: Landmark) -> list[int]:
        """Indices of landmarks within the gate, were the covariances round and as large as their traces."""
        east, north, trace = self._row(m)
        if not self._rows:
            return []
        e, n, traces = np.array(self._rows).T
        reach2 = self._params.same_gate * (traces + trace + self._params.same_floor_m2)
        reach2 = np.maximum(reach2, self._params.nested_m**2)
        near: list[int] = np.flatnonzero((e - east) ** 2 + (n - north) ** 2 < reach2).tolist()
        return near

    def add(self, m: Landmark) -> None:
        self._rows.append(self._row(m))


@dataclass(slots=True)
class Window:
    """Collects one stretch of drive until it is cut."""

    vehicle: str
    drive: str
    start: Pose
    closed: list[Closed] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    driven_m: float = 0.0
    last: Pose | None = None

    @property
    def pass_id(self) -> str:
        """Derived: device, drive and the stamp of the window's first pose."""
        when = self.start.utc_ns if self.start.utc_ns is not None else f"{self.drive}@{self.start.stamp_ns}"
        return hashlib.sha256(f"{self.vehicle}|{when}".encode()).hexdigest()[:12]

    def advance(self, pose: Pose) -> None:
        """Move the window's end."""
        if self.last is not None:
            self.driven_m += distance_m(self.last.lat_deg, self.last.lon_deg, pose.lat_deg, pose.lon_deg)
        self.last = pose

    def full(self, pose: Pose, params: WindowParams) -> bool:
        """Is it time to cut before `pose`?"""
        return self.driven_m >= params.length_m or (pose.stamp_ns - self.start.stamp_ns) * 1e-9 >= params.length_s

    def place_again(self, surveyor: Surveyor, mounts: Mapping[str, MountBias], together_s: float) -> None:
        """Place all that closed so far from the poses as they are now, what ended within `together_s` together."""
        poses = {view.stamp_ns: surveyor.pose_at(view.stamp_ns) for view in self.views}
        self.views = [replace(view, pose=poses[view.stamp_ns] or view.pose) for view in self.views]
        groups: list[list[int]] = []
        for row, closed in enumerate(self.closed):
            last_ns = closed.track.last_stamp_ns
            if not groups or abs(last_ns - self.closed[groups[-1][0]].track.last_stamp_ns) > together_s * 1e9:
                groups.append([])
            groups[-1].append(row)
        for rows in groups:
            again, _ = surveyor.survey([self.closed[row].track for row in rows], self.pass_id, mounts)
            for row, new in zip(rows, again, strict=True):
                if new is not None:
                    pictures = self.closed[row].landmark.pictures
                    self.closed[row] = replace(new, landmark=replace(new.landmark, pictures=pictures))

    def stitch(self, surveyor: Surveyor, mounts: Mapping[str, MountBias], params: WindowParams) -> list[TrackEnded]:
        """Join what is one thing, refit it from all observations; returns the ends of tracks that went into others."""
        ended: list[TrackEnded] = []
        kept: list[Closed] = []
        joined: dict[int, Track] = {}
        near = _Neighbours(params)
        # What has a good place keeps it, and its class, before what was only seen more often.
        for new in sorted(self.closed, key=lambda c: (c.landmark.coarse, -c.landmark.looks, c.track.id)):
            twins = near.of(new.landmark)
            twin = next((i for i in twins if same_thing(kept[i], new, surveyor.catalogue, params)), None)
            if twin is None:
                near.add(new.landmark)
                kept.append(new)
                continue
            old = kept[twin]
            if _is_the_fault(old, new, surveyor.catalogue, params):
                old, new = new, old
                joined.pop(twin, None)
            pictures = old.landmark.pictures or new.landmark.pictures
            together = _joined(joined.get(twin, old.track), new)
            if together is not None:
                joined[twin] = together
            kept[twin] = replace(old, landmark=replace(old.landmark, pictures=pictures))
            gone = new.landmark
            reason = f"the same thing as track {old.track.id} of {old.landmark.camera}"
            ended.append(
                TrackEnded(gone.track_id, gone.camera, gone.class_name, TrackEnd.MERGED, reason, gone.last_stamp_ns)
            )
        again, _ = surveyor.survey(list(joined.values()), self.pass_id, mounts)
        for index, closed in zip(joined, again, strict=True):
            if closed is not None:
                pictures = kept[index].landmark.pictures
                kept[index] = replace(closed, landmark=replace(closed.landmark, pictures=pictures))
        self.closed = sorted(kept, key=lambda c: (c.landmark.first_stamp_ns, c.landmark.camera, c.track.id))
        return ended

    def record(
        self,
        case_pictures: tuple[tuple[str, Picture], ...],
        live: tuple[Landmark, ...] = (),
        trail: tuple[tuple[int, float, float], ...] = (),
    ) -> PassRecord:
        """The finished record; its common covariance is the mean over the window's views."""
        common = np.mean([v.pose.cov_common_m2 for v in self.views], axis=0) if self.views else self.start.cov_common_m2
        end = self.last or self.start
        return PassRecord(
            self.pass_id, self.vehicle, self.drive, self.start.stamp_ns, end.stamp_ns, self.start.utc_ns, end.utc_ns,
            tuple(c.landmark for c in self.closed), tuple(self.views), common, case_pictures, live, trail,
        )  # fmt: skip
