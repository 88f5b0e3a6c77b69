"""Objects and pass offsets as one sparse least squares problem.

Unknowns: one place x (2,) for each object, one offset o (2,) for each stretch of a pass. A pass's position z of an
object with own covariance R says z = x - o + e, e ~ N(0, R). The offset is a Gauss-Markov process: o ~ N(0, common) at
the first stretch, o' = a o + w at the next, a = exp(-dt / tau), w ~ N(0, (1 - a^2) common). Solved in information form
with a sparse factor; residuals are reweighted (Huber) so that a wrong pairing does not move its neighbours. Source of
the form: Triggs et al., "Bundle adjustment - a modern synthesis" (2000), section 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from gnss.types import Array
from perception.fuse import GNSS_TAU_S

_STRETCH_S = 3.0
_HUBER = 2.5
_REWEIGHTINGS = 4
_BATCH = 128

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Where pass `pass_id` saw object `thing`: `place_m` (2,) east/north before the offset, `cov_own_m2` (2, 2).

    `time_s` is when, from any zero; the same for all of a pass when nobody knows.
    """

    thing: int
    pass_id: str
    place_m: Array
    cov_own_m2: Array
    time_s: float = 0.0

    @property
    def stretch(self) -> tuple[str, int]:
        """The pass and the number of the few seconds of it in which the offset counts as constant."""
        return self.pass_id, math.floor(self.time_s / _STRETCH_S)


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """The solution: `places` (2,) by object, `offsets` (2,) by pass and stretch (to add to what the pass saw)."""

    places: Mapping[int, Array]
    offsets: Mapping[tuple[str, int], Array]
    _sightings: Mapping[int, tuple[Sighting, ...]]
    _names: tuple[int, ...]
    _factor: Any
    _start: int
    _tree: cKDTree

    def near(self, reach_m: float) -> list[tuple[int, int]]:
        """Pairs of objects closer than `reach_m`, the smaller first, in order."""
        pairs = self._tree.query_pairs(reach_m)
        return sorted((min(self._names[i], self._names[j]), max(self._names[i], self._names[j])) for i, j in pairs)

    def neighbours(self, reach_m: float, of: Iterable[int]) -> dict[int, list[int]]:
        """Objects within `reach_m` of each of `of`, itself among them."""
        rows = sorted(of)
        found = self._tree.query_ball_point([self.places[k] for k in rows], reach_m)
        return {k: sorted(self._names[i] for i in near) for k, near in zip(rows, found, strict=True)}

    def gap_covs(self, pairs: Sequence[tuple[int, int]]) -> Array:
        """Covariance (N, 2, 2) of the gap between the objects of each pair, errors that they share taken out."""
        row = {name: self._start + 2 * i for i, name in enumerate(self._names)}
        size = self._start + 2 * len(self._names)
        found = np.zeros((len(pairs), 2, 2))
        for begin in range(0, len(pairs), _BATCH):
            some = pairs[begin : begin + _BATCH]
            wanted = np.zeros((size, 2 * len(some)))
            for i, (a, b) in enumerate(some):
                for axis in (0, 1):
                    wanted[row[a] + axis, 2 * i + axis] = 1.0
                    wanted[row[b] + axis, 2 * i + axis] = -1.0
            solved = self._factor.solve(wanted)
            for i, (a, b) in enumerate(some):
                columns = solved[:, 2 * i : 2 * i + 2]
                block = columns[row[a] : row[a] + 2] - columns[row[b] : row[b] + 2]
                found[begin + i] = (block + block.T) / 2
        return found

    def sightings_of(self, thing: int) -> list[tuple[str, Array, Array]]:
        """Pass id, place with its pass's offset (2,) and own covariance (2, 2) of each sight of an object."""
        rows = self._sightings.get(thing, ())
        return [(s.pass_id, s.place_m + self.offsets[s.stretch], s.cov_own_m2) for s in rows]

    def mean_offsets(self) -> dict[str, Array]:
        """Mean offset (2,) of each pass over its stretches."""
        rows: dict[str, list[Array]] = {}
        for (name, _), offset in self.offsets.items():
            rows.setdefault(name, []).append(offset)
        return {name: np.mean(found, axis=0) for name, found in rows.items()}


def solve(
    sightings: Sequence[Sighting],
    common_m2: Mapping[str, Array],
    fixed: Mapping[int, tuple[Array, Array]] | None = None,
) -> Joint:
    """Solve for all places and offsets. `common_m2` (2, 2) by pass id; `fixed` gives known places with covariances.

    Raises ValueError when there is no sighting.
    """
    if not sightings:
        raise ValueError("nothing was seen")
    names, stretches = sorted({s.thing for s in sightings}), sorted({s.stretch for s in sightings})
    start, size = 2 * len(stretches), 2 * (len(stretches) + len(names))
    at_stretch = {name: 2 * i for i, name in enumerate(stretches)}
    at_name = {name: start + 2 * i for i, name in enumerate(names)}
    x = np.array([at_name[s.thing] for s in sightings])
    o = np.array([at_stretch[s.stretch] for s in sightings])
    seen = np.array([s.place_m for s in sightings])
    weights = np.linalg.inv(np.array([s.cov_own_m2 for s in sightings]))
    information = {n: _inverse(common_m2[n] + 1e-9 * np.eye(2)) for n in {s.pass_id for s in sightings}}
    priors, links = _process(stretches, information)
    priors += [(at_name[k], _inverse(cov), mean) for k, (mean, cov) in (fixed or {}).items() if k in at_name]
    robust = np.ones(len(sightings))
    for _ in range(_REWEIGHTINGS):
        factor, answer = _step(x, o, seen, weights * robust[:, None, None], priors, links, size)
        rest = _pair(answer, x) - _pair(answer, o) - seen
        miss = np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", rest, weights, rest), 1e-12))
        robust = np.minimum(1.0, _HUBER / miss)
    places = {name: answer[at : at + 2].copy() for name, at in at_name.items()}
    offsets = {name: answer[at : at + 2].copy() for name, at in at_stretch.items()}
    tree = cKDTree(np.array([places[n] for n in names]))
    by_thing: dict[int, tuple[Sighting, ...]] = {}
    for sighting in sightings:
        by_thing[sighting.thing] = (*by_thing.get(sighting.thing, ()), sighting)
    return Joint(places, offsets, by_thing, tuple(names), factor, start, tree)


_Prior = tuple[int, Array, Array]
_Link = tuple[int, int, float, Array]


def _process(
    stretches: Sequence[tuple[str, int]], information: Mapping[str, Array]
) -> tuple[list[_Prior], list[_Link]]:
    """Priors of each pass's first stretch, and links (row, next row, a, information) of those that follow."""
    priors: list[_Prior] = []
    links: list[_Link] = []
    for i, (name, number) in enumerate(stretches):
        if i == 0 or stretches[i - 1][0] != name:
            priors.append((2 * i, information[name], np.zeros(2)))
        else:
            keep = math.exp(-(number - stretches[i - 1][1]) * _STRETCH_S / GNSS_TAU_S)
            links.append((2 * i - 2, 2 * i, keep, information[name] / (1.0 - keep**2)))
    return priors, links


def _inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _pair(vector: Array, at: Index) -> Array:
    return np.column_stack([vector[at], vector[at + 1]])


def _step(
    x: Index, o: Index, seen: Array, weights: Array, priors: Sequence[_Prior], links: Sequence[_Link], size: int
) -> tuple[Any, Array]:
    """Normal equations of the residual x - o - seen and their solution."""
    rows, columns, values = list[Index](), list[Index](), list[Array]()
    right = np.zeros(size)
    pull = np.einsum("nij,nj->ni", weights, seen)
    for i in (0, 1):
        np.add.at(right, x + i, pull[:, i])
        np.add.at(right, o + i, -pull[:, i])
        for j in (0, 1):
            for a, b, sign in ((x, x, 1.0), (o, o, 1.0), (x, o, -1.0), (o, x, -1.0)):
                rows.append(a + i)
                columns.append(b + j)
                values.append(sign * weights[:, i, j])
    blocks = [(at, at, information) for at, information, _ in priors]
    for at, information, mean in priors:
        right[at : at + 2] += information @ mean
    for at, then, keep, information in links:
        blocks += [(at, at, keep**2 * information), (then, then, information)]
        blocks += [(at, then, -keep * information), (then, at, -keep * information)]
    for a_block, b_block, block in blocks:
        for i in (0, 1):
            for j in (0, 1):
                rows.append(np.array([a_block + i]))
                columns.append(np.array([b_block + j]))
                values.append(np.array([block[i, j]]))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = coo_matrix(entries, shape=(size, size)).tocsc()
    # The matrix is symmetric and positive definite: an order for that keeps the factor of a whole city sparse.
    factor: Any = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor, factor.solve(right)
