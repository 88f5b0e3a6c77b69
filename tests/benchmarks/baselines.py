"""What others do, to be beaten in the same table: three baselines that never ship.

They get the product's own landmarks (or boxes with known association), so only the step in question differs: averaging
single-frame projections, merging within a fixed radius, and assigning per object without one offset per pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.catalogue import Catalogue
from perception.types import Seen, Verdict
from replays.bench.fleet import Visit
from replays.world.scene import Thing, World

GATE = 9.21
"""99 % of a chi-square with two degrees of freedom."""
_NEVER = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """A landmark as the baselines see it: kind, place (2,) m, covariances (2, 2) own and common, true thing or None."""

    kind: str
    place_m: Array
    own_m2: Array
    common_m2: Array
    thing: str | None


@dataclass(slots=True, eq=False)
class Pile:
    """A baseline's case: what was put together."""

    kind: str
    place_m: Array
    cov_m2: Array
    spots: list[Spot] = field(default_factory=list)


def spots_of(visit: Visit, frame: LocalFrame, catalogue: Catalogue) -> list[Spot]:
    """Standing, well placed, likely landmarks of problem classes of one pass."""
    found = []
    for linked in visit.linked:
        m = linked.placed.landmark
        shape = catalogue.classes[m.class_name]
        if shape.role != "problem" or shape.kind is None or m.coarse or m.existence < 0.5:
            continue
        if m.verdict is Verdict.MOVING:
            continue
        place = np.array(frame.to_enu(m.lat_deg, m.lon_deg))
        name = None if linked.thing is None else linked.thing.id
        found.append(Spot(shape.kind, place, m.cov_own_m2, linked.placed.common_m2, name))
    return found


def fixed_radius(passes: Sequence[Sequence[Spot]], radius_m: float) -> list[Pile]:
    """Each spot goes to the nearest pile of its kind within the radius (running mean), else it starts one."""
    piles: list[Pile] = []
    for spot in (spot for spots in passes for spot in spots):
        near = [(float(np.hypot(*(p.place_m - spot.place_m))), n) for n, p in enumerate(piles) if p.kind == spot.kind]
        gap, best = min(near, default=(np.inf, -1))
        if gap > radius_m:
            piles.append(Pile(spot.kind, spot.place_m, spot.own_m2, [spot]))
            continue
        pile = piles[best]
        pile.spots.append(spot)
        pile.place_m = pile.place_m + (spot.place_m - pile.place_m) / len(pile.spots)
    return piles


def hungarian(passes: Sequence[Sequence[Spot]]) -> list[Pile]:
    """Per pass one assignment on Mahalanobis distance, as if the errors of all things were independent."""
    piles: list[Pile] = []
    for spots in passes:
        cost = np.full((len(spots), len(piles)), _NEVER)
        for i, spot in enumerate(spots):
            for j, pile in enumerate(piles):
                if pile.kind == spot.kind:
                    gap = spot.place_m - pile.place_m
                    total = spot.own_m2 + spot.common_m2 + pile.cov_m2
                    distance = float(gap @ np.linalg.solve(total, gap))
                    cost[i, j] = distance if distance < GATE else _NEVER
        rows, columns = linear_sum_assignment(cost) if piles and spots else (np.zeros(0, int), np.zeros(0, int))
        taken = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if cost[r, c] < _NEVER}
        for i, spot in enumerate(spots):
            total = spot.own_m2 + spot.common_m2
            if i not in taken:
                piles.append(Pile(spot.kind, spot.place_m, total, [spot]))
                continue
            pile = piles[taken[i]]
            gain = pile.cov_m2 @ np.linalg.inv(pile.cov_m2 + total)
            pile.place_m = pile.place_m + gain @ (spot.place_m - pile.place_m)
            pile.cov_m2 = pile.cov_m2 - gain @ pile.cov_m2
            pile.spots.append(spot)
    return piles


def feeds_of(piles: Sequence[Pile]) -> dict[str, dict[str, int]]:
    """Pile -> true thing -> spots, as the benchmark counts duplicates and false merges."""
    feeds: dict[str, dict[str, int]] = {}
    for number, pile in enumerate(piles):
        counts = feeds.setdefault(str(number), {})
        for spot in pile.spots:
            if spot.thing is not None:
                counts[spot.thing] = counts.get(spot.thing, 0) + 1
    return feeds


def averaged_projection(visit: Visit, world: World, thing: Thing) -> float | None:
    """Error (m) of the mean of single-frame ground projections of a thing's boxes; None when none meets the ground.

    Poses are the true ones and association is known, which is kinder than a real system: nothing but the averaging of
    the boxes' bottom centres is measured, relative to the true trajectory.
    """
    found = []
    for event in visit.drive.events:
        if not isinstance(event, Seen):
            continue
        camera, labels = visit.drive.cameras[event.camera], visit.drive.labels[event.camera, event.index]
        east, north, yaw = visit.drive.true_pose(event.stamp_ns)
        for box, name in zip(event.detections.xyxy, labels, strict=True):
            if name != thing.id:
                continue
            bottom = np.array([[(box[0] + box[2]) / 2 - 0.5, box[3] - 0.5]], dtype=np.float64)
            forward, left = camera.ground_point(bottom)[0]
            if not np.isfinite(forward):
                continue
            cos, sin = np.cos(yaw), np.sin(yaw)
            found.append((east + cos * forward - sin * left, north + sin * forward + cos * left))
    if not found:
        return None
    return float(np.hypot(*(np.mean(found, axis=0) - (thing.east_m, thing.north_m))))
