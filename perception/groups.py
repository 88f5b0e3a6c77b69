"""The cases of a shift, grouped: which of them could be one thing at all, and which are taken for one so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from perception.catalogue import Catalogue
from perception.joint import Joint, Sighting, solve
from perception.serial import matrix2
from perception.types import ACTIVE_STATES, Anchor, Case, CaseState, PassPosition

_MERGEABLE = ACTIVE_STATES | {CaseState.CANDIDATE, CaseState.RESOLVED}
COUNTED_STATES = _MERGEABLE | {CaseState.REJECTED}
"""States whose positions help to find the offsets of the passes."""


@dataclass(frozen=True, slots=True)
class RemergeParams:
    """Tuning. `ln_merge` and `ln_split` are natural logarithms of the evidence ratio that is asked for.

    `floor_m` is what two looks at one thing differ by beyond their covariances (another side, another extent); a share
    `stray` of looks is `stray_times` as far off as it says. How dense things stand is taken from the cases `around_m`
    about each pair with a kernel of `kernel_m`. `turnover` is the chance that a thing came or went between two passes.
    """

    gate: float = 40.0
    reach_m: float = 15.0
    floor_m: float = 0.1
    stray: float = 0.1
    stray_times: float = 3.0
    turnover: float = 0.1
    ln_merge: float = math.log(10.0)
    ln_split: float = math.log(1000.0)
    ln_rival: float = math.log(10.0)
    kernel_m: float = 3.0
    around_m: float = 25.0
    least_detection: float = 0.3
    most_detection: float = 0.9
    most_misses: int = 3
    most_rounds: int = 8


def _thing(case: Case, catalogue: Catalogue) -> tuple[str, str]:
    """What must be equal in two cases that are one: the kind and the thing it is a state of."""
    known = case.class_name in catalogue.classes
    return case.kind, catalogue.identity_of(case.class_name) if known else case.class_name


def _states_agree(a: Case, b: Case, catalogue: Catalogue) -> bool:
    """May cases in these states be one? What was found gone and is seen again is the same thing, but no vehicle is."""
    states = {a.state, b.state}
    if not states <= _MERGEABLE or states == {CaseState.RESOLVED, CaseState.CANDIDATE}:
        return False
    shape = catalogue.classes.get(a.class_name)
    return CaseState.RESOLVED not in states or shape is None or shape.identity != "transient"


def _lived_together(a: Case, b: Case, catalogue: Catalogue) -> bool:
    """A vehicle that came hours after another at the place is another vehicle; a hole is the same hole."""
    shape = catalogue.classes.get(a.class_name)
    if shape is None or shape.identity == "fixed":
        return True
    stamps = (a.first_seen_utc_ns, a.last_seen_utc_ns, b.first_seen_utc_ns, b.last_seen_utc_ns)
    if any(s is None for s in stamps):
        return False
    first_a, last_a, first_b, last_b = (int(s) for s in stamps if s is not None)
    gap_s = max(first_a - last_b, first_b - last_a, 0) * 1e-9
    return gap_s <= shape.survival_h * 3600.0


def _begun(passes: Iterable[PassPosition]) -> dict[str, int | None]:
    """UTC of the first sight of each pass; None where any of it is unknown."""
    found: dict[str, int | None] = {}
    for p in passes:
        old = found.get(p.pass_id, p.utc_ns)
        found[p.pass_id] = None if old is None or p.utc_ns is None else min(old, p.utc_ns)
    return found


class Groups:
    """The cases of one shift with their current grouping; groups are named by the index of their first case."""

    def __init__(
        self, cases: Sequence[Case], anchors: Mapping[str, Anchor], catalogue: Catalogue, params: RemergeParams
    ) -> None:
        self.cases, self.catalogue, self.params = cases, catalogue, params
        self.frame = LocalFrame(cases[0].lat_deg, cases[0].lon_deg)
        self.group = list(range(len(cases)))
        self.members: dict[int, list[int]] = {i: [i] for i in range(len(cases))}
        self.passes: dict[int, set[str]] = {i: {p.pass_id for p in c.passes} for i, c in enumerate(cases)}
        self.things = [_thing(c, catalogue) for c in cases]
        self.common = {p.pass_id: matrix2(p.cov_common_m2) for c in cases for p in c.passes}
        floor = params.floor_m**2 * np.eye(2)
        self._sightings = [
            (i, p, np.array(self.frame.to_enu(p.lat_deg, p.lon_deg)), matrix2(p.cov_own_m2) + floor)
            for i, c in enumerate(cases)
            for p in c.passes
        ]
        self._begun = _begun(p for c in cases for p in c.passes)
        self._fixed = {
            i: (np.array(self.frame.to_enu(a.lat_deg, a.lon_deg)), matrix2(a.cov_m2) + floor)
            for i, c in enumerate(cases)
            if c.component is not None and (a := anchors.get(c.component.id)) is not None
        }

    def solved(self) -> Joint:
        """The joint solution of the present grouping."""
        sightings = [Sighting(self.group[i], p.pass_id, z, cov, self._second(p)) for i, p, z, cov in self._sightings]
        fixed = {self.group[i]: prior for i, prior in self._fixed.items()}
        return solve(sightings, self.common, fixed)

    def _second(self, position: PassPosition) -> float:
        """Seconds from the first sight of the pass; zero in a pass of which a time is unknown."""
        begun = self._begun[position.pass_id]
        return 0.0 if begun is None or position.utc_ns is None else (position.utc_ns - begun) * 1e-9

    def may_be_one(self, a: int, b: int) -> bool:
        """Could groups `a` and `b` be one thing at all?"""
        if self.things[a] != self.things[b] or self.passes[a] & self.passes[b]:
            return False
        pairs = [(self.cases[i], self.cases[j]) for i in self.members[a] for j in self.members[b]]
        return all(_states_agree(x, y, self.catalogue) and _lived_together(x, y, self.catalogue) for x, y in pairs)

    def join(self, a: int, b: int) -> None:
        """Make group `b` part of group `a`."""
        for i in self.members[b]:
            self.group[i] = a
        self.members[a] += self.members.pop(b)
        self.passes[a] |= self.passes.pop(b)

    def span(self, group: int) -> tuple[int, int] | None:
        """First and last time (UTC ns) that anything of the group was seen; None when time is unknown."""
        stamps = [p.utc_ns for i in self.members[group] for p in self.cases[i].passes]
        known = [s for s in stamps if s is not None]
        return (min(known), max(known)) if len(known) == len(stamps) and known else None

    def stamps(self, group: int) -> dict[str, int]:
        """UTC of each pass of the group, where known."""
        return {p.pass_id: p.utc_ns for i in self.members[group] for p in self.cases[i].passes if p.utc_ns is not None}
