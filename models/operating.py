"""The operating point of a class: the confidence of the highest F1, and what precision and recall it brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluate import Scores, deciding


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A case threshold with the precision and recall it has on the pictures it is told of (NaN: not known there)."""

    confidence: float
    precision: float
    recall: float
    boxes: int


def best_points(scores: Scores, classes: Sequence[str], fallback: float) -> dict[str, OperatingPoint]:
    """The point of the highest F1 per class on the sets that may decide; `fallback` for a class scored nowhere."""
    chosen = {}
    for name in classes:
        confidence, hit, boxes = _pool(scores, name)
        if not hit.any():
            chosen[name] = OperatingPoint(fallback, float("nan"), float("nan"), boxes)
            continue
        order = np.argsort(-confidence, kind="stable")
        f1 = 2 * np.cumsum(hit[order]) / (np.arange(1, len(order) + 1) + boxes)
        chosen[name] = point_at(scores, name, float(confidence[order][int(f1.argmax())]))
    return chosen


def point_at(scores: Scores, name: str, threshold: float) -> OperatingPoint:
    """Precision and recall of a class at a threshold on the sets that may decide."""
    confidence, hit, boxes = _pool(scores, name)
    kept = hit[confidence >= threshold]
    precision = float(kept.mean()) if len(kept) else float("nan")
    recall = float(kept.sum() / boxes) if boxes else float("nan")
    return OperatingPoint(threshold, precision, recall, boxes)


def _pool(scores: Scores, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    mine = deciding(scores, name)
    pairs = [score.tally.hits() for score in mine]
    confidence = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0)
    hit = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0, bool)
    return confidence, hit, sum(score.boxes for score in mine)
