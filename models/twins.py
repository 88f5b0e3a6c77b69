"""Do two forms of one detector see the same? An engine against its checkpoint, or one precision against another.

Both look at the same validation pictures. A checkpoint and its engine must agree in mAP (mean AP over IoU 0.5..0.95 and
classes) to half a point; an 8-bit twin may lose half a point of AP50 on the mean of the classes with many boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.dataset import read_indices
from models.errors import TrainingSetupError
from models.evaluate import POOLED, ClassScore, Scores, evaluate
from models.matching import look_at
from models.measure import Tell, open_predictor
from models.recipe import Recipe
from perception.decode import Decoded
from perception.types import Image

MANY_BOXES = 100
LIMIT = 0.005
"""Half a point of (m)AP."""


@dataclass(frozen=True, slots=True)
class Twin:
    """One class on both sides, and how many true boxes say so."""

    name: str
    boxes: int
    ap50: tuple[float, float]
    ap50_95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Twins:
    """Engine first, reference second. by_map: the verdict is about mAP, else about AP50 of classes with many boxes."""

    rows: tuple[Twin, ...]
    by_map: bool

    @property
    def mean_ap(self) -> tuple[float, float]:
        """mAP over all scored classes."""
        return _mean([row.ap50_95 for row in self.rows])

    @property
    def mean_ap50(self) -> tuple[float, float]:
        """Mean AP50 over classes with at least MANY_BOXES boxes; NaN when there are none."""
        return _mean([row.ap50 for row in self.rows if row.boxes >= MANY_BOXES])

    @property
    def gap(self) -> float:
        """How much the engine lost of the figure that decides, negative when it gained."""
        engine, reference = self.mean_ap if self.by_map else self.mean_ap50
        return reference - engine

    @property
    def agree(self) -> bool:
        """Whether the gap is within half a point (either way for a checkpoint); nothing measured is no agreement."""
        return bool((abs(self.gap) if self.by_map else self.gap) <= LIMIT)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = {r.name: {"boxes": r.boxes, "ap50": list(r.ap50), "ap50_95": list(r.ap50_95)} for r in self.rows}
        figures = {"map": list(self.mean_ap), f"ap50_of_{MANY_BOXES}_boxes": list(self.mean_ap50)}
        decides = "map" if self.by_map else f"ap50_of_{MANY_BOXES}_boxes"
        return {**figures, "decides": decides, "gap": self.gap, "limit": LIMIT, "agree": self.agree, "classes": rows}


def compare_engines(
    recipe: Recipe, engine: Path, reference: Path, prepared: Sequence[Path], threads: int = 2, tell: Tell | None = None
) -> Twins:
    """Score an ONNX file and a reference (checkpoint or ONNX) on the validation pictures that may decide.

    Raises TrainingSetupError when a file is missing, was made for other classes, or there are no pictures.
    """
    licensed = {source.name for source in recipe.trained}
    pictures = [p for p in read_indices(prepared, "val", recipe.classes) if p.source in licensed]
    if not pictures:
        raise TrainingSetupError("no validation pictures in the prepared folders", remedy="prepare at least one source")
    ours: Callable[[Image], Decoded] = open_predictor(recipe, engine, threads)
    theirs: Callable[[Image], Decoded]
    if reference.suffix == ".onnx":
        theirs = open_predictor(recipe, reference, threads)
    else:
        from models.oracle import checkpoint_predictor

        theirs = checkpoint_predictor(recipe, reference)
    sides = []
    for name, predict in (("engine", ours), ("reference", theirs)):
        told = None if tell is None else _bound(tell, name)
        sides.append(_by_class(evaluate(look_at(predict, pictures, told), recipe, replicates=0)))
    rows = tuple(
        Twin(n, a.boxes, (a.ap50, b.ap50), (a.ap50_95, b.ap50_95)) for n, a in sides[0].items() for b in [sides[1][n]]
    )
    return Twins(rows, by_map=reference.suffix != ".onnx")


def twins_text(found: Twins) -> str:
    """The comparison as a person reads it."""
    lines = [f"{'class':<24}{'boxes':>6}   AP50 engine, reference   AP50-95 engine, reference"]
    for row in found.rows:
        lines.append(
            f"{row.name:<24}{row.boxes:6d}   {row.ap50[0]:.3f}  {row.ap50[1]:.3f}             "
            f"{row.ap50_95[0]:.3f}  {row.ap50_95[1]:.3f}"
        )
    lines.append("mAP of all classes: engine {:.4f}, reference {:.4f}".format(*found.mean_ap))
    engine, reference = found.mean_ap50
    lines.append(f"mean AP50 of classes with {MANY_BOXES} boxes: engine {engine:.4f}, reference {reference:.4f}")
    verdict, figure = "agree" if found.agree else "DO NOT AGREE", "mAP" if found.by_map else "AP50"
    lines.append(f"{verdict}: {100 * found.gap:+.2f} points of {figure} lost, allowed {100 * LIMIT}")
    return "\n".join(lines)


def _by_class(scores: Scores) -> dict[str, ClassScore]:
    """Photos where a class has some, rendered pictures where not."""
    rendered = [one for one in scores.values() if one.rendered]
    table = {name: score for one in rendered for name, score in one.classes.items()}
    return {**table, **(scores[POOLED].classes if POOLED in scores else {})}


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if not pairs:
        return float("nan"), float("nan")
    engine, reference = np.mean(np.array(pairs), axis=0)
    return float(engine), float(reference)


def _bound(tell: Tell, name: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(name, done, total)
