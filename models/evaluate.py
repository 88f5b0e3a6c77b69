"""How well a detector does: per class and set of pictures, on what the exported ONNX file says.

A class is scored only on sources whose own labels list it. Where such a source is partial, a detection that a teacher
agrees with counts neither way; the strict figure, without that excuse, stands beside it. Teacher labels are scored
apart, as agreement, never as truth. A source without a licence is reported on and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from models.figures import REPLICATES, interval95, picture_draws
from models.matching import IOUS, Look, Tally, tally
from models.recipe import Recipe, Source

POOLED = "photos"
SIZES_PX: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0),
    "medium": (32.0, 96.0),
    "large": (96.0, float("inf")),
}
"""COCO's bounds, here of the root of the area in the network's input, which is what the network sees."""


class Role(StrEnum):
    """What a set of pictures may decide."""

    GIVEN = "given labels"
    AGREEMENT = "agreement with the teacher"
    REPORT = "report only"


@dataclass(frozen=True, slots=True, eq=False)
class ClassScore:
    """One class on one set. low, high: 95 % interval of ap50 over pictures; sizes: (AP50, boxes) by name."""

    ap50: float
    ap50_95: float
    strict_ap50: float
    low: float
    high: float
    boxes: int
    pictures: int
    sizes: Mapping[str, tuple[float, int]]
    tally: Tally

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be said is null."""
        sizes = {name: {"ap50": _plain(ap), "boxes": boxes} for name, (ap, boxes) in self.sizes.items()}
        numbers = ("ap50", "ap50_95", "strict_ap50", "low", "high")
        plain = {name: _plain(getattr(self, name)) for name in numbers}
        return {**plain, "boxes": self.boxes, "pictures": self.pictures, "sizes": sizes}


@dataclass(frozen=True, slots=True)
class SetScores:
    """Scores by class name of one set; rendered: its pictures were made by a program."""

    role: Role
    rendered: bool
    classes: Mapping[str, ClassScore]


Scores = Mapping[str, SetScores]


def evaluate(looks: Sequence[Look], recipe: Recipe, replicates: int = REPLICATES, seed: int = 0) -> Scores:
    """Scores by set: "photos" (all photo sources that may decide), each source, and each source's teacher agreement."""
    by_source: dict[str, list[Look]] = {}
    for look in looks:
        by_source.setdefault(look.picture.source, []).append(look)
    sources = [recipe.source(name) for name in sorted(by_source)]
    photos = [s for s in sources if not s.rendered and not s.report_only]
    sets: dict[str, SetScores] = {}
    pooled = {}
    for name in recipe.classes:
        listing = [look for s in photos if name in s.listed for look in by_source[s.name]]
        if (score := _score(listing, recipe, name, replicates, seed)) is not None:
            pooled[name] = score
    if pooled:
        sets[POOLED] = SetScores(Role.GIVEN, False, pooled)
    for source in sources:
        sets |= _source_sets(source, by_source[source.name], recipe, replicates, seed)
    return sets


def _source_sets(
    source: Source, looks: Sequence[Look], recipe: Recipe, replicates: int, seed: int
) -> dict[str, SetScores]:
    made: dict[str, SetScores] = {}
    given = {n: s for n in source.listed if (s := _score(looks, recipe, n, replicates, seed)) is not None}
    if given:
        role = Role.REPORT if source.report_only else Role.GIVEN
        name = f"{source.name} ({role.value})" if source.report_only else source.name
        made[name] = SetScores(role, source.rendered, dict(sorted(given.items())))
    taught = [n for n in source.pseudo if n not in given]
    agreed = {n: s for n in taught if (s := _score(looks, recipe, n, replicates, seed, taught=True)) is not None}
    if agreed:
        made[f"{source.name} ({Role.AGREEMENT.value})"] = SetScores(Role.AGREEMENT, source.rendered, agreed)
    return made


def _score(
    looks: Sequence[Look], recipe: Recipe, name: str, replicates: int, seed: int, *, taught: bool = False
) -> ClassScore | None:
    if not looks:
        return None
    counted = tally(looks, recipe, name, taught=taught)
    return score_of(counted, replicates, seed) if counted.boxes else None


def score_of(counted: Tally, replicates: int = REPLICATES, seed: int = 0) -> ClassScore:
    """All figures of one tally."""
    aps = [counted.ap(row) for row in range(len(IOUS))]
    draws = picture_draws(counted.pictures, replicates, seed)
    low, high = interval95(counted.replicates(draws)) if replicates else (float("nan"), float("nan"))
    sizes = {name: counted.sized(*bounds) for name, bounds in SIZES_PX.items()}
    return ClassScore(
        aps[0], float(np.mean(aps)), counted.ap(strict=True), low, high, counted.boxes, counted.pictures, sizes, counted
    )


def deciding(scores: Scores, name: str) -> list[ClassScore]:
    """Scores of a class that may decide: photos if there are, else the sources, else agreement with the teacher."""
    pooled = scores.get(POOLED)
    if pooled is not None and name in pooled.classes:
        rendered = [s.classes[name] for s in scores.values() if s.rendered and name in s.classes]
        return [pooled.classes[name], *rendered]
    for role in (Role.GIVEN, Role.AGREEMENT):
        if found := [s.classes[name] for s in scores.values() if s.role is role and name in s.classes]:
            return found
    return []


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
