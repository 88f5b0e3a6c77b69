"""Things from unlabelled bearings with rough ranges: which rays are of one thing, where it is, what is clutter.

Several cameras each report directions in which they saw something, with a guess of how far. Nobody says which ray of
one camera is which of another. Candidate places are where two rays meet in agreement with both ranges, and each ray's
own end. A candidate is opened and rays are given to it so that the posterior is greatest: a ray is of one thing or of
none (clutter), a thing has one ray of a camera at most (two things that one pass saw apart are never one). That is a
facility location problem, solved exactly as an integer program. perception/bearing_noise.py learns the noise and places
the things with one position offset per camera.

Method after Krylov, Kenny and Dahyot (2018, arXiv 1708.08417: pairwise meetings, an energy over them), with likelihoods
in place of energy weights. A camera that does not report a thing says nothing here: a lamp faces one way and a bus
hides it, so such misses are too alike to be multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix, hstack
from scipy.spatial import cKDTree

from gnss.types import Array
from perception.joint import Index

_GATE = 12.0
"""On the squared residual of one ray, two degrees of freedom: 99.75 % of true pairs pass."""
_THIN_M = 0.4
LEAST_RANGE_M = 0.5
_SETTLE_STEPS = 8
_LONGEST_STEP_M = 5.0
_GAP = 1e-3
_LN_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class BearingNoise:
    """1 sigma of a bearing, of the logarithm of a range, of a camera's position (each axis); clutter and how dense.

    `clutter` is the share of rays that are of nothing; `per_m2` how many things there are where cameras can see.
    """

    bearing_deg: float = 3.0
    ln_range: float = 0.4
    offset_m: float = 1.5
    clutter: float = 0.1
    per_m2: float = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Rays:
    """N rays: camera number (N,) from 0, its place (N, 2) east/north m, bearing (N,) rad from north, range (N,) m.

    Raises ValueError when shapes disagree or a range is not positive.
    """

    camera: Index
    place_m: Array
    bearing_rad: Array
    range_m: Array

    def __post_init__(self) -> None:
        count = len(self.camera)
        if self.place_m.shape != (count, 2) or self.bearing_rad.shape != (count,) or self.range_m.shape != (count,):
            raise ValueError("camera, place, bearing and range must have one row for each ray")
        if count and not (np.isfinite(self.range_m).all() and self.range_m.min() > 0.0):
            raise ValueError("ranges must be positive")

    def __len__(self) -> int:
        return len(self.camera)

    def ends(self) -> Array:
        """Where each ray ends (N, 2) when its range is right."""
        unit = np.column_stack([np.sin(self.bearing_rad), np.cos(self.bearing_rad)])
        return self.place_m + unit * self.range_m[:, None]

    def seen_m2(self) -> float:
        """Area within the longest usual range (95 % of them) of any camera."""
        reach = float(np.quantile(self.range_m, 0.95))
        low, high = self.place_m.min(axis=0) - reach, self.place_m.max(axis=0) + reach
        step = reach / 10.0
        axes = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
        cells = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        distance, _ = cKDTree(self.place_m).query(cells)
        return float((distance < reach).sum()) * step**2


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """What was found: place (2,) m with covariance (2, 2), its rays, and ln of how much better it explains them.

    The logarithm compares it with all of its rays being clutter.
    """

    place_m: Array
    cov_m2: Array
    rays: tuple[int, ...]
    ln_odds: float


def pulls(rays: Rays, at: Index, places: Array, noise: BearingNoise) -> tuple[Array, Array, Array, Array, Array]:
    """Residuals of bearing (rad) and ln range of rays `at` to places (..., 2), bearing variance, both gradients."""
    gap = places - rays.place_m[at]
    far = np.maximum(np.hypot(gap[..., 0], gap[..., 1]), LEAST_RANGE_M)
    turn = rays.bearing_rad[at] - np.arctan2(gap[..., 0], gap[..., 1])
    turn = (turn + math.pi) % (2.0 * math.pi) - math.pi
    deep = np.log(rays.range_m[at] / far)
    unit = gap / far[..., None]
    across = np.stack([unit[..., 1], -unit[..., 0]], axis=-1) / far[..., None]
    variance = math.radians(noise.bearing_deg) ** 2 + (noise.offset_m / far) ** 2
    return turn, deep, variance, across, unit / far[..., None]


def settle(rays: Rays, groups: Sequence[Sequence[int]], start: Array, noise: BearingNoise) -> tuple[Array, Array]:
    """Most likely place (G, 2) of each group of rays and its covariance (G, 2, 2), by Gauss-Newton from `start`."""
    at = np.array([r for group in groups for r in group], dtype=np.intp)
    of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    places = np.array(start, dtype=np.float64)
    information = np.zeros((len(groups), 2, 2))
    for _ in range(_SETTLE_STEPS):
        turn, deep, variance, across, along = pulls(rays, at, places[of], noise)
        wide = 1.0 / noise.ln_range**2
        information = np.tile(1e-6 * np.eye(2), (len(groups), 1, 1))
        pull = np.zeros((len(groups), 2))
        blocks = np.einsum("n,ni,nj->nij", 1.0 / variance, across, across) + wide * np.einsum(
            "ni,nj->nij", along, along
        )
        np.add.at(information, of, blocks)
        np.add.at(pull, of, across * (turn / variance)[:, None] + along * (wide * deep)[:, None])
        step = np.linalg.solve(information, pull[:, :, None])[:, :, 0]
        long = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
        places = places + step * np.minimum(1.0, _LONGEST_STEP_M / long)
    return places, np.asarray(np.linalg.inv(information), dtype=np.float64)


def _ln_clutter(rays: Rays, noise: BearingNoise) -> Array:
    """Logarithm (N,) of the density of each ray were it of nothing: any bearing, a range like all others."""
    logs = np.log(rays.range_m)
    spread = max(float(logs.std()), 0.1)
    per_camera = noise.clutter * len(rays) / len(np.unique(rays.camera))
    shape = -0.5 * ((logs - logs.mean()) / spread) ** 2 - math.log(spread) - 0.5 * _LN_2PI
    return np.asarray(math.log(per_camera) - _LN_2PI + shape)


def _squares(rays: Rays, places: Array, noise: BearingNoise) -> tuple[Array, Array]:
    """Squared residuals (N, H) of every ray to every place, and the logarithm of the likelihood."""
    every = np.arange(len(rays))[:, None]
    turn, deep, variance, _, _ = pulls(rays, every, places[None], noise)
    squared = turn**2 / variance + (deep / noise.ln_range) ** 2
    return squared, -0.5 * squared - _LN_2PI - 0.5 * np.log(variance) - math.log(noise.ln_range)


def candidates(rays: Rays, noise: BearingNoise) -> Array:
    """Candidate places (H, 2): the ends of rays, and where two rays of two cameras meet in agreement with ranges."""
    ends = rays.ends()
    near = cKDTree(ends).query_pairs(2.0 * float(rays.range_m.max()), output_type="ndarray")
    pairs = near[rays.camera[near[:, 0]] != rays.camera[near[:, 1]]]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    if not len(pairs):
        return ends
    met, _ = settle(rays, pairs.tolist(), ends[pairs].mean(axis=1), noise)
    worst = np.zeros(len(pairs))
    for side in (0, 1):
        turn, deep, variance, _, _ = pulls(rays, pairs[:, side], met, noise)
        worst = np.maximum(worst, turn**2 / variance + (deep / noise.ln_range) ** 2)
    places = np.concatenate([ends, met[worst < _GATE / 2]])
    tree, alive = cKDTree(places), np.ones(len(places), dtype=np.bool_)
    for i in range(len(places) - 1, -1, -1):  # of places that are as good as one, keep the last: a meeting of two
        if alive[i]:
            alive[[j for j in tree.query_ball_point(places[i], _THIN_M) if j < i]] = False
    return np.asarray(places[alive])


def _ln_room(rays: Rays, places: Array, share: Array, noise: BearingNoise) -> Array:
    """Logarithm (H,) of the posterior area of each place in m2 (Laplace), each ray counted by its `share` (N, H)."""
    every = np.arange(len(rays))[:, None]
    _, _, variance, across, along = pulls(rays, every, places[None], noise)
    information = np.einsum("rh,rhi,rhj->hij", share / variance, across, across)
    information += np.einsum("rh,rhi,rhj->hij", share / noise.ln_range**2, along, along)
    information += np.eye(2) / float(rays.range_m.max()) ** 2
    return np.asarray(_LN_2PI - 0.5 * np.log(np.linalg.det(information)))


def _opened(open_: Array, gain: Array, ray: Index, place: Index, camera: Index) -> NDArray[np.bool_]:
    """Which of the links (ray, place) are used in the best choice: an exact integer program over both."""
    count, links = len(open_), len(ray)
    ones = np.ones(links)
    column = np.arange(links)
    once = coo_matrix((ones, (ray, column)), shape=(int(ray.max()) + 1, links))
    slot, of = np.unique(camera[ray] * count + place, return_inverse=True)
    each = coo_matrix((ones, (of, column)), shape=(len(slot), links))
    is_open = coo_matrix((-np.ones(len(slot)), (np.arange(len(slot)), slot % count)), shape=(len(slot), count))
    nobody = csr_matrix((once.shape[0], count))
    solved = milp(
        -np.concatenate([open_, gain]),
        constraints=[
            LinearConstraint(hstack([nobody, once]).tocsr(), -np.inf, 1.0),
            LinearConstraint(hstack([is_open, each]).tocsr(), -np.inf, 0.0),
        ],
        integrality=np.ones(count + links),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": _GAP},
    )
    if solved.x is None:
        raise RuntimeError(f"no choice of things was found: {solved.message}")
    return np.asarray(solved.x[count:] > 0.5)


def find(rays: Rays, noise: BearingNoise) -> list[Thing]:
    """The most probable things, in the order of their places; rays of none are clutter. No rays: no things."""
    if not len(rays):
        return []
    places = candidates(rays, noise)
    squared, likely = _squares(rays, places, noise)
    gain = likely - _ln_clutter(rays, noise)[:, None]
    near = squared < _GATE
    share = near / (1.0 + np.exp(-np.clip(gain, -30.0, 30.0)))
    open_ = math.log(noise.per_m2) + _ln_room(rays, places, share, noise)
    ray, place = np.nonzero(near & (gain > 0.0))
    if not len(ray):
        return []
    used = _opened(open_, gain[ray, place], ray, place, rays.camera)
    groups: dict[int, list[int]] = {}
    for r, h in zip(ray[used].tolist(), place[used].tolist(), strict=True):
        groups.setdefault(h, []).append(r)
    names = sorted(groups)
    if not names:
        return []
    settled, covs = settle(rays, [groups[h] for h in names], places[names], noise)
    things = [
        Thing(settled[i], covs[i], tuple(groups[h]), float(open_[h] + gain[groups[h], h].sum()))
        for i, h in enumerate(names)
    ]
    return sorted(things, key=lambda t: (float(t.place_m[0]), float(t.place_m[1])))
