"""Which class is taken for which, at the case thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.matching import EXCUSED_IOU, Look
from models.recipe import Recipe
from perception.boxes import iou

NOTHING = "nothing"


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """counts int (C + 1, C + 1): rows are true classes, columns detected ones; the last of each is `nothing`.

    A detection on no labelled object counts against `nothing` only where its source labels that class.
    """

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    def as_dict(self) -> dict[str, dict[str, int]]:
        """True name -> detected name -> count, without zeros."""
        return {
            true: {found: int(n) for found, n in zip(self.names, row, strict=True) if n}
            for true, row in zip(self.names, self.counts, strict=True)
        }


def confusion(looks: Sequence[Look], recipe: Recipe, thresholds: Mapping[str, float]) -> Confusion:
    """Match each detection above its class's threshold to the labelled box it overlaps most (IoU >= 0.5), any class."""
    names = (*recipe.classes, NOTHING)
    nothing = len(recipe.classes)
    least = np.array([thresholds[name] for name in recipe.classes])
    counts = np.zeros((len(names), len(names)), np.int64)
    for look in looks:
        picture, found = look.picture, look.found
        kept = np.flatnonzero(found.confidence >= least[found.class_id])
        kept = kept[np.argsort(-found.confidence[kept], kind="stable")]
        overlap = iou(found.xyxy[kept], picture.given[:, 1:])
        unknown = np.concatenate((picture.taught, picture.ignore))[:, 1:]
        excused = iou(found.xyxy[kept], unknown) >= EXCUSED_IOU
        source = recipe.source(picture.source)
        free = np.ones(len(picture.given), bool)
        for row, detection in enumerate(kept):
            own = int(found.class_id[detection])
            candidates = np.where(free, overlap[row], 0.0)
            if len(candidates) and candidates.max() >= 0.5:
                best = int(candidates.argmax())
                free[best] = False
                counts[int(picture.given[best, 0]), own] += 1
            elif recipe.classes[own] in source.exhaustive or (
                recipe.classes[own] in source.partial and not excused[row].any()
            ):
                counts[nothing, own] += 1
        for missed in picture.given[free, 0].astype(int):
            counts[missed, nothing] += 1
    return Confusion(names, counts)
