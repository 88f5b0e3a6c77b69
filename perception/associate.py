"""Across passes: what a pass saw against what is known. Pure: known objects and a pass record in, case changes out.

One offset per pass first (every stable landmark votes), then one assignment on Mahalanobis cost; ambiguity is deferred.
Method: geolocation.md 8F-8H; decisions: DESIGN.md section 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.camera import CameraModel
from perception.casework import Casework, Look
from perception.existence import ExistenceParams, clear_look
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
)

_FORBIDDEN = 1e6


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
        return 0.5
    return 1.0 if a.kind is not None and a.kind == b.kind and a.role == b.role else None


def _offset(
    landmarks: Sequence[Landmark], cases: Sequence[Case], anchors: Sequence[Anchor], record: PassRecord, rules: Rules
) -> Offset:
    """The pass offset, voted for by every stable landmark that has a compatible known thing in reach."""
    gaps, covs = [], []
    known = [(c.class_name, c.lat_deg, c.lon_deg, matrix2(c.cov_m2)) for c in cases]
    known += [(a.class_name, a.lat_deg, a.lon_deg, matrix2(a.cov_m2)) for a in anchors]
    for landmark in landmarks:
        frame = LocalFrame(landmark.lat_deg, landmark.lon_deg)
        for name, lat, lon, cov in known:
            if _compatible(landmark, name, rules) is None:
                continue
            gap = np.array(frame.to_enu(lat, lon))
            alone = landmark.cov_own_m2 + cov
            if gap @ np.linalg.solve(alone + record.cov_common_m2, gap) < 13.8:
                gaps.append(gap)
                covs.append(alone)
    if not gaps:
        return Offset(0.0, 0.0, record.cov_common_m2, 0)
    return estimate_offset(np.array(gaps), np.array(covs), record.cov_common_m2)


def _costs(
    landmarks: Sequence[Landmark],
    cases: Sequence[Case],
    offset: Offset,
    record: PassRecord,
    rules: Rules,
    params: AssociateParams,
) -> Array:
    """Pair costs (L, C): squared Mahalanobis distance + ln of the innovation determinant + class; forbidden pairs are 1e6."""
    cost = np.full((len(landmarks), len(cases)), _FORBIDDEN)
    for i, landmark in enumerate(landmarks):
        frame = LocalFrame(landmark.lat_deg, landmark.lon_deg)
        for j, case in enumerate(cases):
            if abs(case.lat_deg - landmark.lat_deg) > 1e-3 or abs(case.lon_deg - landmark.lon_deg) > 2e-3:
                continue
            class_cost = _compatible(landmark, case.class_name, rules)
            if class_cost is None:
                continue
            same_pass = any(p.pass_id == record.pass_id for p in case.passes)
            gap = np.array(frame.to_enu(case.lat_deg, case.lon_deg))
            if not same_pass:
                gap -= (offset.east_m, offset.north_m)
            shared = np.zeros((2, 2)) if same_pass else offset.cov_m2
            own = matrix2(case.passes[-1].cov_own_m2) if same_pass else matrix2(case.cov_m2)
            total = landmark.cov_own_m2 + own + shared + 0.01 * np.eye(2)
            distance = float(gap @ np.linalg.solve(total, gap))
            if distance < params.gate:
                cost[i, j] = (
                    distance
                    + math.log(max(float(np.linalg.det(total)), 1e-9) / 1e-2)
                    + params.class_penalty * class_cost
                )
    return cost


def _assign(cost: Array, params: AssociateParams) -> tuple[dict[int, int], set[int]]:
    """Landmark -> case, and the landmarks whose choice is too close to call."""
    if not cost.size:
        return {}, set()
    birth = params.birth_cost + 8.0
    padded = np.concatenate([np.minimum(cost, _FORBIDDEN), np.full((len(cost), len(cost)), birth)], axis=1)
    rows, columns = linear_sum_assignment(padded)
    pairs = {
        int(r): int(c) for r, c in zip(rows, columns, strict=True) if c < cost.shape[1] and cost[r, c] < _FORBIDDEN
    }
    ties = set()
    for row, column in pairs.items():
        others = np.delete(cost[row], column)
        rivals = [c for c in np.flatnonzero(others < cost[row, column] + 2 * params.near_tie)]
        taken = {c for r, c in pairs.items() if r != row}
        free = [c for c in rivals if (c if c < column else c + 1) not in taken]
        if free:
            ties.add(row)
    return pairs, ties


def _ended(landmark: Landmark, end: TrackEnd, reason: str, case_id: str | None = None) -> TrackEnded:
    return TrackEnded(
        landmark.track_id, landmark.camera, landmark.class_name, end, reason, landmark.last_stamp_ns, case_id
    )


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
    matchable = sorted((c for c in known if c.state not in (CaseState.WITHDRAWN, CaseState.MERGED)), key=lambda c: c.id)
    work = Casework(rules, record, params.existence, params.same_approach_s, [c.id for c in known])
    matchable = [c for c in matchable if work.may_return(c)]
    offset = _offset([m for m in landmarks if not m.coarse], matchable, anchors, record, rules)
    cost = _costs(landmarks, matchable, offset, record, rules, params)
    pairs, ties = _assign(cost, params)
    changes: list[CaseChange] = []
    ends: list[TrackEnded] = []
    healthy: set[str] = set()
    for index, landmark in enumerate(landmarks):
        finding = rules.judge(landmark, offset.cov_m2)
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
            change, end, reason = work.revisit(case, look)
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
    changes += _misses([c for c in matchable if c.id not in touched], healthy, record, offset, work, cameras, params)
    return Association(tuple(changes), tuple(ends), offset)


def _misses(
    cases: Sequence[Case],
    healthy: set[str],
    record: PassRecord,
    offset: Offset,
    work: Casework,
    cameras: Mapping[str, CameraModel],
    params: AssociateParams,
) -> list[CaseChange]:
    """Looks that did not find a known thing: existence falls only when the place was clearly seen, once per approach."""
    changes = []
    for case in cases:
        if case.state not in ACTIVE_STATES | {CaseState.CANDIDATE} or work.same_approach(case):
            continue
        shape = work.rules.catalogue.classes[case.class_name]
        # The case's place in this pass's own coordinates: without the pass's GNSS offset.
        frame = LocalFrame(case.lat_deg, case.lon_deg)
        place = frame.to_geo(-offset.east_m, -offset.north_m)
        cov = matrix2(case.cov_m2) + offset.cov_m2
        chance, stamp_ns = clear_look(place, cov, shape, record.views, cameras, params.existence)
        if case.id in healthy:
            chance, stamp_ns = max(chance, params.existence.most_pass_pd), stamp_ns or record.end_stamp_ns
        if chance > 0.0:
            change = work.miss(case, chance, stamp_ns, seen_healthy=case.id in healthy)
            if change is not None:
                changes.append(change)
    return changes
