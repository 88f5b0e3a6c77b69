"""How many people a detector finds, because redaction leans on it: against the teacher, and against hand-made boxes.

No source labels people, so there is no AP to give that would not be the teacher's opinion. What can be said is the
share of the teacher's sure people, and of those somebody drew by hand, that is found at the privacy threshold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.dataset import Picture
from models.errors import TrainingSetupError
from models.figures import interval95, picture_draws
from models.matching import Look, of_class
from models.recipe import Recipe
from perception.boxes import Boxes, iou, letterbox

HEIGHTS_PX: Mapping[str, tuple[float, float]] = {
    "all": (0.0, float("inf")),
    "under 20 px": (0.0, 20.0),
    "20 to 32 px": (20.0, 32.0),
    "32 px and taller": (32.0, float("inf")),
}
"""Heights of people in the network's input."""
FOUND_IOU = 0.5


@dataclass(frozen=True, slots=True)
class PeopleRecall:
    """Share of true people found at a confidence, with its 95 % interval over pictures."""

    against: str
    height: str
    confidence: float
    recall: float
    low: float
    high: float
    people: int
    pictures: int


def read_hand_boxes(path: Path) -> dict[str, Boxes]:
    """Picture file name -> boxes of all people in it, xyxy px (N, 4), from JSON lines {"image", "boxes"}."""
    table: dict[str, Boxes] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            table[str(entry["image"])] = np.asarray(entry["boxes"], np.float32).reshape(-1, 4)
        except (ValueError, KeyError, TypeError) as error:
            remedy = 'write {"image": "NAME.jpg", "boxes": [[x1, y1, x2, y2]]}'
            raise TrainingSetupError("not a line of boxes", file=path, line=number, remedy=remedy) from error
    return table


def people_recall(
    looks: Sequence[Look], recipe: Recipe, confidence: float, hand: Mapping[str, Boxes] | None, replicates: int
) -> list[PeopleRecall]:
    """Recall of the recipe's person classes against the teacher's labels, and against hand-made boxes where given."""
    indices = [recipe.classes.index(name) for name in recipe.privacy_person]
    rows = []
    photos = [look for look in looks if not recipe.source(look.picture.source).rendered]
    rendered = [look for look in looks if recipe.source(look.picture.source).rendered]
    for against, chosen, truths in (
        ("the teacher", photos, [_boxes(look.picture.taught, indices) for look in photos]),
        ("rendered labels", rendered, [_boxes(look.picture.given, indices) for look in rendered]),
        ("hand-made boxes", *_by_hand(photos, hand or {})),
    ):
        if sum(map(len, truths)):
            rows += _recalls(against, chosen, truths, recipe, indices, confidence, replicates)
    return rows


def _by_hand(looks: Sequence[Look], hand: Mapping[str, Boxes]) -> tuple[list[Look], list[Boxes]]:
    chosen = [look for look in looks if look.picture.path.name in hand]
    return chosen, [hand[look.picture.path.name] for look in chosen]


def _boxes(rows: npt.NDArray[np.float32], indices: Sequence[int]) -> Boxes:
    return np.concatenate([of_class(rows, index) for index in indices])


def _recalls(
    against: str, looks: Sequence[Look], truths: Sequence[Boxes], recipe: Recipe, indices: Sequence[int],
    confidence: float, replicates: int,
) -> list[PeopleRecall]:  # fmt: skip
    image, height, found = _match(looks, truths, recipe, indices, confidence)
    draws = picture_draws(len(looks), replicates, 0)
    rows = []
    for name, (low, high) in HEIGHTS_PX.items():
        inside = (height >= low) & (height < high)
        if not inside.any():
            continue
        weight = draws[:, image[inside]]
        total = weight.sum(axis=1)
        shares = np.divide(weight @ found[inside], total, out=np.full(len(total), np.nan), where=total > 0)
        recall = float(found[inside].mean())
        rows.append(PeopleRecall(against, name, confidence, recall, *interval95(shares), int(inside.sum()), len(looks)))
    return rows


def _match(
    looks: Sequence[Look], truths: Sequence[Boxes], recipe: Recipe, indices: Sequence[int], confidence: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    image, height, found = [], [], []
    for number, (look, truth) in enumerate(zip(looks, truths, strict=True)):
        kept = (look.found.confidence >= confidence) & np.isin(look.found.class_id, indices)
        overlap = iou(truth, look.found.xyxy[kept])
        gain = _gain(look.picture, recipe)
        image += [number] * len(truth)
        height += ((truth[:, 3] - truth[:, 1]) * gain).tolist()
        found += (overlap >= FOUND_IOU).any(axis=1).astype(float).tolist()
    return np.array(image, np.intp), np.array(height, np.float64), np.array(found, np.float64)


def _gain(picture: Picture, recipe: Recipe) -> float:
    return letterbox((picture.width, picture.height), recipe.input_wh, "center").gain_y
