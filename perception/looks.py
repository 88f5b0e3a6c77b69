"""Which picture shows a thing best: few held frames per live track and known case, encoded only when it matters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Pose
from perception.camera import CameraModel
from perception.evidence import close_up, context
from perception.types import Case, Observation, Picture, PictureOnDemand, Redacted, Seen

_BETTER = 1.15
_WATCH_M = 30.0
_APART_NS = 400_000_000
_MOST_HELD = 3
_LITTLE_COVERED = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    quality: float
    seen: Seen
    utc_ns: int | None
    xyxy: tuple[float, float, float, float]
    picture: PictureOnDemand

    def covered(self) -> float:
        """Share of the box that redaction fills (a false vehicle on the road can hide what the picture should show)."""
        x1, y1, x2, y2 = self.xyxy
        left, top = int(x1), int(y1)
        mask = np.zeros((max(int(y2) - top, 1), max(int(x2) - left, 1)), np.bool_)
        for zone in self.picture.zones():
            low_x, low_y = max(zone[0] - left, 0), max(zone[1] - top, 0)
            mask[low_y : max(zone[3] - top, 0), low_x : max(zone[2] - left, 0)] = True
        return float(mask.mean())

    def encode(self, roles: Iterable[str], redacted: Redacted) -> tuple[Picture, ...]:
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
    """Holds at most three frames per live track and one per watched case: memory is bounded by what is in view."""

    _tracks: dict[tuple[str, int], list[_Held]] = field(default_factory=dict)
    _cases: dict[str, _Held] = field(default_factory=dict)

    def see(self, seen: Seen, pose: Pose, live: list[tuple[int, Observation]]) -> None:
        """Offer a frame as the best look of every track seen in it."""
        if seen.picture is None:
            return
        for track_id, observation in live:
            if observation.stamp_ns != seen.stamp_ns:
                continue
            quality = look_quality(observation, seen.sharpness)
            held = self._tracks.setdefault((seen.camera, track_id), [])
            if held and quality <= held[-1].quality * _BETTER:
                continue
            if len(held) > 1 and seen.stamp_ns - held[-2].seen.stamp_ns < _APART_NS:
                held.pop()
            held.append(_Held(quality, seen, pose.utc_ns, observation.xyxy, seen.picture))
            del held[:-_MOST_HELD]

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

    def holds(self, camera: str, track_id: int) -> bool:
        """Is there any picture of this track?"""
        return (camera, track_id) in self._tracks

    def take(self, camera: str, track_id: int, *, encode: bool) -> tuple[Picture, ...]:
        """Release a track's best look, encoded as close-up and context when it matters."""
        held = self._tracks.pop((camera, track_id), [])
        if not held or not encode:
            return ()
        best = held[-1]
        if len(held) > 1 and best.covered() > _LITTLE_COVERED:
            best = max(held, key=lambda look: look.quality * (1.0 - look.covered()) ** 2)
        return best.encode(("close_up", "context"), best.picture())

    def take_cases(self, wanted: set[str]) -> tuple[tuple[str, Picture], ...]:
        """Release all watched places; those in `wanted` come back as encoded "gone" pictures."""
        chosen = [(name, held) for name, held in sorted(self._cases.items()) if name in wanted]
        made = tuple((name, held.encode(("gone",), held.picture())[0]) for name, held in chosen)
        self._cases.clear()
        return made
