"""Which component of the city's register a thing is: joint likelihood of place (both errors) and type.

One thing: its components compete with "none of them". Many things of one shift: each component is one thing and each
thing at most one component, so their matches depend on each other; the probabilities are those of belief propagation
for data association (Williams and Lau, IEEE Trans. AES 50(4), 2014), which is exact for one thing and close for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from gnss.atlas import Atlas
from gnss.city import Component
from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.types import ComponentMatch

REGISTER_SIGMA_M = {"A": 0.5, "B": 1.0, "C": 10.0}
"""1 sigma per axis by accuracy class of the component register (CJJ/T 103 classes A, B, C; read as 1 sigma)."""

STRANGERS_PER_M2 = 1.0 / 200.0
"""How many things that the register does not have are met per square metre of street where one is looked for."""


def sigma_m(component: Component) -> float:
    """1 sigma per axis of a component's place; one without a class counts as B."""
    return REGISTER_SIGMA_M.get(component.accuracy_class or "B", 1.0)


def match_component(
    atlas: Atlas, codes: frozenset[str], lat_deg: float, lon_deg: float, cov_m2: Array, search_m: float
) -> ComponentMatch | None:
    """The register component of one of `codes` most likely to be the thing, against "none of them" (1 per 200 m2)."""
    found = [c for c in atlas.components_near(lat_deg, lon_deg, search_m) if c.code in codes]
    if not found:
        return None
    frame = LocalFrame(lat_deg, lon_deg)
    rows = [(density(c, frame, (0.0, 0.0), cov_m2), c.id, c.code) for c in found]
    rows.sort(key=lambda row: (-row[0], row[1]))
    everything = sum(row[0] for row in rows) + STRANGERS_PER_M2
    best = rows[0]
    second = rows[1] if len(rows) > 1 else None
    if best[0] / everything < 0.5:
        return None
    return ComponentMatch(
        best[1],
        best[2],
        best[0] / everything,
        None if second is None else second[1],
        0.0 if second is None else second[0] / everything,
    )


def density(component: Component, frame: LocalFrame, place_m: tuple[float, float], cov_m2: Array) -> float:
    """Likelihood per square metre that a thing at `place_m` of a frame, known with `cov_m2`, is this component."""
    east, north = frame.to_enu(component.lat_deg, component.lon_deg)
    gap = np.array([east - place_m[0], north - place_m[1]])
    total = cov_m2 + sigma_m(component) ** 2 * np.eye(2)
    square = float(gap @ np.linalg.solve(total, gap))
    return math.exp(-0.5 * square) / (2 * math.pi * math.sqrt(np.linalg.det(total)))


@dataclass(frozen=True, slots=True, eq=False)
class SeenThing:
    """A thing that a shift saw: `codes` are the component types it may be, `cov_m2` (2, 2) its uncertainty."""

    id: str
    codes: frozenset[str]
    lat_deg: float
    lon_deg: float
    cov_m2: Array


@dataclass(frozen=True, slots=True)
class RegisterParams:
    """Tuning: gates at `gate_sigmas` and `gate_m`; `seen_probability` of a component that still stands.

    `sure`: a match counts from this probability on. `ambiguous`: a component whose best thing, taken by another, was at
    least so likely its own is not called missing.
    """

    gate_sigmas: float = 4.0
    gate_m: float = 10.0
    seen_probability: float = 0.98
    strangers_per_m2: float = 1.0 / 2000.0
    sure: float = 0.5
    ambiguous: float = 0.05
    rounds: int = 200


@dataclass(frozen=True, slots=True)
class Shift:
    """What a shift says of the register. `matched` by seen id; `added` were seen and are not in the register.

    `missing` are in the register and were not seen; `ambiguous` are register ids (with the seen id they share) that
    cannot be told from a neighbour.
    """

    matched: dict[str, ComponentMatch]
    added: tuple[str, ...]
    missing: tuple[str, ...]
    ambiguous: tuple[tuple[str, str], ...]


def compare_shift(
    register: Sequence[Component], seen: Sequence[SeenThing], params: RegisterParams | None = None
) -> Shift:
    """Match all things of a shift with the register at once. `register`: the components whose place was looked at."""
    p = params or RegisterParams()
    whole = Shift({}, (), (), ())
    for rows, columns in _groups(register, seen, p):
        part = _compare([register[i] for i in rows], [seen[j] for j in columns], p)
        whole = Shift(
            whole.matched | part.matched, whole.added + part.added, whole.missing + part.missing,
            whole.ambiguous + part.ambiguous,
        )  # fmt: skip
    return whole


def _groups(
    register: Sequence[Component], seen: Sequence[SeenThing], p: RegisterParams
) -> list[tuple[list[int], list[int]]]:
    """Components and things that may have to do with each other, apart from the rest; each index once."""
    if not register or not seen:
        return [(list(range(len(register))), list(range(len(seen))))]
    near = cKDTree(_metres(register, register[0])).query_ball_tree(cKDTree(_metres(seen, register[0])), p.gate_m)
    pairs = np.array([(i, j) for i, found in enumerate(near) for j in found], dtype=np.intp).reshape(-1, 2)
    size = len(register) + len(seen)
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], len(register) + pairs[:, 1])), shape=(size, size))
    _, label = connected_components(links, directed=False)
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for index, name in enumerate(label.tolist()):
        rows, columns = groups.setdefault(name, ([], []))
        rows.append(index) if index < len(register) else columns.append(index - len(register))
    return list(groups.values())


def _compare(register: list[Component], seen: list[SeenThing], p: RegisterParams) -> Shift:
    """One group."""
    if not register or not seen:
        return Shift({}, tuple(s.id for s in seen), tuple(c.id for c in register), ())
    odds = _odds(register, seen, p)
    chance = _marginals(odds, p.rounds)
    rows, columns = linear_sum_assignment(-chance)
    pairs = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if chance[i, j] >= p.sure}
    matched = {seen[j].id: _match(register, chance[:, j], i) for j, i in sorted(pairs.items())}
    ambiguous, missing = [], []
    for i in sorted(set(range(len(register))) - set(pairs.values())):
        best = int(np.argmax(odds[i]))
        alone = odds[i, best] / (1.0 + odds[i, best])
        if alone >= p.sure and (best in pairs or chance[i, best] >= p.ambiguous):
            ambiguous.append((register[i].id, seen[best].id))
        else:
            missing.append(register[i].id)
    shared = {name for _, name in ambiguous}
    added = tuple(s.id for j, s in enumerate(seen) if j not in pairs and s.id not in shared)
    return Shift(matched, added, tuple(missing), tuple(ambiguous))


def _match(register: Sequence[Component], chance: Array, best: int) -> ComponentMatch:
    """The match of one seen thing, with the next likely component."""
    others = np.argsort(-chance, kind="stable")
    second = next((int(i) for i in others if i != best and chance[i] > 1e-4), None)
    return ComponentMatch(
        register[best].id,
        register[best].code,
        round(float(chance[best]), 4),
        None if second is None else register[second].id,
        0.0 if second is None else round(float(chance[second]), 4),
    )


def _metres(things: Sequence[Component] | Sequence[SeenThing], middle: Component) -> Array:
    """Places (N, 2) in metres east and north of one of them."""
    lats, lons = np.array([t.lat_deg for t in things]), np.array([t.lon_deg for t in things])
    return np.column_stack(LocalFrame(middle.lat_deg, middle.lon_deg).to_enu(lats, lons))


def _odds(register: Sequence[Component], seen: Sequence[SeenThing], p: RegisterParams) -> Array:
    """Odds (R, S) that a component and a thing are one, against the component unseen and the thing a stranger."""
    gap = _metres(seen, register[0])[None, :, :] - _metres(register, register[0])[:, None, :]
    own = np.array([sigma_m(c) ** 2 for c in register])[:, None, None, None] * np.eye(2)
    total = own + np.array([s.cov_m2 for s in seen])[None]
    square = np.einsum("rsi,rsij,rsj->rs", gap, np.linalg.inv(total), gap)
    likely = np.exp(-0.5 * square) / (2 * math.pi * np.sqrt(np.linalg.det(total)))
    alike = np.array([[c.code in s.codes for s in seen] for c in register])
    near = (square <= p.gate_sigmas**2) & (np.hypot(gap[..., 0], gap[..., 1]) <= p.gate_m)
    factor = p.seen_probability / ((1.0 - p.seen_probability) * p.strangers_per_m2)
    result: Array = np.where(alike & near, factor * likely, 0.0)
    return result


def _marginals(odds: Array, rounds: int) -> Array:
    """Probabilities (R, S) that component r is thing s; a row sums to 1 with "none of them"."""
    back = np.ones_like(odds)
    for _ in range(rounds):
        weighed = odds * back
        forth = odds / (1.0 + weighed.sum(axis=1, keepdims=True) - weighed)
        fresh = 1.0 / (1.0 + forth.sum(axis=0, keepdims=True) - forth)
        moved = float(np.abs(fresh - back).max())
        back = fresh
        if moved < 1e-9:
            break
    weighed = odds * back
    result: Array = weighed / (1.0 + weighed.sum(axis=1, keepdims=True))
    return result
