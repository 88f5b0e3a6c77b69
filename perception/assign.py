"""Which landmark is which known thing: minus twice the log posterior of pairs, one assignment, doubts kept apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gnss.types import Array
from perception.align import Alignment
from perception.catalogue import Catalogue
from perception.things import UNLIKE, Known, Sights, class_costs, look_costs
from perception.votes import Prior, Votes, dets, squares

FORBIDDEN = 1e9


@dataclass(frozen=True, slots=True)
class AssignParams:
    """Tuning of the assignment; `gate` is on squared Mahalanobis distance with 2 degrees of freedom.

    Costs are minus twice a log probability, so a near tie is `near_odds` to one or less. `seen` is the chance that a
    pass sees a thing that is there.
    """

    gate: float = 25.0
    class_penalty: float = 4.0
    near_odds: float = 10.0
    new_per_m2: float = 2e-4
    seen: float = 0.9

    @property
    def birth(self) -> float:
        """Cost of "nobody knew this thing"."""
        return -2.0 * math.log(self.new_per_m2)

    @property
    def near_tie(self) -> float:
        """Cost between a choice and its rival below which it is too close to call."""
        return 2.0 * math.log(self.near_odds)


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """Landmarks and known things that may be one by class: class and look costs (L, K), UNLIKE where they may not."""

    sights: Sights
    known: Known
    kind: Array

    @staticmethod
    def of(sights: Sights, known: Known, catalogue: Catalogue, params: AssignParams) -> Pairing:
        """Compare everything with everything."""
        classes = class_costs([m.class_name for m in sights.marks], [t.class_name for t in known.things], catalogue)
        kind = np.where(classes < UNLIKE, params.class_penalty * classes, UNLIKE)
        return Pairing(sights, known, kind + look_costs(sights.looks, known.looks))

    def votes(self, prior: Prior, params: AssignParams, *, absolute: bool = False) -> Votes:
        """Pairs that may tell the pass offset: steady landmarks against what this very pass has not touched yet.

        `absolute`: the known things are of the register, so that their own error does not leave the offset.
        """
        sights, known = self.sights, self.known
        open_ = (self.kind < UNLIKE / 2) & sights.steady[:, None] & ~known.mine[None, :]
        open_ &= np.abs(known.place_m[None, :, 0] - sights.place_m[:, None, 0] - prior.mean_m[0]) < 60.0
        open_ &= np.abs(known.place_m[None, :, 1] - sights.place_m[:, None, 1] - prior.mean_m[1]) < 60.0
        row, column = np.nonzero(open_)
        theirs = known.own_m2[column]
        return Votes(
            row, column, sights.time_s[row], known.place_m[column] - sights.place_m[row],
            sights.own_m2[row] + theirs, theirs if absolute else np.zeros_like(theirs),
            known.weight[column] * np.exp(-0.5 * self.kind[row, column]),
        )  # fmt: skip

    def costs(self, alignment: Alignment, params: AssignParams) -> Array:
        """Minus twice the log posterior (L, K) of each pair, up to a constant shared with `AssignParams.birth`."""
        sights, known = self.sights, self.known
        offset, spread, _ = alignment.at(sights.time_s)
        cost = np.full(self.kind.shape, FORBIDDEN)
        row, column = np.nonzero((self.kind < UNLIKE / 2) & sights.still[:, None])
        gap = known.place_m[column] - sights.place_m[row] - offset[row]
        total = sights.own_m2[row] + known.own_m2[column] + spread[row] + sights.slack_m2[row]
        # What this very pass has touched shares all of its GNSS error: only what is each place's own counts.
        mine = known.mine[column]
        gap[mine] = known.mine_m[column[mine]] - sights.place_m[row[mine]]
        total[mine] = sights.own_m2[row[mine]] + known.mine_m2[column[mine]] + sights.slack_m2[row[mine]]
        squared = squares(gap, total)
        good = squared < params.gate
        row, column, squared, total = row[good], column[good], squared[good], total[good]
        likely = squared + np.log(dets(total)) + 2.0 * math.log(2.0 * math.pi)
        cost[row, column] = likely - 2.0 * np.log(known.weight[column]) + self.kind[row, column]
        return cost


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """`pairs`: landmark -> known thing. `doubtful`: landmarks that may as well be another thing, or a new one.

    `spared`: known things that a doubtful landmark may be, so that nobody may say they were not there.
    """

    pairs: Mapping[int, int]
    doubtful: frozenset[int]
    spared: frozenset[int]


def assign(cost: Array, params: AssignParams) -> Assignment:
    """The cheapest assignment of costs (L, K) against birth; what is not clear by `near_odds` is left undecided."""
    pairs: dict[int, int] = {}
    doubtful: set[int] = set()
    spared: set[int] = set()
    rows, columns = np.nonzero(cost < FORBIDDEN)
    if not len(rows):
        return Assignment({}, frozenset(), frozenset())
    count = sum(cost.shape)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns + len(cost))), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    for group in np.unique(label[rows]).tolist():
        mine, theirs = np.flatnonzero(label[: len(cost)] == group), np.flatnonzero(label[len(cost) :] == group)
        local = cost[np.ix_(mine, theirs)]
        chosen, unsure, spare = _solve(local, params)
        pairs |= {int(mine[r]): int(theirs[c]) for r, c in chosen.items() if r not in unsure}
        doubtful |= {int(mine[r]) for r in unsure}
        spared |= {int(theirs[c]) for c in spare}
    return Assignment(pairs, frozenset(doubtful), frozenset(spared))


def _best(cost: Array, birth: float) -> tuple[float, dict[int, int]]:
    """Total and pairs of the cheapest assignment, births included."""
    if cost.shape == (1, 1):
        return (float(cost[0, 0]), {0: 0}) if cost[0, 0] < birth else (birth, {})
    count = len(cost)
    own = np.full((count, count), FORBIDDEN)
    np.fill_diagonal(own, birth)
    padded = np.concatenate([cost, own], axis=1)
    rows, columns = linear_sum_assignment(padded)
    total = float(padded[rows, columns].sum())
    return total, {int(r): int(c) for r, c in zip(rows, columns, strict=True) if c < cost.shape[1]}


def _solve(cost: Array, params: AssignParams) -> tuple[dict[int, int], set[int], set[int]]:
    """One group of entangled landmarks: its pairs, those too close to call, and the things these may be.

    A landmark's choice is compared with the best assignment that forbids it (min-marginals), so two twins that are both
    seen are no doubt, while one of them alone is.
    """
    birth = params.birth
    total, pairs = _best(cost, birth)
    unsure: set[int] = set()
    spare: set[int] = set()
    for row in range(len(cost)):
        other = cost.copy()
        if row in pairs:
            other[row, pairs[row]] = FORBIDDEN
            rival, others = _best(other, birth)
        else:
            others_cost, others = _forced(other, row, birth)
            rival = others_cost
        if rival - total < params.near_tie:
            unsure.add(row)
            spare |= {pairs[row]} if row in pairs else set()
            spare |= {c for r, c in others.items() if pairs.get(r) != c}
    return pairs, unsure, spare


def _forced(cost: Array, row: int, birth: float) -> tuple[float, dict[int, int]]:
    """The cheapest assignment in which `row` is no birth."""
    total, pairs = math.inf, dict[int, int]()
    for column in np.flatnonzero(cost[row] < FORBIDDEN).tolist():
        rest = np.delete(np.delete(cost, row, axis=0), column, axis=1)
        value, chosen = _best(rest, birth) if rest.size else (birth * len(rest), {})
        if value + cost[row, column] < total:
            total = value + float(cost[row, column])
            pairs = {r + (r >= row): c + (c >= column) for r, c in chosen.items()} | {row: column}
    return total, pairs
