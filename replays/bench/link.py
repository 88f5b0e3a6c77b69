"""Which true thing a landmark, and by it a case, is of: that of most of its boxes, by the labels of the simulator."""

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
from replays.world.scene import Thing, World
from replays.world.sense import SimulatedDrive

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


class Linker:
    """Links all landmarks of one drive."""

    def __init__(self, world: World, drive: SimulatedDrive) -> None:
        self._world = world
        self._drive = drive
        self._frame = LocalFrame(world.lat0_deg, world.lon0_deg)
        self._things = {thing.id: thing for thing in world.things}
        self._boxes = {
            (event.camera, event.index): event.detections.xyxy.astype(np.float64)
            for event in drive.events
            if isinstance(event, Seen)
        }

    def link(self, placed: Placed) -> Linked:
        """The thing of one landmark."""
        m = placed.landmark
        place = np.array(self._frame.to_enu(m.lat_deg, m.lon_deg))
        truth = self._drive.true_pose(m.last_stamp_ns)
        laid = place if placed.pose is None else _turned(placed.pose, self._frame, truth, place)
        name = self._most_boxes(placed)
        thing = None if name is None else self._things[name]
        there = np.array((0.0, 0.0) if thing is None else thing.place(self._middle_s(m)))
        return Linked(placed, thing, place - there, laid - there)

    def _most_boxes(self, placed: Placed) -> str | None:
        """The label of most of a landmark's boxes; None: clutter."""
        votes: Counter[str] = Counter()
        for box in placed.boxes:
            boxes = self._boxes[box.camera, box.index]
            nearest = int(np.argmin(np.abs(boxes - np.array(box.xyxy)).sum(axis=1)))
            votes[self._drive.labels[box.camera, box.index][nearest] or ""] += 1
        return max(votes, key=lambda label: (votes[label], label), default="") or None

    def _middle_s(self, m: Landmark) -> float:
        """UTC seconds of the middle of a track: the moment that its place is of."""
        return seconds(self._world, self._drive, (m.first_stamp_ns + m.last_stamp_ns) // 2)


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
