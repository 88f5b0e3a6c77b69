"""Does it exist? Bernoulli existence, one look per approach, persistence by class.

Formulas: geolocation.md 3.3 and 8H. Frames of one approach are correlated, so they make groups of `group_s`, and a
whole approach never counts for more than `most_pass_pd`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from perception.catalogue import ObjectClass
from perception.types import Observation

FLOOR, CEILING = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class ExistenceParams:
    """Tuning of existence and of clear looks."""

    birth: float = 0.25
    group_s: float = 0.4
    most_group_ratio: float = 6.0
    correlated_groups: float = 3.0
    group_pd: float = 0.75
    least_missed: int = 2
    missed_pd: float = 0.6
    most_pass_pd: float = 0.95
    false_pass: float = 0.05
    open_at: float = 0.95
    resolve_at: float = 0.02
    least_height_px: float = 20.0
    least_flat_px: float = 4.0
    least_flat_size_px: float = 14.0
    farthest_m: float = 25.0
    farthest_flat_m: float = 15.0
    most_covered: float = 0.25
    least_sharpness: float = 15.0


def clipped(probability: float) -> float:
    """Existence is never certain: [0.001, 0.999]."""
    return min(max(probability, FLOOR), CEILING)


def track_existence(
    observations: Sequence[Observation],
    threshold: float,
    params: ExistenceParams,
    missed_ns: Sequence[int] = (),
    prior_odds: float | None = None,
) -> float:
    """Probability that a track is a real thing of its class, from its own boxes and from those that it lacks.

    Each group of frames counts once, by its mean confidence relative to the class's case threshold (the point where a
    box is as likely right as wrong), damped because groups of one approach share the same mistake. A group in which
    the thing should have been seen and never was (`missed_ns`) counts against it: a shadow that a detector names for
    half a second is not there for the next.
    """
    groups: dict[int, list[float]] = {}
    for o in observations:
        groups.setdefault(int((o.stamp_ns - observations[0].stamp_ns) * 1e-9 / params.group_s), []).append(o.confidence)
    # Calibrated: log of odds over prior odds is the likelihood ratio. Raw: at its threshold a box is worth e to 1.
    raw_at = math.log(max(threshold, 0.02) / max(1.0 - threshold, 0.02)) - 1.0
    logit_at = raw_at if prior_odds is None else math.log(prior_odds)
    total = math.log(params.birth / (1.0 - params.birth))
    gains = []
    for values in groups.values():
        best = min(max(sum(values) / len(values), 0.01), 0.99)
        gains.append(max(-1.0, min(math.log(best / (1.0 - best)) - logit_at, math.log(params.most_group_ratio))))
    lacking = Counter(int((ns - observations[0].stamp_ns) * 1e-9 / params.group_s) for ns in missed_ns)
    against = math.log((1.0 - params.missed_pd) / (1.0 - params.false_pass))
    gains += [against for group, count in lacking.items() if group not in groups and count >= params.least_missed]
    total += sum(gains) / math.sqrt(max(1.0, len(gains) / params.correlated_groups))
    return clipped(1.0 / (1.0 + math.exp(-total)))


def survived(existence: float, shape: ObjectClass, elapsed_s: float) -> float:
    """Existence after `elapsed_s` without a look: exponential survival with the class's mean life."""
    return clipped(existence * math.exp(-max(elapsed_s, 0.0) / (shape.survival_h * 3600.0)))


def after_hit(existence: float, landmark_existence: float, birth: float = 0.5) -> float:
    """Combine with a detection of another approach: odds multiply by what the new track adds to its prior `birth`."""
    told = landmark_existence / (1 - landmark_existence) / (birth / (1 - birth))
    odds = existence / (1 - existence) * max(told, 1.0)
    return clipped(odds / (1 + odds))


def after_miss(existence: float, pass_pd: float, params: ExistenceParams) -> float:
    """r(1-pD) / (1 - r pD) for a clear look that did not find it, with a pass's false alarms in the denominator."""
    kept = existence * (1.0 - pass_pd)
    return clipped(kept / (kept + (1.0 - existence) * (1.0 - params.false_pass)))
