"""Average precision and its 95 % interval, in numpy.

AP is the mean, over recalls 0, 0.01 .. 1, of the best precision from there on (COCO's rule). The interval comes from
drawing pictures anew with replacement (Efron 1979): boxes of one picture are not independent, pictures nearly are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
RECALLS = np.linspace(0, 1, 101)
CONFIDENCE_95 = (2.5, 97.5)
REPLICATES = 1000


def average_precision(hit: Flags, boxes: int) -> float:
    """AP of detections in falling confidence, `hit` (N,), against `boxes` true ones; NaN when there are none."""
    if boxes == 0:
        return float("nan")
    return float(weighted_ap(hit, np.ones((1, len(hit))), np.array([float(boxes)]))[0])


def weighted_ap(hit: Flags, weight: Array, boxes: Array) -> Array:
    """AP per replicate: `hit` (N,) in falling confidence, `weight` (R, N) of each detection, `boxes` (R,) true ones.

    NaN where a replicate has no true box.
    """
    if not hit.any():
        return np.where(boxes > 0, 0.0, np.nan)
    found = np.cumsum(weight * hit, axis=1)
    seen = np.cumsum(weight, axis=1)
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.full(len(weight), np.nan)
    for row in np.flatnonzero(boxes > 0):
        at = np.searchsorted(found[row] / boxes[row], RECALLS - 1e-12)
        result[row] = np.append(envelope[row], 0.0)[at].mean()
    return result


def picture_draws(pictures: int, replicates: int, seed: int) -> Array:
    """How often each picture is drawn in each replicate, (R, pictures), the same for the same seed."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pictures, np.full(pictures, 1 / max(pictures, 1)), size=replicates).astype(np.float64)


def interval95(values: Array) -> tuple[float, float]:
    """The middle 95 % of replicates, NaN ones left out; (NaN, NaN) when none is left."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, CONFIDENCE_95)
    return float(low), float(high)
