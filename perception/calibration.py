"""Confidence that means something: Platt's scaling of a detector's raw confidence, per class, as a card states it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

_EDGE = 1e-6
"""Raw confidences are kept this far from 0 and 1, where a logit has no end."""


@dataclass(frozen=True, slots=True)
class Platt:
    """calibrated = min(sigmoid(scale * logit(raw) + offset), cap) (Platt 1999); `scale` > 0 keeps the order."""

    scale: float
    offset: float
    cap: float = 1.0

    def __call__(self, raw: float) -> float:
        """Calibrated confidence of one raw confidence."""
        return min(float(expit(self.scale * logit(min(max(raw, _EDGE), 1 - _EDGE)) + self.offset)), self.cap)

    def raw(self, calibrated: float) -> float:
        """The raw confidence below the cap that becomes `calibrated`."""
        return float(expit((logit(calibrated) - self.offset) / self.scale))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's scaling by catalogue class; a class without one keeps its raw confidence, and says so.

    `prior_odds` are the odds, among the boxes it was fitted on, that a box was right: what a likelihood ratio divides
    by, so that how common a thing is here may differ from how common it was there. `class_prior_odds` overrides it.
    """

    prior_odds: float
    by_class: Mapping[str, Platt]
    class_prior_odds: Mapping[str, float] = field(default_factory=dict)

    def calibrates(self, class_name: str) -> bool:
        """Is the confidence of this catalogue class calibrated?"""
        return class_name in self.by_class

    def odds_before(self, class_name: str) -> float | None:
        """Prior odds behind the confidence of this class; None where the confidence is raw."""
        return self.class_prior_odds.get(class_name, self.prior_odds) if class_name in self.by_class else None

    def apply(
        self, confidence: NDArray[np.float32], class_id: NDArray[np.int32], class_names: tuple[str, ...]
    ) -> NDArray[np.float32]:
        """Calibrated confidences (N,) of boxes of `class_names[class_id]`."""
        rows = [self.by_class.get(name) for name in class_names]
        scale = np.array([1.0 if row is None else row.scale for row in rows])
        offset = np.array([0.0 if row is None else row.offset for row in rows])
        cap = np.array([1.0 if row is None else row.cap for row in rows])
        raw = np.clip(confidence.astype(np.float64), _EDGE, 1 - _EDGE)
        found = np.minimum(expit(scale[class_id] * logit(raw) + offset[class_id]), cap[class_id])
        known = np.array([row is not None for row in rows], np.bool_)
        return np.where(known[class_id], found, confidence).astype(np.float32)


def likelihood_ratio(confidence: float, prior_odds: float) -> float:
    """How much likelier such a box is where there is a thing than where there is none: odds over prior odds.

    `confidence` is calibrated; by Bayes' rule its odds are the ratio times the odds of the set it was fitted on.
    """
    inner = min(max(confidence, _EDGE), 1 - _EDGE)
    return math.exp(math.log(inner / (1 - inner)) - math.log(prior_odds))
