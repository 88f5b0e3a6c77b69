"""A pass's landmarks and the known things around it as arrays in one local frame, and which may be one by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.box_noise import BoxNoise
from perception.catalogue import Catalogue
from perception.serial import matrix2
from perception.types import Anchor, Case, CaseState, Landmark, PassRecord, Verdict, View

LEAST_OWN_M = 0.15
"""Nothing is placed better than this among its neighbours, whatever its fit says (1 sigma per axis)."""

UNLIKE = 1e6
_POSE_TAU_S = BoxNoise().pose_tau_s
_VEHICLE_SLACK = 0.12
"""1 sigma of where the middle of a long thing is along its length, as a share of it: its two ends are one thing."""
_LOOK_WORTH, _LOOK_EVEN, _LOOK_LEAST, _LOOK_MOST = 12.0, 0.25, -3.0, 5.0


def class_cost(seen: str, known: str, catalogue: Catalogue) -> float | None:
    """Class cost of a pair, None when the two can never be one thing. Runs over identity, not class names."""
    if seen == known:
        return 0.0
    a, b = catalogue.classes[seen], catalogue.classes.get(known)
    if b is None:
        return None
    if catalogue.identity_of(a.name) == catalogue.identity_of(b.name):
        # Two different problems of one thing (a damaged bin that overflows) are two cases.
        return None if a.role == b.role == "problem" and a.kind != b.kind else 0.5
    return 1.0 if a.kind is not None and a.kind == b.kind and a.role == b.role else None


def class_costs(seen: Sequence[str], known: Sequence[str], catalogue: Catalogue) -> Array:
    """`class_cost` of every pair (L, K); UNLIKE where there is none."""
    rows, row_of = np.unique(np.array(seen, dtype=object).astype(str), return_inverse=True)
    columns, column_of = np.unique(np.array(known, dtype=object).astype(str), return_inverse=True)
    table = np.full((len(rows), len(columns)), UNLIKE)
    for i, a in enumerate(rows.tolist()):
        for j, b in enumerate(columns.tolist()):
            cost = class_cost(a, b, catalogue)
            table[i, j] = UNLIKE if cost is None else cost
    result: Array = table[row_of][:, column_of] if table.size else np.zeros((len(seen), len(known)))
    return result


def pose_parts(stamps_ns: Sequence[int], views: Sequence[View]) -> Array:
    """Covariance (N, 2, 2) m2 of the pose's own error at stamps: it drifts slowly, so neighbours share it."""
    if not views or not stamps_ns:
        return np.zeros((len(stamps_ns), 2, 2))
    ordered = sorted(views, key=lambda v: v.stamp_ns)
    times = np.array([v.stamp_ns for v in ordered])
    at = np.clip(np.searchsorted(times, np.array(stamps_ns, dtype=np.int64)), 0, len(times) - 1)
    found, index_of = np.unique(at, return_inverse=True)
    parts = np.array([ordered[i].pose.cov_own[:2, :2] for i in found.tolist()]).reshape(-1, 2, 2)
    result: Array = parts[index_of]
    return result


def floored(covs: Array, least_m: float) -> Array:
    """Covariances (N, 2, 2) whose eigenvalues are at least `least_m` squared."""
    if not len(covs):
        return covs
    values, vectors = np.linalg.eigh((covs + covs.transpose(0, 2, 1)) / 2)
    values = np.maximum(values, least_m**2)
    result: Array = np.einsum("nij,nj,nkj->nik", vectors, values, vectors)
    return result


def _slack(extents: Sequence[tuple[float, float, float]], headings: Sequence[float | None]) -> Array:
    """Covariance (N, 2, 2) m2 of where along a long thing its middle is."""
    turn = np.radians([90.0 - (h or 0.0) for h in headings])
    length = np.array([max(e[0], e[1]) if h is not None else 0.0 for e, h in zip(extents, headings, strict=True)])
    along = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * (_VEHICLE_SLACK * length)[:, None]
    result: Array = along[:, :, None] * along[:, None, :]
    return result


def _looks(looks: Sequence[Sequence[float] | NDArray[np.float32] | None]) -> tuple[Array, NDArray[np.bool_]]:
    """Square roots of colour histograms (N, D), and which there are (N,)."""
    size = max((len(v) for v in looks if v is not None), default=0)
    roots, there = np.zeros((len(looks), size)), np.zeros(len(looks), np.bool_)
    for i, look in enumerate(looks):
        if look is not None and len(look) == size and size:
            roots[i], there[i] = np.sqrt(np.maximum(np.asarray(look, dtype=np.float64), 0.0)), True
    return roots, there


def look_costs(a: tuple[Array, NDArray[np.bool_]], b: tuple[Array, NDArray[np.bool_]]) -> Array:
    """Appearance cost (L, K): grows with the squared Hellinger distance, 0 where either has no look."""
    if a[0].shape[1] != b[0].shape[1] or not a[0].shape[1]:
        return np.zeros((len(a[0]), len(b[0])))
    apart = 1.0 - a[0] @ b[0].T
    cost = np.clip(_LOOK_WORTH * (apart - _LOOK_EVEN), _LOOK_LEAST, _LOOK_MOST)
    result: Array = np.where(a[1][:, None] & b[1][None, :], cost, 0.0)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Sights:
    """Landmarks of a pass: `place_m` (L, 2), `time_s` (L,), covariances (L, 2, 2) m2 that are the landmark's alone.

    `steady`: stands and is well placed, so that it may vote; `still`: is not known to move, so that it may match.
    """

    marks: tuple[Landmark, ...]
    place_m: Array
    time_s: Array
    own_m2: Array
    slack_m2: Array
    steady: NDArray[np.bool_]
    still: NDArray[np.bool_]
    looks: tuple[Array, NDArray[np.bool_]]

    @classmethod
    def of(cls, marks: Sequence[Landmark], views: Sequence[View], frame: LocalFrame) -> Self:
        """Collect landmarks, in their order."""
        lats, lons = np.array([m.lat_deg for m in marks]), np.array([m.lon_deg for m in marks])
        place = np.column_stack(frame.to_enu(lats, lons)) if marks else np.zeros((0, 2))
        stamps = [m.last_stamp_ns for m in marks]
        # The share of the pose's error that outlasts the track is in its covariance, and is its neighbours' as well.
        lasting = np.exp([-(m.last_stamp_ns - m.first_stamp_ns) * 1e-9 / _POSE_TAU_S for m in marks])
        own = np.array([m.cov_own_m2 for m in marks]).reshape(-1, 2, 2)
        own = own - lasting[:, None, None] * pose_parts(stamps, views)
        moving = np.array([m.verdict is Verdict.MOVING for m in marks], dtype=np.bool_)
        static = np.array([m.verdict is Verdict.STATIC and not m.coarse for m in marks], dtype=np.bool_)
        return cls(
            tuple(marks), place, np.array(stamps) * 1e-9, floored(own, LEAST_OWN_M),
            _slack([m.extent_m for m in marks], [m.heading_deg for m in marks]) if marks else np.zeros((0, 2, 2)),
            static, ~moving, _looks([m.appearance for m in marks]),
        )  # fmt: skip

    def part(self, rows: slice) -> Sights:
        """Some of them."""
        return Sights(
            self.marks[rows], self.place_m[rows], self.time_s[rows], self.own_m2[rows], self.slack_m2[rows],
            self.steady[rows], self.still[rows], (self.looks[0][rows], self.looks[1][rows]),
        )  # fmt: skip


Thing = Case | Anchor


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Known things: `place_m` (K, 2) among their neighbours with `own_m2` (K, 2, 2), `fused_m`, `fused_m2` absolute.

    `weight` (K,) is the probability that a pass sees the thing; `mine` marks those that this very pass has touched,
    whose place in it is `mine_m` (K, 2) with `mine_m2`.
    """

    things: tuple[Thing, ...]
    place_m: Array
    own_m2: Array
    fused_m: Array
    fused_m2: Array
    slack_m2: Array
    weight: Array
    mine: NDArray[np.bool_]
    mine_m: Array
    mine_m2: Array
    looks: tuple[Array, NDArray[np.bool_]]

    @classmethod
    def of(cls, things: Sequence[Thing], pass_id: str, frame: LocalFrame, pd: float) -> Self:
        """Collect things, in their order."""
        count = len(things)
        spots = np.array([_spots(t) for t in things]).reshape(-1, 4)
        fused = np.column_stack(frame.to_enu(spots[:, 0], spots[:, 1]))
        place = np.column_stack(frame.to_enu(spots[:, 2], spots[:, 3]))
        total = np.array([matrix2(t.cov_m2) for t in things]).reshape(-1, 2, 2)
        own = floored(np.array([_map_part(t) for t in things]).reshape(-1, 2, 2), LEAST_OWN_M)
        mine, mine_m, mine_m2 = np.zeros(count, np.bool_), np.zeros((count, 2)), np.tile(np.eye(2), (count, 1, 1))
        for i, thing in enumerate(things):
            here = next((p for p in reversed(thing.passes) if p.pass_id == pass_id), None)
            if here is not None:
                mine[i], mine_m[i] = True, frame.to_enu(here.lat_deg, here.lon_deg)
                mine_m2[i] = matrix2(here.cov_own_m2)
        slack = [(t.extent_m, t.heading_deg) if isinstance(t, Case) else ((0.0, 0.0, 0.0), None) for t in things]
        return cls(
            tuple(things), place, own, fused, total,
            _slack([s[0] for s in slack], [s[1] for s in slack]) if count else np.zeros((0, 2, 2)),
            np.array([pd * _presence(t) for t in things]), mine, mine_m, mine_m2,
            _looks([t.appearance or None for t in things]),
        )  # fmt: skip


def _spots(thing: Thing) -> tuple[float, float, float, float]:
    """Absolute and aligned latitude and longitude."""
    lat, lon = thing.map_lat_deg, thing.map_lon_deg
    if lat is None or lon is None:
        lat, lon = thing.lat_deg, thing.lon_deg
    return thing.lat_deg, thing.lon_deg, lat, lon


def _map_part(thing: Thing) -> Array:
    if thing.map_lat_deg is not None:
        return matrix2(thing.map_cov_m2)
    if not thing.passes:
        return matrix2(thing.cov_m2)
    parts: Array = sum((matrix2(p.cov_own_m2) for p in thing.passes), np.zeros((2, 2)))
    return parts / len(thing.passes) ** 2


def _presence(thing: Thing) -> float:
    if isinstance(thing, Case) and thing.state in (CaseState.RESOLVED, CaseState.WITHDRAWN):
        return 0.5
    return min(max(thing.existence, 0.05), 0.99)


NEIGHBOURHOOD_DEG = 2e-3


def bounds(record: PassRecord) -> tuple[float, float, float, float] | None:
    """South, west, north and east (degrees) of a window, some 200 m wider than what it saw: the rest cannot match."""
    spots = [(m.lat_deg, m.lon_deg) for m in (*record.landmarks, *record.live)]
    spots += [(v.pose.lat_deg, v.pose.lon_deg) for v in record.views]
    if not spots:
        return None
    low, high = np.min(spots, axis=0) - NEIGHBOURHOOD_DEG, np.max(spots, axis=0) + NEIGHBOURHOOD_DEG
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


_Place = TypeVar("_Place", Case, Anchor)


def within(things: Sequence[_Place], box: tuple[float, float, float, float]) -> list[_Place]:
    """Those inside the bounds, by id."""
    south, west, north, east = box
    near = (t for t in things if south <= t.lat_deg <= north and west <= t.lon_deg <= east)
    return sorted(near, key=lambda t: t.id)
