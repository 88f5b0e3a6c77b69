"""The measures of the benchmark: errors, honest ellipses, duplicates, false merges, and intervals over worlds.

Every measure takes samples grouped by world, because things of one street share its passes: an interval drawn over
single things would be far too narrow. Definitions: geolocation.md 6.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import CHI2_95_2D
from gnss.types import Array

DRAWS = 500
"""Bootstrap draws: the interval's ends are good to about a tenth of its width."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, and how many single samples it rests on; NaN when there is none."""

    value: float
    low: float
    high: float
    count: int


def bootstrap(worlds: Sequence[Array], statistic: Callable[[Array], float], seed: int) -> Estimate:
    """`statistic` of all rows, with the interval of resampling whole worlds with replacement (percentiles 2.5, 97.5).

    `worlds` holds one array (n, ...) of samples per world; worlds without samples are kept, they are draws too.
    """
    full = [w for w in worlds if len(w)]
    if not full:
        return Estimate(math.nan, math.nan, math.nan, 0)
    everything = np.concatenate(full)
    value = float(statistic(everything))
    rng = np.random.default_rng((seed, len(worlds)))
    drawn: list[float] = []
    for _ in range(DRAWS if len(worlds) > 1 else 0):
        rows = [worlds[i] for i in rng.integers(len(worlds), size=len(worlds)) if len(worlds[i])]
        if rows:
            drawn.append(float(statistic(np.concatenate(rows))))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), len(everything))


def rate(worlds: Sequence[Array], seed: int) -> Estimate:
    """Share of events: rows are (events, chances) per world. Interval as `bootstrap`.

    Where no world has an event (or every chance is one), resampling says nothing; the open end of the interval is then
    that of Clopper and Pearson, 1 - 0.025^(1/chances).
    """
    found = bootstrap([np.asarray(w, dtype=np.float64).reshape(-1, 2) for w in worlds], _share, seed)
    chances = int(sum(float(np.asarray(w).reshape(-1, 2)[:, 1].sum()) for w in worlds))
    low, high = found.low, found.high
    if chances and found.value in (0.0, 1.0):
        reach = 1.0 - 0.025 ** (1.0 / chances)
        low, high = (0.0, reach) if found.value == 0.0 else (1.0 - reach, 1.0)
    return Estimate(found.value, low, high, chances)


def _share(rows: Array) -> float:
    chances = float(rows[:, 1].sum())
    return float(rows[:, 0].sum()) / chances if chances else math.nan


def rmse(squares: Array) -> float:
    """Root of the mean of squared errors."""
    return math.sqrt(float(np.mean(squares)))


def rmse_ratio(rows: Array) -> float:
    """RMSE over floor: rows are (squared error, trace of the floor's covariance) in m2."""
    return math.sqrt(float(rows[:, 0].mean()) / float(rows[:, 1].mean()))


def quantile(share: float) -> Callable[[Array], float]:
    """The statistic "quantile `share`"."""
    return lambda values: float(np.quantile(values, share))


def nees(error_m: Array, cov_m2: Array) -> float:
    """Normalised squared error e' C^-1 e of one place: chi-square with two degrees of freedom when C is honest."""
    return float(error_m @ np.linalg.solve(cov_m2, error_m))


def coverage95(nees_values: Array) -> float:
    """Share of truths within the 95 % ellipse."""
    return float(np.mean(nees_values <= CHI2_95_2D))


def nees_per_dimension(nees_values: Array) -> float:
    """Mean NEES over two: 1 when covariances are honest, above when they are too small."""
    return float(np.mean(nees_values)) / 2.0


@dataclass(frozen=True, slots=True)
class Fusion:
    """Counts of one world: true objects, how many have a case, cases too many, cases that hold two objects or more."""

    objects: int
    found: int
    duplicates: int
    false_merges: int


def count_fusion(feeds: Mapping[str, Mapping[str, int]], objects: Iterable[str]) -> Fusion:
    """Duplicates and false merges of `feeds`: case id -> true object -> landmarks of it that went into the case.

    A case belongs to the object that fed it most (the first by name when two fed it equally). An object with n cases
    has n - 1 duplicates. A case fed by two objects, even once, is a false merge. Feeds by objects that are not in
    `objects` count for the merge, not for the duplicates.
    """
    wanted = set(objects)
    owners: Counter[str] = Counter()
    merges = 0
    for things in feeds.values():
        real = {thing: count for thing, count in things.items() if count > 0}
        if not real:
            continue
        merges += len(real) > 1
        owners[min(real, key=lambda thing: (-real[thing], thing))] += 1
    found = [thing for thing in wanted if owners[thing]]
    return Fusion(len(wanted), len(found), sum(owners[t] - 1 for t in found), merges)


def calibration_error(rows: Array, bins: int = 10) -> float:
    """Expected calibration error: rows are (probability, 1 if true); mean gap of both over bins of equal width."""
    index = np.minimum((rows[:, 0] * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = rows[index == b]
        if len(inside):
            total += len(inside) * abs(float(inside[:, 0].mean()) - float(inside[:, 1].mean()))
    return total / len(rows)
