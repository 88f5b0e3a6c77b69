"""Across passes: what a pass saw against what is known. Pure: known objects and a pass record in, case changes out.

The offset of the pass first (every stable landmark votes), then one assignment on Mahalanobis cost; ambiguity is
deferred. Method: geolocation.md 8F-8H; decisions: DESIGN.md section 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.geodesy import LocalFrame, ellipse95
from gnss.types import Array
from perception import anchors as permanent
from perception.approach import Look
from perception.assign import FORBIDDEN, AssignParams, Pairing, assign
from perception.camera import CameraModel
from perception.casework import Casework
from perception.existence import ExistenceParams
from perception.glance import Obstacles, ViewField, clear_looks
from perception.lay import Links, Offset, Surroundings, lay
from perception.rules import Decision, Finding, Rules
from perception.serial import matrix2
from perception.things import UNLIKE, Known, Thing, bounds, within
from perception.types import (
    ACTIVE_STATES,
    Anchor,
    AnchorUpdate,
    Case,
    CaseChange,
    CaseState,
    Landmark,
    PassRecord,
    TrackEnd,
    TrackEnded,
    Verdict,
)
from perception.votes import AlignParams, squares

_REGISTER_M = 400.0
_APART = 9.21
_UNJUDGED = Finding(Decision.HOLD, "not judged yet")


@dataclass(frozen=True, slots=True)
class AssociateParams:
    """Tuning of association. Looks within `same_approach_s` of the last one are the same look.

    `held_semi_major_m`: a coarse place up to this may become a candidate that waits for a second look.
    """

    same_approach_s: float = 600.0
    held_semi_major_m: float = 5.0
    align: AlignParams = field(default_factory=AlignParams)
    assign: AssignParams = field(default_factory=AssignParams)
    existence: ExistenceParams = field(default_factory=ExistenceParams)


@dataclass(frozen=True, slots=True, eq=False)
class Association:
    """What a pass did to the memory: changes, the ends of its tracks, anchors, and the offsets that were found.

    `offset` lays the pass on what is known and says nothing absolute; `correction` comes from the city's register and
    is in the positions already. `links` belong to the next window of the same drive; `matched` are (track id, anchor
    id) of the permanent landmarks.
    """

    changes: tuple[CaseChange, ...]
    ends: tuple[TrackEnded, ...]
    offset: Offset
    correction: Offset
    anchors: AnchorUpdate
    links: Links
    matched: tuple[tuple[int, str], ...] = ()


def _ended(landmark: Landmark, end: TrackEnd, reason: str, case_id: str | None = None) -> TrackEnded:
    return TrackEnded(
        landmark.track_id, landmark.camera, landmark.class_name, end, reason, landmark.last_stamp_ns, case_id
    )


class _Pass:
    """One window against the memory: alignment, assignment, and what follows for each landmark and each known thing."""

    def __init__(
        self,
        known: Sequence[Case],
        anchors: Sequence[Anchor],
        record: PassRecord,
        rules: Rules,
        params: AssociateParams,
        links: Links,
        box: tuple[float, float, float, float],
    ) -> None:
        self._record, self._rules, self._params = record, rules, params
        taken = [*(c.id for c in known), *(a.id for a in anchors)]
        self._work = Casework(rules, record, params.existence, params.same_approach_s, taken)
        self._frame = LocalFrame((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        self._cases = [c for c in within(known, box) if self._work.may_return(c)]
        register, self._learned = permanent.split(within(anchors, box), rules.catalogue)
        middle = (self._frame.lat0_deg, self._frame.lon0_deg)
        register += permanent.register_anchors(rules.atlas, middle, _REGISTER_M)
        self._landmarks = sorted(record.landmarks, key=lambda m: (m.first_stamp_ns, m.camera, m.track_id))
        around = Surroundings(self._cases, self._learned, register)
        self._laid = lay(around, self._landmarks, record, rules, self._frame, links, params.align, params.assign)
        self._known = self._of(self._cases)
        self._steady = self._of(self._learned)
        self._cost = self._pairing(self._known).costs(self._laid.relative, params.assign)
        self._anchor_cost = self._anchor_costs()
        self._to_cases = assign(self._cost, params.assign)
        self._to_anchors = assign(self._anchor_cost, params.assign)

    def _of(self, things: Sequence[Thing]) -> Known:
        return Known.of(things, self._record.pass_id, self._frame, self._params.assign.seen)

    def _pairing(self, known: Known, *, live: bool = False) -> Pairing:
        sights = self._laid.live if live else self._laid.sights
        return Pairing.of(sights, known, self._rules.catalogue, self._params.assign)

    def _anchor_costs(self) -> Array:
        """Costs (L, A) of landmarks that may be permanent against learned anchors of their own class."""
        pairing = self._pairing(self._steady)
        seen = np.array([m.class_name for m in self._landmarks], dtype=object)
        known = np.array([a.class_name for a in self._learned], dtype=object)
        same = seen[:, None] == known[None, :]
        alike = replace(pairing, kind=np.where(same, pairing.kind, UNLIKE))
        return alike.costs(self._laid.relative, self._params.assign)

    def result(self, cameras: Mapping[str, CameraModel]) -> Association:
        """Decide everything, in a fixed order."""
        changes: list[CaseChange] = []
        ends: list[TrackEnded] = []
        healthy: set[int] = set()
        kept: dict[str, Anchor] = {}
        matched: list[tuple[int, str]] = []
        for index, mark in enumerate(self._laid.marks):
            look = self._look(index)
            anchor = self._remember(index, look)
            if anchor is not None:
                kept[anchor.id] = anchor
                matched.append((mark.track_id, anchor.id))
            if self._is_healthy(index):
                healthy.add(self._to_cases.pairs[index])
            change, end = self._decide(index, look)
            changes += [] if change is None else [change]
            ends.append(end)
        missed, faded, gone = self._misses(healthy, cameras)
        update = AnchorUpdate(
            self._record.end_stamp_ns, self._record.pass_id, tuple([*kept.values(), *faded]), tuple(gone)
        )
        laid = self._laid
        return Association(
            tuple(changes + missed), tuple(ends), Offset.of(laid.relative), Offset.of(laid.register), update,
            laid.links, tuple(matched),
        )  # fmt: skip

    def _case_of(self, index: int) -> Case | None:
        """The known case that a landmark is a new sight of; None for its healthy state, for what is new or unsure."""
        if index not in self._to_cases.pairs or self._beside(index):
            return None
        return self._cases[self._to_cases.pairs[index]]

    def _look(self, index: int) -> Look:
        """A landmark with the rules' word on it: where the known case lies, else where this pass puts it."""
        mark, position = self._laid.marks[index], self._laid.positions[index]
        case = self._case_of(index)
        if case is not None:
            return Look(mark, self._work.judged(case, Look(mark, _UNJUDGED, position)), position)
        common = matrix2(position.cov_common_m2) + matrix2(position.cov_site_m2)
        return Look(mark, self._rules.judge(mark, common), position)

    def _is_healthy(self, index: int) -> bool:
        """Is this landmark the healthy state of the case it is matched with, and no neighbour that is known itself?"""
        if index not in self._to_cases.pairs:
            return False
        column = self._to_cases.pairs[index]
        shape = self._rules.catalogue.classes[self._cases[column].class_name]
        if self._landmarks[index].class_name != shape.healthy:
            return False
        if index not in self._to_anchors.pairs:
            return True
        other = self._to_anchors.pairs[index]
        gap = self._steady.place_m[other] - self._known.place_m[column]
        apart = float(squares(gap, self._steady.own_m2[other] + self._known.own_m2[column]))
        return apart < _APART or self._cost[index, column] < self._anchor_cost[index, other]

    def _remember(self, index: int, look: Look) -> Anchor | None:
        """The permanent landmark that this one is, or becomes."""
        m = look.landmark
        if not permanent.may_anchor(m.class_name, self._rules.catalogue) or look.finding.end is TrackEnd.SUPPRESSED:
            return None
        if index in self._to_anchors.pairs:
            return permanent.see(self._learned[self._to_anchors.pairs[index]], look, self._work)
        if (self._anchor_cost[index] < FORBIDDEN).any():
            return None  # a second sight of one that is taken, or too close to call
        return permanent.learn(look, self._work)

    def _decide(self, index: int, look: Look) -> tuple[CaseChange | None, TrackEnded]:
        m, finding = look.landmark, look.finding
        if index in self._to_cases.doubtful and finding.decision is not Decision.REFUSE:
            return None, _ended(m, TrackEnd.CANDIDATE, "too close to call which known thing it is, if any: deferred")
        if self._is_healthy(index):
            name = self._cases[self._to_cases.pairs[index]].id
            return None, _ended(m, TrackEnd.ANCHOR, f"healthy {m.class_name} at the place of {name}", name)
        case = self._case_of(index)
        if case is not None:
            change, end, reason = self._work.revisit(case, look)
            return change, _ended(m, end, reason, case.id)
        if finding.decision is Decision.REFUSE:
            return None, _ended(m, finding.end, finding.reason)
        # A coarse place never opens a case; a vehicle that must wait for a second look anyway may wait from here on.
        waits = finding.decision is Decision.HOLD and ellipse95(m.cov_own_m2)[0] <= self._params.held_semi_major_m
        if m.coarse and not waits:
            return None, _ended(m, TrackEnd.EXPIRED, "coarse position: may update a case, never opens one")
        change, end, reason = self._work.birth(look)
        return change, _ended(m, end, reason, None if change is None else change.case_id)

    def _beside(self, index: int) -> bool:
        """Is it the healthy neighbour of the case it was matched with?"""
        shape = self._rules.catalogue.classes[self._cases[self._to_cases.pairs[index]].class_name]
        return self._landmarks[index].class_name == shape.healthy

    def _misses(
        self, healthy: set[int], cameras: Mapping[str, CameraModel]
    ) -> tuple[list[CaseChange], list[Anchor], list[str]]:
        """Looks that did not find a known thing: existence falls only when the place was clearly seen."""
        if not self._record.looked:
            return [], [], []
        spared = set(self._to_cases.spared)
        spared |= {c for i, c in self._to_cases.pairs.items() if c not in healthy and not self._beside(i)}
        going_on = self._pairing(self._known, live=True).costs(self._laid.relative, self._params.assign)
        spared |= set(np.flatnonzero((going_on < FORBIDDEN).any(axis=0)).tolist())
        asked = [
            k
            for k, c in enumerate(self._cases)
            if k not in spared and c.state in ACTIVE_STATES | {CaseState.CANDIDATE} and not self._work.approach.holds(c)
        ]
        held = set(self._to_anchors.pairs.values()) | self._to_anchors.spared
        stands = [k for k, a in enumerate(self._learned) if k not in held and not self._work.approach.holds(a)]
        field = ViewField.of(self._record.views, self._frame, self._params.existence)
        changes: list[CaseChange] = []
        for k, chance, stamp_ns in self._chances(self._known, asked, field, cameras):
            if k in healthy:
                chance = max(chance, self._params.existence.most_pass_pd)
                stamp_ns = stamp_ns or self._record.end_stamp_ns
            if chance > 0.0:
                change = self._work.miss(self._cases[k], chance, stamp_ns, seen_healthy=k in healthy)
                changes += [] if change is None else [change]
        faded: list[Anchor] = []
        gone: list[str] = []
        for k, chance, _ in self._chances(self._steady, stands, field, cameras):
            if chance > 0.0:
                after = permanent.miss(self._learned[k], chance, self._record, self._work, self._params.existence)
                if after is None:
                    gone.append(self._learned[k].id)
                else:
                    faded.append(after)
        return changes, faded, gone

    def _chances(
        self, known: Known, asked: list[int], field: ViewField, cameras: Mapping[str, CameraModel]
    ) -> list[tuple[int, float, int]]:
        """Index, chance of detection and last clear stamp of the things asked for."""
        if not asked:
            return []
        chosen = np.array(asked, dtype=np.intp)
        time_s = field.nearest_s(known.place_m)
        places, covs = self._laid.raw_places(known, time_s)
        shapes = [self._rules.catalogue.classes[known.things[k].class_name] for k in asked]
        chance, stamp = clear_looks(
            places[chosen], covs[chosen], shapes, field, cameras, self._params.existence, self._obstacles()
        )
        return [(k, float(c), int(s)) for k, c, s in zip(asked, chance, stamp, strict=True)]

    def _obstacles(self) -> Obstacles:
        """What this pass found standing, in its own coordinates."""
        still = [m for m in self._record.landmarks if m.verdict is not Verdict.MOVING and not m.coarse]
        lats, lons = np.array([m.lat_deg for m in still]), np.array([m.lon_deg for m in still])
        places = np.column_stack(self._frame.to_enu(lats, lons)) if still else np.zeros((0, 2))
        return Obstacles.of(places, [m.heading_deg for m in still], [m.extent_m for m in still])


def pass_order(record: PassRecord) -> tuple[int, str, str]:
    """Sort key of windows of several vehicles: in order of their end in UTC, whatever order they arrived in.

    Raises ValueError for one without UTC, which cannot share a memory.
    """
    if record.end_utc_ns is None:
        raise ValueError(f"pass {record.pass_id} of {record.drive} has no UTC and cannot be put in order with others")
    return record.end_utc_ns, record.vehicle, record.pass_id


def associate(
    known: Sequence[Case],
    anchors: Sequence[Anchor],
    record: PassRecord,
    rules: Rules,
    cameras: Mapping[str, CameraModel],
    params: AssociateParams,
    before: Links | None = None,
) -> Association:
    """Match a pass with the memory. Returns the changes in a fixed order, and one ledger end per landmark.

    `before` is what the window before, of the same drive, handed on.
    """
    box = bounds(record)
    if box is None:
        nothing = Offset(0.0, 0.0, record.cov_common_m2, 0)
        update = AnchorUpdate(record.end_stamp_ns, record.pass_id)
        return Association((), (), nothing, nothing, update, before or Links())
    return _Pass(known, anchors, record, rules, params, before or Links(), box).result(cameras)
