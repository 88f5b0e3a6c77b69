"""At the end of a shift: all cases and all pass offsets solved together, duplicates merged, doubtful merges named.

Association sees one pass at a time, so a gate that one pass missed leaves a second case. Here every position that a
pass gave a case is one equation z = x - o + e (x: the object, o: the offset of the pass, e: the case's own error),
solved as one sparse least squares problem. Two cases are one when the evidence for it is strong; two things that one
pass saw at two places are never one. Pure: no clock, no file. Method: geolocation.md 8F-8G; the evidence is the
Savage-Dickey ratio (Dickey 1971), exact for linear Gaussian models; BIC is its limit when there is much data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.geodesy import LocalFrame
from perception.casework import MOST_EVIDENCE, MOST_PASSES
from perception.catalogue import Catalogue
from perception.existence import after_hit
from perception.fuse import aligned, fuse
from perception.joint import Joint, Sighting, solve
from perception.serial import matrix2, triple
from perception.things import look_costs
from perception.types import (
    ACTIVE_STATES,
    Anchor,
    Case,
    CaseChange,
    CaseState,
    ChangeKind,
    PassPosition,
)

BATCH_ID = "remerge"
_MERGEABLE = ACTIVE_STATES | {CaseState.CANDIDATE, CaseState.RESOLVED}
_COUNTED = _MERGEABLE | {CaseState.REJECTED}


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


@dataclass(frozen=True, slots=True)
class Suspect:
    """A case whose passes fall into two places: perhaps two things. Reported, never split by machine.

    `ln_evidence` is how much two places explain the passes better than one; `others` are the pass ids of the second.
    """

    case_id: str
    gap_m: float
    ln_evidence: float
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Remerged:
    """What the end of the shift found: changes in a fixed order, doubtful merges, and the joint solution by id.

    `places` (lat, lon) and `offsets_m` (east, north; to add to a pass's positions) are the joint solution's.
    """

    changes: tuple[CaseChange, ...]
    suspects: tuple[Suspect, ...]
    places: Mapping[str, tuple[float, float]]
    offsets_m: Mapping[str, tuple[float, float]]
    groups: tuple[tuple[str, ...], ...] = field(default=())


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


class _Street:
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


def detection_chance(street: _Street, joint: Joint) -> float:
    """How often a pass that saw something near an object (10 m) saw the object too, within the object's known life.

    The first sight of each object does not count, for without it there would be no object.
    """
    seen = chances = 0
    names = sorted(street.members)
    places = np.array([joint.places[k] for k in names])
    for row, k in enumerate(names):
        span = street.span(k)
        if span is None:
            continue
        near = np.flatnonzero(np.hypot(*(places - places[row]).T) < 10.0)
        stamps = {n: t for j in near for n, t in street.stamps(names[j]).items() if span[0] <= t <= span[1]}
        hits = sum(name in street.passes[k] for name in stamps)
        if len(stamps) > 1:
            seen, chances = seen + hits - 1, chances + len(stamps) - 1
    share = (seen + 1) / (chances + 2)
    return min(max(share, street.params.least_detection), street.params.most_detection)


def _missed(street: _Street, a: int, b: int, chance: float) -> float:
    """Logarithm of how strange it is, were they two, that the passes that saw one of the two never saw the other.

    While the other lived it must have been missed each time; before and after, it may not have been there yet or any
    more, and then once is as strange as often.
    """
    params = street.params
    inside, ends = 0, 0
    for one, other in ((a, b), (b, a)):
        span = street.span(other)
        if span is not None and len(street.passes[other]) > 1:
            stamps = list(street.stamps(one).values())
            inside += sum(span[0] <= stamp <= span[1] for stamp in stamps)
            ends += any(s < span[0] for s in stamps) + any(s > span[1] for s in stamps)
    missed = min(inside, params.most_misses) * -math.log(1.0 - chance)
    return missed + ends * -math.log(min(1.0 - chance + params.turnover, 1.0))


def _alike(street: _Street, a: int, b: int) -> float:
    """Logarithm of how much better one thing explains how the two look; the scale is that of association."""
    looks = [[street.cases[i].appearance for i in street.members[k]] for k in (a, b)]
    size = max(len(look) for rows in looks for look in rows)
    tables = [np.sqrt(np.maximum([v for v in rows if len(v) == size], 0.0)) for rows in looks]
    if size == 0 or not all(len(t) for t in tables):
        return 0.0
    means = [table.mean(axis=0, keepdims=True) for table in tables]
    there = np.ones(1, dtype=np.bool_)
    return -0.5 * float(look_costs((means[0], there), (means[1], there))[0, 0])


def _density(street: _Street, joint: Joint, pair: tuple[int, int], near: Sequence[int]) -> float:
    """How many other things like the rarer of the two there are per m2 at the pair, by a Gaussian kernel.

    Were the two not one, then the one that fewer passes saw would be one of those that passes often miss, or of
    nothing: only such count. `near` holds the groups within `around_m`; there is never less than one in that circle.
    """
    params = street.params
    middle = (joint.places[pair[0]] + joint.places[pair[1]]) / 2
    rare = min(len(street.passes[k]) for k in pair)
    spots = [
        joint.places[k]
        for k in near
        if k not in pair and street.things[k] == street.things[pair[0]] and len(street.passes[k]) <= rare
    ]
    floor = 1.0 / (math.pi * params.around_m**2)
    if not spots:
        return floor
    squared = ((np.array(spots) - middle) ** 2).sum(axis=1) / params.kernel_m**2
    return floor + float(np.exp(-0.5 * squared).sum()) / (2.0 * math.pi * params.kernel_m**2)


@dataclass(frozen=True, slots=True)
class _Bond:
    ln_evidence: float
    a: int
    b: int
    gap_m: float

    @property
    def reason(self) -> str:
        """Why the two are one, for a person."""
        odds = round(math.exp(min(self.ln_evidence, math.log(1e6))))
        return f"{self.gap_m:.1f} m apart when all passes are laid together, never seen in one pass, odds {odds} to 1"


def _fits(distance: float, params: RemergeParams) -> float:
    """Logarithm of the density of a squared Mahalanobis distance, to that of none, when some looks go astray."""
    wide = params.stray_times**2
    return math.log(
        (1.0 - params.stray) * math.exp(-0.5 * distance) + params.stray / wide * math.exp(-0.5 * distance / wide)
    )


def _bonds(street: _Street, joint: Joint, chance: float) -> list[_Bond]:
    """Pairs of groups that may be one, with the logarithm of the evidence ratio of one thing over two."""
    params = street.params
    pairs = [(a, b) for a, b in joint.near(params.reach_m) if street.may_be_one(a, b)]
    if not pairs:
        return []
    covs = joint.gap_covs(pairs)
    around = joint.neighbours(params.around_m, {k for pair in pairs for k in pair})
    found = []
    for (a, b), cov in zip(pairs, covs, strict=True):
        gap = joint.places[a] - joint.places[b]
        distance = float(gap @ np.linalg.solve(cov, gap))
        if distance > params.gate:
            continue
        here = _fits(distance, params) - math.log(2.0 * math.pi) - 0.5 * math.log(float(np.linalg.det(cov)))
        density = _density(street, joint, (a, b), around[a])
        told = _missed(street, a, b, chance) + _alike(street, a, b)
        found.append(_Bond(here - math.log(density) + told, a, b, float(np.hypot(*gap))))
    return sorted(found, key=lambda bond: (-bond.ln_evidence, bond.a, bond.b))


def _accepted(street: _Street, bonds: Sequence[_Bond]) -> list[_Bond]:
    """Bonds to act on in this round: strong, each group once, and no rival nearly as good that it excludes."""
    params = street.params
    of: dict[int, list[_Bond]] = {}
    for bond in bonds:
        of.setdefault(bond.a, []).append(bond)
        of.setdefault(bond.b, []).append(bond)
    used: set[int] = set()
    chosen = []
    for bond in bonds:
        if bond.ln_evidence < params.ln_merge or used & {bond.a, bond.b}:
            continue
        rivals = [r for r in of[bond.a] + of[bond.b] if r is not bond]
        torn = any(
            r.ln_evidence > bond.ln_evidence - params.ln_rival
            and (others := {r.a, r.b} ^ {bond.a, bond.b})
            and not street.may_be_one(*sorted(others))
            for r in rivals
        )
        if not torn:
            used |= {bond.a, bond.b}
            chosen.append(bond)
    return chosen


def _suspect(street: _Street, joint: Joint, group: int, chance: float) -> Suspect | None:
    """Do the passes of a group fall into two places? Tries every cut along the line of their greatest spread."""
    params = street.params
    rows = [(name, z, cov) for name, z, cov in joint.sightings_of(group)]
    if len(rows) < 3:
        return None
    spots = np.array([z for _, z, _ in rows])
    weights = np.array([np.linalg.inv(cov) for _, _, cov in rows])
    centre = spots.mean(axis=0)
    axis = np.linalg.svd(spots - centre, full_matrices=False)[2][0]
    order = np.argsort((spots - centre) @ axis, kind="stable")
    best: tuple[float, float, tuple[str, ...]] | None = None
    for cut in range(1, len(rows)):
        halves = [order[:cut], order[cut:]]
        infos = [weights[h].sum(axis=0) for h in halves]
        means = [
            np.linalg.solve(i, np.einsum("nij,nj->i", weights[h], spots[h])) for h, i in zip(halves, infos, strict=True)
        ]
        cov = np.linalg.inv(infos[0]) + np.linalg.inv(infos[1])
        gap = means[0] - means[1]
        together = -0.5 * float(gap @ np.linalg.solve(cov, gap)) - 0.5 * math.log(float(np.linalg.det(2 * np.pi * cov)))
        density = 1.0 / (math.pi * params.around_m**2)
        misses = min(cut, len(rows) - cut, params.most_misses) * -math.log(1.0 - chance)
        # The best of all cuts is looked for, which chance alone makes better: pay for the choice.
        evidence = math.log(density) - together - misses - math.log(len(rows) - 1)
        if best is None or evidence > best[0]:
            small = min(halves, key=len)
            best = evidence, float(np.hypot(*gap)), tuple(sorted(rows[i][0] for i in small))
    if best is None or best[0] < params.ln_split:
        return None
    return Suspect(street.cases[group].id, best[1], best[0], best[2])


def _rank(case: Case) -> tuple[int, int, str]:
    """Order of survival: cases that stand, then those found gone, then candidates; of these the oldest."""
    first = case.first_seen_utc_ns
    order = 0 if case.state in ACTIVE_STATES else 1 if case.state is CaseState.RESOLVED else 2
    return order, (1 << 62) if first is None else first, case.id


def _ends(stamps: Sequence[int | None]) -> tuple[int | None, int | None]:
    known = [s for s in stamps if s is not None]
    return (min(known), max(known)) if known else (None, None)


def _joined_passes(cases: Sequence[Case]) -> tuple[PassPosition, ...]:
    """All passes in order of time, with the offsets that association gave them: later passes are laid on those."""
    passes = sorted((p for c in cases for p in c.passes), key=lambda p: (p.utc_ns or 0, p.pass_id))
    return tuple(passes if len(passes) <= MOST_PASSES else passes[:1] + passes[1 - MOST_PASSES :])


def _merged(cases: Sequence[Case], whys: Mapping[str, str], stamp_ns: int) -> list[CaseChange]:
    """The survivor's update, then one "merged into" for each of the others; `whys` tells by id why."""
    ordered = sorted(cases, key=_rank)
    kept, rest = ordered[0], ordered[1:]
    passes = _joined_passes(ordered)
    fused, among = fuse(passes), aligned(passes)
    budget = [("gnss_m", fused.gnss_sigma_m), ("own_m", fused.own_sigma_m)]
    if any(any(p.cov_site_m2) for p in passes):
        budget.append(("site_m", fused.site_sigma_m))
    existence = kept.existence
    for case in rest:
        existence = after_hit(existence, case.existence)
    evidence = {p.sha256: p for c in ordered for p in c.evidence}
    first, last = _ends([s for c in ordered for s in (c.first_seen_utc_ns, c.last_seen_utc_ns)])
    clear, last_clear = _ends([s for c in ordered for s in (c.first_clear_look_utc_ns, c.last_clear_look_utc_ns)])
    best = next((c.component for c in ordered if c.component is not None), None)
    after = replace(
        kept, revision=kept.revision + 1, existence=existence, confidence=max(c.confidence for c in ordered),
        lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2),
        map_lat_deg=among[0], map_lon_deg=among[1], map_cov_m2=triple(among[2]),
        error_budget=tuple(budget), passes=passes,
        first_seen_utc_ns=first, last_seen_utc_ns=last, first_clear_look_utc_ns=clear,
        last_clear_look_utc_ns=last_clear, evidence=tuple(evidence.values())[:MOST_EVIDENCE],
        aliases=tuple(dict.fromkeys([*kept.aliases, *(n for c in rest for n in (c.id, *c.aliases))])),
        component=kept.component or best, clear_misses=min(c.clear_misses for c in ordered),
    )  # fmt: skip
    names = ", ".join(c.id for c in rest)
    changes = [
        CaseChange(kept.id, kept.revision, ChangeKind.UPDATED, after, stamp_ns, last, BATCH_ID, f"one with {names}")
    ]
    for case in rest:
        # The oldest of them joined nobody; what it has in common with the survivor is told of the survivor.
        reason = f"the same thing as {kept.id}: {whys.get(case.id) or whys[kept.id]}"
        gone = replace(
            case, revision=case.revision + 1, state=CaseState.MERGED, merged_into=kept.id, reason=reason,
        )  # fmt: skip
        changes.append(CaseChange(case.id, case.revision, ChangeKind.MERGED, gone, stamp_ns, last, BATCH_ID, reason))
    return changes


def remerge(
    cases: Sequence[Case],
    anchors: Sequence[Anchor],
    catalogue: Catalogue,
    params: RemergeParams | None = None,
    stamp_ns: int = 0,
) -> Remerged:
    """Solve a shift's cases together. The order of `cases` does not matter; changes come by the survivor's id.

    `stamp_ns` is what the changes are stamped with; their UTC is the last sight of what was merged. Cases that were
    merged, withdrawn or have no passes are left alone; resolved and rejected ones help to find the offsets only.
    """
    params = params or RemergeParams()
    used = sorted((c for c in cases if c.passes and c.state in _COUNTED), key=lambda c: c.id)
    if not used:
        return Remerged((), (), {}, {})
    street = _Street(used, {a.id: a for a in anchors}, catalogue, params)
    joint = street.solved()
    chance = detection_chance(street, joint)
    whys: dict[str, str] = {}
    for _ in range(params.most_rounds):
        bonds = _accepted(street, _bonds(street, joint, chance))
        if not bonds:
            break
        for bond in bonds:
            street.join(bond.a, bond.b)
            whys[used[bond.b].id] = bond.reason
        joint = street.solved()
    changes: list[CaseChange] = []
    for _, members in sorted(street.members.items()):
        if len(members) > 1:
            changes += _merged([used[i] for i in members], whys, stamp_ns)
    suspects = [s for k in sorted(street.members) if (s := _suspect(street, joint, k, chance)) is not None]
    places = {used[k].id: street.frame.to_geo(float(p[0]), float(p[1])) for k, p in joint.places.items()}
    offsets = {name: (float(o[0]), float(o[1])) for name, o in joint.mean_offsets().items()}
    groups = tuple(tuple(used[i].id for i in members) for _, members in sorted(street.members.items()))
    return Remerged(tuple(changes), tuple(suspects), places, offsets, groups)
