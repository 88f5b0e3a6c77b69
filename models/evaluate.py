"""Average precision per class and data set, in numpy, on what the exported ONNX file says.

A class is scored on a set only where that set's own labels cover it. Detections on teacher or ignore boxes of their
class count neither way: the set says nothing about them. Teacher labels are scored apart, as agreement, never as truth.
AP is the area under the precision envelope at 101 recalls, greedy matching by confidence (COCO's rule).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.dataset import Picture
from models.errors import TrainingSetupError
from models.recipe import Recipe
from perception.boxes import Boxes, iou
from perception.decode import Decoded
from perception.types import Image

LOG = logging.getLogger(__name__)
IOUS = np.linspace(0.5, 0.95, 10)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class on one set: AP at IoU 0.5, mean AP over 0.5..0.95, number of true boxes, and the raw curve at IoU 0.5.

    confidence (N,) falls; hit (N,) says whether the detection is a true one.
    """

    ap50: float
    ap50_95: float
    boxes: int
    confidence: Array
    hit: npt.NDArray[np.bool_]


Scores = Mapping[str, Mapping[str, ClassScore]]


def evaluate(predict: Callable[[Image], Decoded], pictures: Sequence[Picture], recipe: Recipe) -> Scores:
    """Scores by set name, then class name.

    Sets are "<source>" (given labels) and "<source> (agreement with the teacher)" for classes that only the teacher
    labelled. Raises TrainingSetupError when a picture cannot be read.
    """
    by_source: dict[str, list[tuple[Picture, Decoded]]] = {}
    for number, picture in enumerate(pictures, start=1):
        image = cv2.imread(str(picture.path))
        if image is None:
            raise TrainingSetupError("not a readable picture", file=picture.path, remedy="prepare the data again")
        by_source.setdefault(picture.source, []).append((picture, predict(np.asarray(image, np.uint8))))
        if number % 100 == 0:
            LOG.info("%d of %d pictures evaluated", number, len(pictures))
    scores: dict[str, dict[str, ClassScore]] = {}
    for name, pairs in sorted(by_source.items()):
        source = recipe.source(name)
        given = (*source.exhaustive, *source.partial, *source.pseudo)
        labelled = {c for c in given if _has_given(pairs, recipe.classes.index(c))}
        scores[name] = _set_scores(pairs, recipe, sorted(labelled), taught=False)
        agreed = _set_scores(pairs, recipe, [c for c in source.pseudo if c not in labelled], taught=True)
        if agreed:
            scores[f"{name} (agreement with the teacher)"] = agreed
    return scores


def best_thresholds(scores: Scores, classes: Sequence[str], fallback: float) -> dict[str, float]:
    """Confidence of the highest F1 per class over all sets with given labels; `fallback` for a class scored nowhere."""
    chosen = {}
    for name in classes:
        mine = [s for key, per in scores.items() if "teacher" not in key for c, s in per.items() if c == name]
        if not mine:
            mine = [s for per in scores.values() for c, s in per.items() if c == name]
        confidence = np.concatenate([s.confidence for s in mine]) if mine else np.zeros(0)
        hit = np.concatenate([s.hit for s in mine]) if mine else np.zeros(0, bool)
        if not hit.any():
            chosen[name] = fallback
            continue
        order = np.argsort(-confidence, kind="stable")
        found = np.cumsum(hit[order])
        f1 = 2 * found / (np.arange(1, len(found) + 1) + sum(s.boxes for s in mine))
        chosen[name] = float(confidence[order][int(f1.argmax())])
    return chosen


def average_precision(hit: npt.NDArray[np.bool_], boxes: int) -> float:
    """AP of detections in falling confidence: mean, over recalls 0, 0.01 .. 1, of the best precision from there on."""
    if boxes == 0:
        return float("nan")
    if not len(hit):
        return 0.0
    found = np.cumsum(hit)
    precision = found / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(found / boxes, np.linspace(0, 1, 101) - 1e-12)
    return float(np.append(envelope, 0.0)[np.minimum(at, len(envelope))].mean())


def match(found: Boxes, truth: Boxes, unknown: Boxes, limit: float) -> npt.NDArray[np.int8]:
    """Verdict per detection (falling confidence): 1 true, 0 false, -1 on something the labels say nothing about."""
    verdict = np.zeros(len(found), np.int8)
    overlap = iou(found, truth)
    free = np.ones(len(truth), bool)
    for row in range(len(found)):
        candidates = np.where(free, overlap[row], 0.0)
        if len(candidates) and candidates.max() >= limit:
            free[int(candidates.argmax())] = False
            verdict[row] = 1
    if len(unknown) and len(found):
        excused = (iou(found, unknown) >= 0.5).any(axis=1) & (verdict == 0)
        verdict[excused] = -1
    return verdict


def _has_given(pairs: Sequence[tuple[Picture, Decoded]], index: int) -> bool:
    return any((picture.given[:, 0] == index).any() for picture, _ in pairs)


def _set_scores(
    pairs: Sequence[tuple[Picture, Decoded]], recipe: Recipe, names: Sequence[str], *, taught: bool
) -> dict[str, ClassScore]:
    return {
        name: score
        for name in names
        if (score := _class_score(pairs, recipe.classes.index(name), taught=taught)).boxes > 0
    }


def _class_score(pairs: Sequence[tuple[Picture, Decoded]], index: int, *, taught: bool) -> ClassScore:
    confidences: list[Array] = []
    verdicts: list[npt.NDArray[np.int8]] = []
    boxes = 0
    for picture, found in pairs:
        order = np.flatnonzero(found.class_id == index)
        order = order[np.argsort(-found.confidence[order], kind="stable")]
        truth = _of_class(picture.taught if taught else picture.given, index)
        unknown = _of_class(picture.ignore if taught else np.concatenate((picture.taught, picture.ignore)), index)
        boxes += len(truth)
        confidences.append(found.confidence[order].astype(np.float64))
        verdicts.append(np.stack([match(found.xyxy[order], truth, unknown, limit) for limit in IOUS]))
    confidence, verdict = np.concatenate(confidences), np.concatenate(verdicts, axis=1)
    order = np.argsort(-confidence, kind="stable")
    confidence, verdict = confidence[order], verdict[:, order]
    aps = [average_precision(row[row >= 0] == 1, boxes) for row in verdict]
    known = verdict[0] >= 0
    return ClassScore(aps[0], float(np.mean(aps)), boxes, confidence[known], verdict[0][known] == 1)


def _of_class(rows: npt.NDArray[np.float32], index: int) -> Boxes:
    return np.asarray(rows[rows[:, 0] == index, 1:], np.float32)
