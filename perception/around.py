"""What the car holds of the world around it: known cases, anchors, and the way it came. Bounded by where it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gnss.geodesy import distance_m
from gnss.types import Pose
from perception.types import Anchor, Case, KnownObjects

_TRAIL_STEP_M = 20.0
_TRAIL_POINTS = 500
"""10 km of way are remembered: long enough to know that the car was away from a place."""

_NEARBY_M = 80.0


class Around:
    """Known cases and anchors by id, the newest revision of each, and the trail (UTC ns, latitude, longitude)."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.anchors: dict[str, Anchor] = {}
        self._nearby: tuple[float, float, tuple[Case, ...]] | None = None
        self._trail: deque[tuple[int, float, float]] = deque(maxlen=_TRAIL_POINTS)

    @property
    def trail(self) -> tuple[tuple[int, float, float], ...]:
        """The way so far, oldest first."""
        return tuple(self._trail)

    def learn(self, event: KnownObjects) -> None:
        """Take what the store knows; newer local state is never overwritten."""
        for case in event.cases:
            mine = self.cases.get(case.id)
            if mine is None or mine.revision < case.revision:
                self.cases[case.id] = case
        self._nearby = None
        for anchor in event.anchors:
            if anchor.id not in self.anchors or self.anchors[anchor.id].revision <= anchor.revision:
                self.anchors[anchor.id] = anchor

    def change(self, cases: Iterable[Case]) -> None:
        """Take the cases as this car has just changed them."""
        for case in cases:
            self.cases[case.id] = case
            self._nearby = None

    def replace_anchors(self, kept: Iterable[Anchor], gone: Iterable[str]) -> None:
        """Take the anchors as this car has just learned them."""
        self.anchors.update({anchor.id: anchor for anchor in kept})
        for name in gone:
            self.anchors.pop(name, None)

    def drive_on(self, pose: Pose) -> None:
        """Note the way, one point every some metres."""
        if pose.utc_ns is None:
            return
        if not self._trail or distance_m(*self._trail[-1][1:], pose.lat_deg, pose.lon_deg) > _TRAIL_STEP_M:
            self._trail.append((pose.utc_ns, pose.lat_deg, pose.lon_deg))

    def near(self, pose: Pose) -> tuple[Case, ...]:
        """Known cases around the car; looked up anew every some metres, not in every frame."""
        here = (pose.lat_deg, pose.lon_deg)
        if self._nearby is None or distance_m(*self._nearby[:2], *here) > _NEARBY_M / 4:
            close = (c for c in self.cases.values() if distance_m(c.lat_deg, c.lon_deg, *here) < _NEARBY_M)
            self._nearby = (*here, tuple(close))
        return self._nearby[2]

    def forget(self, pose: Pose, farther_m: float) -> None:
        """Let go of what lies farther away than `farther_m`; the store still knows it."""

        def close(thing: Case | Anchor) -> bool:
            return distance_m(thing.lat_deg, thing.lon_deg, pose.lat_deg, pose.lon_deg) <= farther_m

        self.cases = {name: case for name, case in self.cases.items() if close(case)}
        self.anchors = {name: anchor for name, anchor in self.anchors.items() if close(anchor)}
        self._nearby = None
