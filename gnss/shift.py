"""By how much one clock is late against another, from two readings of one motion.

Both series tell the same quantity (a turn rate, a speed) up to scale and offset. The shift is where the second series,
moved, is best explained by the first, by least squares (the maximum of the correlation, with scale and offset as
unknowns). Its sigma comes from the curvature there and the noise of what is left, whose samples are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.types import Array

_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Shift:
    """`late_s` > 0: the second series' stamps are later than the first one's for the same moment; `sigma_s`: 1 sigma.

    `explained` (0..1): share of the second series' variance that the first explains at that shift. `samples`: how many
    went in. `scale`: the second series per unit of the first.
    """

    late_s: float
    sigma_s: float
    explained: float
    samples: int
    scale: float


def find_shift(
    first: tuple[Array, Array],
    second: tuple[Array, Array],
    sigma: Array | None = None,
    *,
    reach_s: float = 0.5,
    correlated: float = 1.0,
    huber: float = 2.0,
) -> Shift | None:
    """The shift between `first` (seconds (n,), values (n,)) and `second` (seconds (m,), values (m,)), within `reach_s`.

    `sigma` (m,): noise of each second value (alike when None). `correlated`: how many samples of the second series are
    one independent one. None where the motion tells nothing: too few samples, none within reach, or the best shift at
    the edge.
    """
    t, values = second
    weights = np.ones(len(t)) if sigma is None else 1.0 / np.maximum(sigma, 1e-12)
    inside = (t >= first[0][0] + reach_s) & (t <= first[0][-1] - reach_s)
    t, values, weights = t[inside], values[inside], weights[inside]
    if len(t) < 20:
        return None
    grid = np.arange(-reach_s, reach_s + 1e-9, _STEP_S)
    robust = np.ones(len(t))
    best, cost = 0.0, np.empty(len(grid))
    for _ in range(3):
        cost = np.array([_fit(first, t, values, weights * robust, g)[0] for g in grid])
        best = float(grid[int(np.argmin(cost))])
        left = np.abs(_fit(first, t, values, weights * robust, best)[2]) * weights
        limit = huber * max(1.4826 * float(np.median(left)), 1e-9)
        robust = np.sqrt(np.minimum(1.0, limit / np.maximum(left, 1e-12)))
    k = int(np.argmin(cost))
    if not 0 < k < len(grid) - 1:
        return None
    bend = (cost[k - 1] - 2.0 * cost[k] + cost[k + 1]) / _STEP_S**2
    if bend <= 0.0:
        return None
    late = best - _STEP_S * 0.5 * (cost[k + 1] - cost[k - 1]) / (cost[k - 1] - 2.0 * cost[k] + cost[k + 1])
    least, scale, _ = _fit(first, t, values, weights * robust, late)
    level = values - np.average(values, weights=(weights * robust) ** 2)
    whole = float((((weights * robust) * level) ** 2).sum())
    # chi2 = cost / noise^2: it rises by one at one sigma.
    noise2 = least / max(len(t) - 3, 1)
    sigma_s = math.sqrt(2.0 * noise2 * max(correlated, 1.0) / bend)
    return Shift(float(late), sigma_s, max(1.0 - least / max(whole, 1e-30), 0.0), len(t), scale)


def _fit(
    first: tuple[Array, Array], t: Array, values: Array, weights: Array, late_s: float
) -> tuple[float, float, Array]:
    """(weighted sum of squares, scale, residuals (m,)) of values = scale * first(t - late) + offset."""
    told = np.interp(t - late_s, *first)
    w2 = weights**2
    mean_a, mean_b = np.average(told, weights=w2), np.average(values, weights=w2)
    a, b = told - mean_a, values - mean_b
    scale = float((w2 * a * b).sum() / max(float((w2 * a * a).sum()), 1e-30))
    left = b - scale * a
    return float((w2 * left**2).sum()), scale, left
