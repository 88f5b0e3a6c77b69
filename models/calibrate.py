"""What a confidence is worth: logistic calibration on pictures that neither trained nor validated the detector.

calibrated = sigmoid(scale * logit(raw) + offset), fitted by Platt's method (1999) with his smoothed targets, per class
where there are enough true detections, else for all such classes of one origin together. A class that photos never
taught or checked is capped: renders cannot say how sure a street may make one. Beside each fit stand the prior odds of
its sample (true to false detections), so that a user with another prevalence divides them out:
likelihood ratio = odds(calibrated) / prior odds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.evaluate import Scores, deciding

FLOOR = 0.05
"""Confidence from which detections are fitted: below it lies the sea of non-objects, and no pipeline looks there."""
ENOUGH_TRUE = 100
CAP = 0.98
RENDERED_CAP = 0.80
_STEPS = 60
_RIDGE = 1e-3
_EPS = 1e-6

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """One class's calibration. positives, detections: of the class's own sample; pooled: fitted with others."""

    scale: float
    offset: float
    cap: float
    positives: int
    detections: int
    prior_odds: float
    pooled: bool

    def raw(self, calibrated: float) -> float:
        """The raw confidence that becomes `calibrated`."""
        odds = (float(logit(np.array([calibrated]))[0]) - self.offset) / self.scale
        return float(1 / (1 + np.exp(-odds)))

    def apply(self, raw: Array) -> Array:
        """Calibrated confidence of raw ones (N,)."""
        return np.minimum(1 / (1 + np.exp(-(self.scale * logit(raw) + self.offset))), self.cap)


@dataclass(frozen=True, slots=True)
class Calibration:
    """All fits by class, the prior odds of the whole sample, and which pictures it came from (digest, number)."""

    classes: Mapping[str, Fit]
    prior_odds: float
    pictures: int
    held_out: str
    floor: float = FLOOR


@dataclass(frozen=True, slots=True)
class Sample:
    """Detections of one class: raw confidence and whether each was true."""

    confidence: Array = field(default_factory=lambda: np.zeros(0))
    hit: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))


def logit(confidence: Array) -> Array:
    """Log odds, with confidences kept off 0 and 1."""
    p = np.clip(confidence, _EPS, 1 - _EPS)
    return np.asarray(np.log(p / (1 - p)), np.float64)


def sample_of(scores: Scores, name: str, floor: float = FLOOR) -> Sample:
    """Detections of a class, at or above `floor`, on the sets that may decide."""
    pairs = [score.tally.hits() for score in deciding(scores, name)]
    if not pairs:
        return Sample()
    confidence, hit = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return Sample(confidence[confidence >= floor], hit[confidence >= floor])


def calibrate(scores: Scores, classes: Sequence[str], rendered: Set[str], pictures: int, held_out: str) -> Calibration:
    """Fit every class that the calibration pictures show; `rendered`: classes that photos never taught or checked."""
    samples = {name: sample for name in classes if (sample := sample_of(scores, name)).hit.any()}
    fits: dict[str, Fit] = {}
    for group in (set(samples) - set(rendered), set(samples) & set(rendered)):
        if not group:
            continue
        pool = Sample(
            np.concatenate([samples[name].confidence for name in sorted(group)]),
            np.concatenate([samples[name].hit for name in sorted(group)]),
        )
        together = platt(pool)
        for name in sorted(group):
            own = samples[name]
            enough = int(own.hit.sum()) >= ENOUGH_TRUE
            scale, offset = platt(own) if enough else together
            prior = prior_odds(own.hit if enough else pool.hit)
            cap = RENDERED_CAP if name in rendered else CAP
            fits[name] = Fit(scale, offset, cap, int(own.hit.sum()), len(own.hit), prior, not enough)
    everything = np.concatenate([s.hit for s in samples.values()]) if samples else np.zeros(0, np.bool_)
    return Calibration(fits, prior_odds(everything), pictures, held_out)


def platt(sample: Sample) -> tuple[float, float]:
    """(scale, offset) of the logistic fit, by Newton's method, a small ridge towards (1, 0); scale stays > 0."""
    x, true = logit(sample.confidence), sample.hit
    positives, negatives = int(true.sum()), int((~true).sum())
    target = np.where(true, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.array([1.0, 0.0])
    design = np.column_stack((x, np.ones_like(x)))
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (p - target) + _RIDGE * (weights - [1.0, 0.0])
        curvature = (design * (p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    return max(float(weights[0]), 1e-2), float(weights[1])


def prior_odds(hit: Flags) -> float:
    """True to false detections, each counted half a one up so that neither is ever none."""
    return (float(hit.sum()) + 0.5) / (float((~hit).sum()) + 0.5)


def calibration_error(confidence: Array, hit: Flags, bins: int = 10) -> float:
    """Expected calibration error: mean gap of confidence and share of true ones over equally filled bins."""
    if not len(confidence):
        return math.nan
    return float(sum(n * abs(c - share) for c, share, n in reliability(confidence, hit, bins)) / len(confidence))


def reliability(confidence: Array, hit: Flags, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean confidence, share of true ones, detections) of equally filled bins in rising confidence."""
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return [(float(confidence[part].mean()), float(hit[part].mean()), len(part)) for part in parts if len(part)]
