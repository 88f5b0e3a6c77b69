"""How well two detectors agree: the share of boxes that have a twin within 1 px and 0.01."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
PX, CONFIDENCE = 1.0, 0.01


def twins(ours: Table, theirs: Table) -> int:
    """Number of pairs, each box used once; tables are (N, 6): x1, y1, x2, y2, confidence, class."""
    free = list(range(len(theirs)))
    count = 0
    for box in ours:
        for j in free:
            other = theirs[j]
            near = np.abs(box[:4] - other[:4]).max() <= PX and abs(box[4] - other[4]) <= CONFIDENCE
            if near and box[5] == other[5]:
                free.remove(j)
                count += 1
                break
    return count


def agreement(pairs: list[tuple[Table, Table]]) -> tuple[float, int]:
    """Share of all boxes of both sides that have a twin, and the number of boxes of the reference."""
    matched = sum(twins(ours, theirs) for ours, theirs in pairs)
    total = sum(len(ours) + len(theirs) for ours, theirs in pairs)
    return (2 * matched / total if total else 1.0), sum(len(theirs) for _, theirs in pairs)
