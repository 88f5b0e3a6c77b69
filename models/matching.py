"""What a detector said of pictures, set against their labels: one tally per class, from which every figure is made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.dataset import Picture
from models.figures import Array, average_precision, weighted_ap
from models.pictures import BadExample, read_picture
from models.recipe import Recipe
from perception.boxes import Boxes, area, iou, letterbox
from perception.decode import Decoded
from perception.errors import SetupError
from perception.types import Image

LOG = logging.getLogger(__name__)
IOUS = np.linspace(0.5, 0.95, 10)
EXCUSED_IOU = 0.5
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A picture and what was found in it (picture px, confidence from the floor on)."""

    picture: Picture
    found: Decoded


def look_at(
    predict: Callable[[Image], Decoded], pictures: Sequence[Picture], tell: Progress | None = None
) -> list[Look]:
    """Run a detector on pictures. Raises SetupError when one cannot be read."""
    looks = []
    for number, picture in enumerate(pictures, start=1):
        try:
            image = read_picture(picture.path)
        except (BadExample, OSError) as error:
            raise SetupError(str(error), file=picture.path, remedy="prepare the data again") from error
        looks.append(Look(picture, predict(image)))
        if tell is not None:
            tell(number, len(pictures))
    return looks


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """One class on a set of pictures, detections in falling confidence.

    image, confidence (N,); verdict int8 (10, N), one row per IoU of IOUS: 1 true, 0 false, -1 nobody knows; side (N,):
    root of the area, in network input px, of the true box that was hit (at IoU 0.5), else of the detection.
    true_image, true_side (M,): the true boxes.
    """

    pictures: int
    image: npt.NDArray[np.intp]
    confidence: Array
    verdict: npt.NDArray[np.int8]
    side: Array
    true_image: npt.NDArray[np.intp]
    true_side: Array

    @property
    def boxes(self) -> int:
        """Number of true boxes."""
        return len(self.true_image)

    def hits(self, row: int = 0) -> tuple[Array, npt.NDArray[np.bool_]]:
        """(confidence, hit) of the detections that the labels speak of."""
        known = self.verdict[row] >= 0
        return self.confidence[known], self.verdict[row][known] == 1

    def ap(self, row: int = 0, *, strict: bool = False) -> float:
        """AP at IOUS[row]; strict: what nobody knows counts as false."""
        hit = self.verdict[row] == 1
        return average_precision(hit if strict else hit[self.verdict[row] >= 0], self.boxes)

    def sized(self, low: float, high: float) -> tuple[float, int]:
        """(AP at IoU 0.5, true boxes) of objects with low <= side < high px; others count neither way, as in COCO."""
        inside = (self.side >= low) & (self.side < high) & (self.verdict[0] >= 0)
        boxes = int(((self.true_side >= low) & (self.true_side < high)).sum())
        return average_precision(self.verdict[0][inside] == 1, boxes), boxes

    def replicates(self, draws: Array) -> Array:
        """AP at IoU 0.5 per replicate of `draws` (R, pictures)."""
        known = self.verdict[0] >= 0
        boxes = draws[:, self.true_image].sum(axis=1)
        return weighted_ap(self.verdict[0][known] == 1, draws[:, self.image[known]], boxes)


def tally(looks: Sequence[Look], recipe: Recipe, name: str, *, taught: bool = False) -> Tally:
    """Set one class against the given labels (or the teacher's, for agreement).

    Beside a given label, the teacher's boxes and its unsure ones excuse a detection, unless the source says that it
    labels every instance itself.
    """
    index = recipe.classes.index(name)
    parts: list[tuple[npt.NDArray[np.intp], Array, npt.NDArray[np.int8], Array]] = []
    true_image: list[int] = []
    true_side: list[float] = []
    for number, look in enumerate(looks):
        picture, found = look.picture, look.found
        order = np.flatnonzero(found.class_id == index)
        order = order[np.argsort(-found.confidence[order], kind="stable")]
        truth = of_class(picture.taught if taught else picture.given, index)
        boxes, unknown = found.xyxy[order], _unknown(picture, recipe, name, index, taught=taught)
        verdicts, hit = match(boxes, truth, unknown)
        gain = _gain(picture, recipe)
        side = np.sqrt(area(boxes)) * gain
        truth_side = np.sqrt(area(truth)) * gain
        side[hit >= 0] = truth_side[hit[hit >= 0]]
        parts.append((np.full(len(order), number), found.confidence[order].astype(np.float64), verdicts, side))
        true_image += [number] * len(truth)
        true_side += truth_side.tolist()
    image, confidence, side = (np.concatenate([part[i] for part in parts]) for i in (0, 1, 3))
    verdict = np.concatenate([part[2] for part in parts], axis=1)
    order = np.argsort(-confidence, kind="stable")
    return Tally(
        len(looks), image[order], confidence[order], verdict[:, order], side[order].astype(np.float64),
        np.array(true_image, np.intp), np.array(true_side, np.float64),
    )  # fmt: skip


def match(found: Boxes, truth: Boxes, unknown: Boxes) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.intp]]:
    """Verdicts int8 (10, N) of detections in falling confidence, and which truth each hit at IoU 0.5 (-1: none).

    Greedy: a detection takes the free true box it overlaps most; one that takes none is excused (-1) when it lies on
    something unknown.
    """
    verdict = np.zeros((len(IOUS), len(found)), np.int8)
    hit = np.full(len(found), -1, np.intp)
    if not len(found):
        return verdict, hit
    overlap = iou(found, truth)
    if len(truth):
        for row, limit in enumerate(IOUS):
            free = np.ones(len(truth), bool)
            for number in np.flatnonzero(overlap.max(axis=1) >= limit):
                candidates = np.where(free, overlap[number], 0.0)
                if candidates.max() >= limit:
                    free[(best := int(candidates.argmax()))] = False
                    verdict[row, number] = 1
                    if row == 0:
                        hit[number] = best
    if len(unknown):
        excused = np.asarray((iou(found, unknown) >= EXCUSED_IOU).any(axis=1))
        verdict[excused[None, :] & (verdict == 0)] = -1
    return verdict, hit


def of_class(rows: npt.NDArray[np.float32], index: int) -> Boxes:
    """Corners (N, 4) of the rows of one class."""
    return np.asarray(rows[rows[:, 0] == index, 1:], np.float32)


def _unknown(picture: Picture, recipe: Recipe, name: str, index: int, *, taught: bool) -> Boxes:
    if taught:
        return of_class(picture.ignore, index)
    if name in recipe.source(picture.source).exhaustive:
        return np.zeros((0, 4), np.float32)
    return of_class(np.concatenate((picture.taught, picture.ignore)), index)


def _gain(picture: Picture, recipe: Recipe) -> float:
    fit = letterbox((picture.width, picture.height), recipe.input_wh, "center")
    return float(np.sqrt(fit.gain_x * fit.gain_y))
