"""Across passes: what a pass saw against what is known. Pure: known objects and a pass record in, case changes out.

One offset per pass first (every stable landmark votes), then one assignment on Mahalanobis cost; ambiguity is deferred.
Method: geolocation.md 8F-8H; decisions: DESIGN.md section 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.camera import CameraModel
from perception.casework import Casework, Look
from perception.existence import ExistenceParams, ViewField, clear_look
from perception.fuse import Offset, estimate_offset
from perception.rules import Decision, Rules
from perception.serial import matrix2
from perception.types import (
    ACTIVE_STATES,
    Anchor,
    Case,
    CaseChange,
    CaseState,
    Landmark,
    PassRecord,
    TrackEnd,
    TrackEnded,
    Verdict,
)

_FORBIDDEN = 1e6
_REACH_LAT_DEG, _REACH_LON_DEG = 1e-3, 2e-3
_VOTE_GATE = 13.8
_UNEVEN_M = 0.3
"""Cases of one street were not all seen by the same passes, so their mean errors differ a little (1 sigma)."""
_NEIGHBOURHOOD_DEG = 2e-3


@dataclass(frozen=True, slots=True)
class AssociateParams:
    """Tuning of association; `gate` is on squared Mahalanobis distance with 2 degrees of freedom."""

    gate: float = 13.8
    birth_cost: float = 12.0
    class_penalty: float = 4.0
    near_tie: float = math.log(10.0)
    same_approach_s: float = 600.0
    existence: ExistenceParams = field(default_factory=ExistenceParams)


@dataclass(frozen=True, slots=True)
class Association:
    """What a pass did to the memory: changes, the ends of its tracks, and the pass offset that was found."""

    changes: tuple[CaseChange, ...]
    ends: tuple[TrackEnded, ...]
    offset: Offset


def _compatible(landmark: Landmark, class_name: str, rules: Rules) -> float | None:
    """Class cost of a pair, None when the two can never be one thing. Runs over identity, not class names."""
    if landmark.class_name == class_name:
        return 0.0
    a, b = rules.catalogue.classes[landmark.class_name], rules.catalogue.classes.get(class_name)
    if b is None:
        return None
    if rules.catalogue.identity_of(a.name) == rules.catalogue.identity_of(b.name):
        # Two different problems of one thing (a damaged bin that overflows) are two cases.
        return None if a.role == b.role == "problem" and a.kind != b.kind else 0.5
    return 1.0 if a.kind is not None and a.kind == b.kind and a.role == b.role else None


def _own_part(case: Case) -> Array:
    """What a case's position (2, 2) does not owe to GNSS: the passes' own parts, as their mean has them."""
    return sum((matrix2(p.cov_own_m2) for p in case.passes), np.zeros((2, 2))) / max(len(case.passes), 1) ** 2


def _shares(case: Case) -> dict[str, tuple[float, Array]]:
    """How much of each pass's GNSS error is in a case's position, with that error's covariance."""
    return {p.pass_id: (1.0 / len(case.passes), matrix2(p.cov_common_m2)) for p in case.passes}


@dataclass(frozen=True, slots=True, eq=False)
class _Alignment:
    """The pass offset with what its voters share: GNSS error that a case has like them is no error between them."""

    offset: Offset
    shares: Mapping[str, tuple[float, Array]]

    def known_part(self, case: Case) -> Array:
        """Covariance (2, 2) of a case's place against the aligned pass; all of it when the pass was not aligned."""
        if not self.offset.inliers or not case.passes:
            return matrix2(case.cov_m2)
        total, mine = _own_part(case), _shares(case)
        nothing = (0.0, np.zeros((2, 2)))
        for name in sorted({*mine, *self.shares}):
            here, there = mine.get(name, nothing), self.shares.get(name, nothing)
            total = total + (here[0] - there[0]) ** 2 * (here[1] if name in mine else there[1])
        return total


def _align(
    landmarks: Sequence[Landmark], cases: Sequence[Case], anchors: Sequence[Anchor], record: PassRecord, rules: Rules
) -> _Alignment:
    """The pass offset, voted for by every stable landmark that has a compatible known thing in reach.

    Pairs are weighed by what is their own; GNSS error that the known things share moves them together, and is no reason
    to trust a vote less.
    """
    gaps: list[Array] = []
    covs: list[Array] = []
    voters: list[Case | None] = []
    known: list[tuple[str, float, float, Array, Array, Case | None]] = [
        (c.class_name, c.lat_deg, c.lon_deg, _own_part(c), matrix2(c.cov_m2), c)
        for c in cases
        if all(p.pass_id != record.pass_id for p in c.passes)
    ]
    known += [(a.class_name, a.lat_deg, a.lon_deg, matrix2(a.cov_m2), matrix2(a.cov_m2), None) for a in anchors]
    lats, lons = np.array([k[1] for k in known]), np.array([k[2] for k in known])
    for landmark in landmarks if known else ():
        frame = LocalFrame(landmark.lat_deg, landmark.lon_deg)
        reach = (np.abs(lats - landmark.lat_deg) < _REACH_LAT_DEG) & (np.abs(lons - landmark.lon_deg) < _REACH_LON_DEG)
        for index in np.flatnonzero(reach).tolist():
            name, lat, lon, own, total, case = known[index]
            if _compatible(landmark, name, rules) is None:
                continue
            gap = np.array(frame.to_enu(lat, lon))
            if gap @ np.linalg.solve(landmark.cov_own_m2 + total + record.cov_common_m2, gap) < _VOTE_GATE:
                gaps.append(gap)
                covs.append(landmark.cov_own_m2 + own + _UNEVEN_M**2 * np.eye(2))
                voters.append(case)
    if not gaps:
        return _Alignment(Offset(0.0, 0.0, record.cov_common_m2, 0), {})
    offset = estimate_offset(np.array(gaps), np.array(covs), record.cov_common_m2)
    rest = np.array(gaps) - (offset.east_m, offset.north_m)
    fits = np.einsum("ni,nij,nj->n", rest, np.linalg.inv(np.array(covs)), rest) < 9.21
    sums: dict[str, tuple[float, Array]] = {}
    for case in (c for c, good in zip(voters, fits, strict=True) if good and c is not None):
        for name, (share, common) in _shares(case).items():
            sums[name] = sums.get(name, (0.0, common))[0] + share / int(fits.sum()), common
    return _Alignment(offset, sums)


def _costs(
    landmarks: Sequence[Landmark],
    cases: Sequence[Case],
    alignment: _Alignment,
    record: PassRecord,
    rules: Rules,
    params: AssociateParams,
) -> Array:
    """Pair costs (L, C): squared Mahalanobis distance + ln of its determinant + class; forbidden pairs are 1e6."""
    cost = np.full((len(landmarks), len(cases)), _FORBIDDEN)
    offset = alignment.offset
    parts = [alignment.known_part(c) for c in cases]
    lats, lons = np.array([c.lat_deg for c in cases]), np.array([c.lon_deg for c in cases])
    for i, landmark in enumerate(landmarks if cases else ()):
        if landmark.verdict is Verdict.MOVING:
            continue
        frame = LocalFrame(landmark.lat_deg, landmark.lon_deg)
        reach = (np.abs(lats - landmark.lat_deg) < _REACH_LAT_DEG) & (np.abs(lons - landmark.lon_deg) < _REACH_LON_DEG)
        for j in np.flatnonzero(reach).tolist():
            class_cost = _compatible(landmark, cases[j].class_name, rules)
            if class_cost is None:
                continue
            mine = next((p for p in cases[j].passes if p.pass_id == record.pass_id), None)
            if mine is None:
                gap = np.array(frame.to_enu(cases[j].lat_deg, cases[j].lon_deg)) - (offset.east_m, offset.north_m)
                total = landmark.cov_own_m2 + parts[j] + offset.cov_m2 + 0.01 * np.eye(2)
            else:
                # The case was touched by this very pass: both places share all of its GNSS error.
                gap = np.array(frame.to_enu(mine.lat_deg, mine.lon_deg))
                total = landmark.cov_own_m2 + matrix2(mine.cov_own_m2) + 0.01 * np.eye(2)
            distance = float(gap @ np.linalg.solve(total, gap))
            if distance < params.gate:
                spread = math.log(max(float(np.linalg.det(total)), 1e-9) / 1e-2)
                cost[i, j] = distance + spread + params.class_penalty * class_cost
    return cost


def _assign(cost: Array, params: AssociateParams) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Landmark -> case; and for landmarks whose choice is too close to call, the other cases it may as well be."""
    if not cost.size:
        return {}, {}
    birth = params.birth_cost + 8.0
    padded = np.concatenate([np.minimum(cost, _FORBIDDEN), np.full((len(cost), len(cost)), birth)], axis=1)
    rows, columns = linear_sum_assignment(padded)
    pairs = {
        int(r): int(c) for r, c in zip(rows, columns, strict=True) if c < cost.shape[1] and cost[r, c] < _FORBIDDEN
    }
    taken = set(pairs.values())
    ties: dict[int, list[int]] = {}
    for row, column in pairs.items():
        close = np.flatnonzero(cost[row] < cost[row, column] + 2 * params.near_tie)
        rivals = [int(c) for c in close if int(c) not in taken]
        if rivals:
            ties[row] = rivals
    return pairs, ties


def _ended(landmark: Landmark, end: TrackEnd, reason: str, case_id: str | None = None) -> TrackEnded:
    return TrackEnded(
        landmark.track_id, landmark.camera, landmark.class_name, end, reason, landmark.last_stamp_ns, case_id
    )


_Place = TypeVar("_Place", Case, Anchor)


def _near(things: Sequence[_Place], record: PassRecord) -> list[_Place]:
    """Those that lie within some 200 m of what the window saw: the rest cannot match and is not looked at."""
    spots = [(m.lat_deg, m.lon_deg) for m in (*record.landmarks, *record.live)]
    spots += [(v.pose.lat_deg, v.pose.lon_deg) for v in record.views]
    if not spots:
        return []
    low, high = np.min(spots, axis=0) - _NEIGHBOURHOOD_DEG, np.max(spots, axis=0) + _NEIGHBOURHOOD_DEG
    return [t for t in things if low[0] <= t.lat_deg <= high[0] and low[1] <= t.lon_deg <= high[1]]


def associate(
    known: Sequence[Case],
    anchors: Sequence[Anchor],
    record: PassRecord,
    rules: Rules,
    cameras: Mapping[str, CameraModel],
    params: AssociateParams,
) -> Association:
    """Match a pass with the memory. Returns the changes in a fixed order, and one ledger end per landmark."""
    landmarks = sorted(record.landmarks, key=lambda m: (m.first_stamp_ns, m.camera, m.track_id))
    near = _near(known, record)
    matchable = sorted((c for c in near if c.state not in (CaseState.WITHDRAWN, CaseState.MERGED)), key=lambda c: c.id)
    work = Casework(rules, record, params.existence, params.same_approach_s, [c.id for c in known])
    matchable = [c for c in matchable if work.may_return(c)]
    stable = [m for m in landmarks if not m.coarse and m.verdict is Verdict.STATIC]
    alignment = _align(stable, matchable, _near(anchors, record), record, rules)
    offset = alignment.offset
    cost = _costs(landmarks, matchable, alignment, record, rules, params)
    pairs, ties = _assign(cost, params)
    changes: list[CaseChange] = []
    ends: list[TrackEnded] = []
    healthy: set[str] = set()
    for index, landmark in enumerate(landmarks):
        finding = rules.judge(landmark, record.cov_common_m2)
        look = Look(landmark, finding, offset)
        if index in pairs and index in ties:
            case = matchable[pairs[index]]
            ends.append(_ended(landmark, TrackEnd.CANDIDATE, f"too close to call, {case.id} or another: deferred"))
        elif index in pairs:
            case = matchable[pairs[index]]
            shape = rules.catalogue.classes[case.class_name]
            if landmark.class_name == shape.healthy:
                healthy.add(case.id)
                ends.append(
                    _ended(
                        landmark, TrackEnd.ANCHOR, f"healthy {landmark.class_name} at the place of {case.id}", case.id
                    )
                )
                continue
            change, end, reason = work.revisit(case, replace(look, finding=work.judged(case, look)))
            if change is not None:
                changes.append(change)
            ends.append(_ended(landmark, end, reason, case.id))
        elif finding.decision is Decision.REFUSE:
            ends.append(_ended(landmark, finding.end, finding.reason))
        elif landmark.coarse:
            ends.append(_ended(landmark, TrackEnd.EXPIRED, "coarse position: may update a case, never opens one"))
        else:
            change, end, reason = work.birth(look)
            if change is not None:
                changes.append(change)
            ends.append(_ended(landmark, end, reason, None if change is None else change.case_id))
    touched = {matchable[c].id for c in pairs.values()} - healthy
    touched |= {matchable[c].id for rivals in ties.values() for c in rivals}
    going_on = _costs(record.live, matchable, alignment, record, rules, params) < _FORBIDDEN
    touched |= {matchable[int(c)].id for c in np.flatnonzero(going_on.any(axis=0))}
    changes += _misses([c for c in matchable if c.id not in touched], healthy, record, alignment, work, cameras, params)
    return Association(tuple(changes), tuple(ends), offset)


def _misses(
    cases: Sequence[Case],
    healthy: set[str],
    record: PassRecord,
    alignment: _Alignment,
    work: Casework,
    cameras: Mapping[str, CameraModel],
    params: AssociateParams,
) -> list[CaseChange]:
    """Looks that did not find a known thing: existence falls only when the place was clearly seen, once an approach."""
    changes: list[CaseChange] = []
    field, offset = ViewField.of(record.views), alignment.offset
    for case in cases:
        if case.state not in ACTIVE_STATES | {CaseState.CANDIDATE} or work.same_approach(case):
            continue
        shape = work.rules.catalogue.classes[case.class_name]
        # The case's place in this pass's own coordinates: without the pass's GNSS offset.
        frame = LocalFrame(case.lat_deg, case.lon_deg)
        place = frame.to_geo(-offset.east_m, -offset.north_m)
        cov = alignment.known_part(case) + offset.cov_m2
        chance, stamp_ns = clear_look(place, cov, shape, field, cameras, params.existence)
        if case.id in healthy:
            chance, stamp_ns = max(chance, params.existence.most_pass_pd), stamp_ns or record.end_stamp_ns
        if chance > 0.0:
            change = work.miss(case, chance, stamp_ns, seen_healthy=case.id in healthy)
            if change is not None:
                changes.append(change)
    return changes
