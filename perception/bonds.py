"""What speaks for two groups of cases being one thing: where they are, who saw which, how they look, what is around.

The evidence is the Savage-Dickey ratio (Dickey 1971), exact for linear Gaussian models; BIC is its limit when there is
much data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.groups import Groups, RemergeParams
from perception.joint import Joint
from perception.things import look_costs


def detection_chance(street: Groups, joint: Joint) -> float:
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


def _missed(street: Groups, a: int, b: int, chance: float) -> float:
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


def _alike(street: Groups, a: int, b: int) -> float:
    """Logarithm of how much better one thing explains how the two look; the scale is that of association."""
    looks = [[street.cases[i].appearance for i in street.members[k]] for k in (a, b)]
    size = max(len(look) for rows in looks for look in rows)
    tables = [np.sqrt(np.maximum([v for v in rows if len(v) == size], 0.0)) for rows in looks]
    if size == 0 or not all(len(t) for t in tables):
        return 0.0
    means = [table.mean(axis=0, keepdims=True) for table in tables]
    there = np.ones(1, dtype=np.bool_)
    return -0.5 * float(look_costs((means[0], there), (means[1], there))[0, 0])


def _density(street: Groups, joint: Joint, pair: tuple[int, int], near: Sequence[int]) -> float:
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
class Bond:
    """Two groups that may be one; `ln_evidence` is how much one thing explains them better than two."""

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


def bonds(street: Groups, joint: Joint, chance: float) -> list[Bond]:
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
        found.append(Bond(here - math.log(density) + told, a, b, float(np.hypot(*gap))))
    return sorted(found, key=lambda bond: (-bond.ln_evidence, bond.a, bond.b))


def accepted(street: Groups, found: Sequence[Bond]) -> list[Bond]:
    """Bonds to act on in this round: strong, each group once, and no rival nearly as good that it excludes."""
    params = street.params
    of: dict[int, list[Bond]] = {}
    for bond in found:
        of.setdefault(bond.a, []).append(bond)
        of.setdefault(bond.b, []).append(bond)
    used: set[int] = set()
    chosen = []
    for bond in found:
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
