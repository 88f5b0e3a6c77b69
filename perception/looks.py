"""Which picture shows a thing best: one held frame per live track and per known case, encoded only when it matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Pose
from perception.camera import CameraModel
from perception.evidence import close_up, context
from perception.types import Case, Observation, Picture, Redacted, Seen

_BETTER = 1.15
_WATCH_M = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    quality: float
    seen: Seen
    utc_ns: int | None
    xyxy: tuple[float, float, float, float]
    picture: Callable[[], Redacted]

    def encode(self, roles: Iterable[str]) -> tuple[Picture, ...]:
        redacted = self.picture()
        made = []
        for role in roles:
            draw = context if role == "context" else close_up
            jpeg, width, height = draw(redacted, self.xyxy)
            made.append(Picture.of(jpeg, role, self.seen, self.utc_ns, width, height))
        return tuple(made)


def look_quality(observation: Observation, sharpness: float | None) -> float:
    """Larger, whole and sharp is better; a box cut by the border or by another box counts a quarter per cut."""
    x1, y1, x2, y2 = observation.xyxy
    size = math.sqrt(max(x2 - x1, 1.0) * max(y2 - y1, 1.0))
    cut = sum(not usable for usable in observation.edges)
    blur = 1.0 if sharpness is None else min(1.0, math.sqrt(max(sharpness, 0.0) / 50.0) + 0.2)
    return size * 0.25**cut * blur * (0.5 + 0.5 * observation.confidence)


@dataclass(slots=True)
class Looks:
    """Holds at most one frame per live track and per watched case, so memory is bounded by what is in view."""

    _tracks: dict[tuple[str, int], _Held] = field(default_factory=dict)
    _cases: dict[str, _Held] = field(default_factory=dict)

    def see(self, seen: Seen, pose: Pose, live: list[tuple[int, Observation]]) -> None:
        """Offer a frame as the best look of every track seen in it."""
        if seen.picture is None:
            return
        for track_id, observation in live:
            if observation.stamp_ns != seen.stamp_ns:
                continue
            quality = look_quality(observation, seen.sharpness)
            key = (seen.camera, track_id)
            held = self._tracks.get(key)
            if held is None or quality > held.quality * _BETTER:
                self._tracks[key] = _Held(quality, seen, pose.utc_ns, observation.xyxy, seen.picture)

    def watch(self, seen: Seen, pose: Pose, camera: CameraModel, cases: Iterable[Case]) -> None:
        """Offer a frame as the look at the places of known cases: proof for the day when one is gone."""
        if seen.picture is None:
            return
        frame = LocalFrame(pose.lat_deg, pose.lon_deg)
        yaw = math.radians(90.0 - pose.heading_deg)
        for case in cases:
            if abs(case.lat_deg - pose.lat_deg) > 5e-4 or abs(case.lon_deg - pose.lon_deg) > 1e-3:
                continue
            east, north = frame.to_enu(case.lat_deg, case.lon_deg)
            forward = math.cos(yaw) * east + math.sin(yaw) * north
            left = math.cos(yaw) * north - math.sin(yaw) * east
            if not 3.0 < forward < _WATCH_M:
                continue
            half = max(case.extent_m[0], case.extent_m[1], 0.6) / 2
            corners = np.array(
                [(forward, left + side, z) for side in (-half, half) for z in (0.0, max(case.extent_m[2], 0.3))]
            )
            pixels, _ = camera.project(corners)
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            if low.min() < 0 or high[0] >= seen.width or high[1] >= seen.height:
                continue
            held = self._cases.get(case.id)
            quality = float(high[1] - low[1])
            if held is None or quality > held.quality * _BETTER:
                box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
                self._cases[case.id] = _Held(quality, seen, pose.utc_ns, box, seen.picture)

    def take(self, camera: str, track_id: int, *, encode: bool) -> tuple[Picture, ...]:
        """Release a track's best look, encoded as close-up and context when it matters."""
        held = self._tracks.pop((camera, track_id), None)
        if held is None or not encode:
            return ()
        return held.encode(("close_up", "context"))

    def take_cases(self, wanted: set[str]) -> tuple[tuple[str, Picture], ...]:
        """Release all watched places; those in `wanted` come back as encoded "gone" pictures."""
        made = tuple((name, held.encode(("gone",))[0]) for name, held in sorted(self._cases.items()) if name in wanted)
        self._cases.clear()
        return made
