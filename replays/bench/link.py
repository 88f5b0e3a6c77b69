"""Which true thing a landmark, and by it a case, is of: by the labels of the boxes and by the place.

Where the pipeline tells a landmark's boxes, the label of most of them is its thing. Else there are only camera, stamps
and number of looks: the place, laid out from the true pose, is projected into every frame between its stamps, and the
nearest box of its own class there votes with its label, near frames for more than far ones. The winner counts when a
third of the looks voted. Else it is the nearest thing of its kind that the camera had in as many frames, within
`REACH_M` (or four sigmas); else clutter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array, Pose
from perception.types import Case, CaseState, Landmark, Seen, TrackEnd
from replays.bench.rig import Passed, Placed
from replays.world.scene import Thing, World, catalogue
from replays.world.sense import SimulatedDrive

REACH_M = 3.0
SLACK_PX = 15.0
"""Half a degree of mount and a third of a degree of shake at 1000 px: how far a box may lie from where its thing is."""
_FED = frozenset({TrackEnd.FILED, TrackEnd.MERGED, TrackEnd.CANDIDATE})


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """A landmark with its thing (None: clutter) and its errors (2,) east/north in metres.

    `relative_m` is the error that is left when the place, seen from the estimated pose of the last look, is laid out
    from the true pose of that look: what the fit did wrong, without what the receiver and the heading did wrong.
    """

    placed: Placed
    thing: Thing | None
    absolute_m: Array
    relative_m: Array


def seconds(world: World, drive: SimulatedDrive, stamp_ns: int) -> float:
    """Seconds of UTC since the world's start at a stamp of a drive."""
    return (drive.start_utc_ns + stamp_ns - world.start_utc_ns) * 1e-9


def _turned(pose: Pose, frame: LocalFrame, truth: tuple[float, float, float], place: Array) -> Array:
    """A place (2,) seen from the estimated pose, laid out from the true one."""
    east, north = frame.to_enu(pose.lat_deg, pose.lon_deg)
    turn = truth[2] - math.radians(90.0 - pose.heading_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    de, dn = place - (east, north)
    return np.array([truth[0] + cos * de - sin * dn, truth[1] + sin * de + cos * dn])


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One frame's boxes (N, 4) and their labels."""

    stamp_ns: int
    boxes: Array
    classes: tuple[str, ...]
    labels: tuple[str | None, ...]


class Linker:
    """Links all landmarks of one drive; things are alike when they are of one identity (a cover, a bin)."""

    def __init__(self, world: World, drive: SimulatedDrive) -> None:
        self._world = world
        self._drive = drive
        self._frame = LocalFrame(world.lat0_deg, world.lon0_deg)
        self._things = {thing.id: thing for thing in world.things}
        self._frames: dict[str, list[_Frame]] = {}
        self._by_index: dict[tuple[str, int], _Frame] = {}
        for event in drive.events:
            if isinstance(event, Seen):
                boxes = event.detections.xyxy.astype(np.float64)
                names = tuple(event.detections.names())
                row = _Frame(event.stamp_ns, boxes, names, drive.labels[(event.camera, event.index)])
                self._frames.setdefault(event.camera, []).append(row)
                self._by_index[event.camera, event.index] = row

    def link(self, placed: Placed) -> Linked:
        """The thing of one landmark."""
        m = placed.landmark
        place = np.array(self._frame.to_enu(m.lat_deg, m.lon_deg))
        truth = self._drive.true_pose(m.last_stamp_ns)
        laid = place if placed.pose is None else _turned(placed.pose, self._frame, truth, place)
        name = self._by_boxes(placed) if placed.boxes else self._by_place(m, laid)
        thing = None if name is None else self._things[name]
        there = np.array((0.0, 0.0) if thing is None else thing.place(self._middle_s(m)))
        return Linked(placed, thing, place - there, laid - there)

    def _by_boxes(self, placed: Placed) -> str | None:
        """The label of most of a landmark's boxes."""
        votes: Counter[str] = Counter()
        for box in placed.boxes:
            frame = self._by_index[box.camera, box.index]
            nearest = int(np.argmin(np.abs(frame.boxes - np.array(box.xyxy)).sum(axis=1)))
            votes[frame.labels[nearest] or ""] += 1
        return max(votes, key=lambda label: (votes[label], label)) or None

    def _by_place(self, m: Landmark, laid: Array) -> str | None:
        """The label of most boxes at the landmark's place; where there are too few, the nearest thing of its kind."""
        frames = [f for f in self._frames.get(m.camera, ()) if m.first_stamp_ns <= f.stamp_ns <= m.last_stamp_ns]
        votes: dict[str, float] = {}
        cast = 0
        for frame in frames:
            vote = self._vote(frame, m, laid)
            if vote is not None:
                cast += 1
                votes[vote[0] or ""] = votes.get(vote[0] or "", 0.0) + vote[1]
        if 3 * cast >= m.looks and votes:
            return max(votes, key=lambda label: (votes[label], label)) or None
        return self._nearest(frames, m, laid)

    def _middle_s(self, m: Landmark) -> float:
        """UTC seconds of the middle of a track: the moment that its place is of."""
        return seconds(self._world, self._drive, (m.first_stamp_ns + m.last_stamp_ns) // 2)

    def _vote(self, frame: _Frame, m: Landmark, laid: Array) -> tuple[str | None, float] | None:
        """Label of the box at the landmark's place in one frame and the vote's weight; None when there is none."""
        mine = [n for n, name in enumerate(frame.classes) if name == m.class_name]
        if not mine:
            return None
        since = (2 * frame.stamp_ns - m.first_stamp_ns - m.last_stamp_ns) * 0.5e-9
        turn = math.radians(m.heading_deg or 0.0)
        moved = laid + m.speed_mps * since * np.array([math.sin(turn), math.cos(turn)])
        east, north, yaw = self._drive.true_pose(frame.stamp_ns)
        de, dn = moved - (east, north)
        forward, left = math.cos(yaw) * de + math.sin(yaw) * dn, math.cos(yaw) * dn - math.sin(yaw) * de
        spots, depth = self._drive.cameras[m.camera].project(np.array([[forward, left, m.extent_m[2] / 2]]))
        if depth[0] < 0.5:
            return None
        middle = (frame.boxes[mine, :2] + frame.boxes[mine, 2:]) / 2
        half = (frame.boxes[mine, 2:] - frame.boxes[mine, :2]) / 2 + SLACK_PX
        gap = np.abs(middle - spots[0])
        best = int(np.argmin(gap.sum(axis=1)))
        if (gap[best] >= half[best]).any():
            return None
        return frame.labels[mine[best]], 1.0 / float(depth[0])

    def _nearest(self, frames: Iterable[_Frame], m: Landmark, laid: Array) -> str | None:
        """The nearest thing of the landmark's kind that these frames show often enough."""
        counts: Counter[str] = Counter()
        for frame in frames:
            counts.update({name for name in frame.labels if name is not None})
        best, nearest = None, max(REACH_M, 4.0 * math.sqrt(float(np.linalg.eigvalsh(m.cov_own_m2)[-1])))
        known = catalogue()
        for name in sorted(n for n, count in counts.items() if 3 * count >= m.looks):
            thing = self._things[name]
            if known.identity_of(thing.class_name) != known.identity_of(m.class_name):
                continue
            gap = math.hypot(*(laid - thing.place(self._middle_s(m))))
            if gap < nearest:
                best, nearest = name, gap
        return best


def link(world: World, passed: Passed) -> list[Linked]:
    """All landmarks of a drive with their things, in order."""
    linker = Linker(world, passed.drive)
    return [linker.link(placed) for placed in passed.placed]


class Feeds:
    """What went into every case: case id -> thing id -> landmarks; clutter feeds under no name."""

    def __init__(self) -> None:
        self._fed: dict[str, Counter[str]] = {}
        self.clutter: Counter[str] = Counter()

    def add(self, passed: Passed, linked: Iterable[Linked]) -> None:
        """Take one drive: the ledger says which track went into which case."""
        things = {(x.placed.landmark.camera, x.placed.landmark.track_id): x.thing for x in linked}
        for end in passed.ended:
            if end.case_id is None or end.end not in _FED:
                continue
            thing = things.get((end.camera, end.track_id))
            self.count(end.case_id, None if thing is None else thing.id)

    def count(self, case_id: str, thing_id: str | None) -> None:
        """One landmark of a thing, or of clutter, went into a case."""
        if thing_id is None:
            self.clutter[case_id] += 1
        else:
            self._fed.setdefault(case_id, Counter())[thing_id] += 1

    def of(self, cases: Mapping[str, Case], states: frozenset[CaseState]) -> dict[str, Counter[str]]:
        """Feeds of the cases in `states`; what was merged counts where it went."""
        found: dict[str, Counter[str]] = {name: Counter() for name, c in cases.items() if c.state in states}
        for name, counts in self._fed.items():
            root = _root(name, cases)
            if root in found:
                found[root].update(counts)
        return found

    def owner(self, case_id: str) -> str | None:
        """The thing that fed a case most, None when only clutter did."""
        counts = self._fed.get(case_id)
        return None if not counts else min(counts, key=lambda thing: (-counts[thing], thing))


def _root(name: str, cases: Mapping[str, Case]) -> str:
    """Where a merged case went in the end."""
    seen: set[str] = set()
    while name in cases and name not in seen:
        seen.add(name)
        into = cases[name].merged_into
        if cases[name].state is not CaseState.MERGED or into is None:
            return name
        name = into
    return name
