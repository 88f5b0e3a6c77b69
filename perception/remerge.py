"""At the end of a shift: all cases and all pass offsets solved together, duplicates merged, doubtful merges named.

Association sees one pass at a time, so a gate that one pass missed leaves a second case. Here every position that a
pass gave a case is one equation z = x - o + e (x: the object, o: the offset of the pass, e: the case's own error),
solved as one sparse least squares problem. Two cases are one when the evidence for it is strong; two things that one
pass saw at two places are never one. Pure: no clock, no file. Method: geolocation.md 8F-8G; the evidence is the
Savage-Dickey ratio (Dickey 1971), exact for linear Gaussian models; BIC is its limit when there is much data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from perception.approach import MOST_PASSES
from perception.bonds import accepted, bonds, detection_chance
from perception.casework import MOST_EVIDENCE
from perception.catalogue import Catalogue
from perception.existence import after_hit
from perception.fuse import aligned, fuse
from perception.groups import COUNTED_STATES, Groups, RemergeParams
from perception.joint import Joint
from perception.serial import triple
from perception.types import ACTIVE_STATES, Anchor, Case, CaseChange, CaseState, ChangeKind, PassPosition

__all__ = ["BATCH_ID", "RemergeParams", "Remerged", "Suspect", "remerge"]

BATCH_ID = "remerge"


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


def _suspect(street: Groups, joint: Joint, group: int, chance: float) -> Suspect | None:
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
    used = sorted((c for c in cases if c.passes and c.state in COUNTED_STATES), key=lambda c: c.id)
    if not used:
        return Remerged((), (), {}, {})
    street = Groups(used, {a.id: a for a in anchors}, catalogue, params)
    joint = street.solved()
    chance = detection_chance(street, joint)
    whys: dict[str, str] = {}
    for _ in range(params.most_rounds):
        found = accepted(street, bonds(street, joint, chance))
        if not found:
            break
        for bond in found:
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
