"""From data sets to one index: given labels, teacher labels of what nobody labelled, and ignore boxes.

The index is `index.jsonl` (one picture a line) beside `header.json`; pictures stay where they are. Renders are labelled
exhaustively, so no teacher runs on them.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.dataset import read_names
from models.errors import TrainingSetupError
from models.recipe import Recipe, Source
from models.teacher import Teacher
from perception.boxes import Boxes, area, iou

LOG = logging.getLogger(__name__)
SPLITS = ("train", "val")
SAME_OBJECT_IOU = 0.45
MOSTLY_INSIDE = 0.7


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` made: pictures, given boxes, teacher boxes and ignore boxes, each per class or split."""

    pictures: Counter[str]
    given: Counter[str]
    taught: Counter[str]
    ignored: Counter[str]

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Plain values for JSON, keys sorted."""
        parts = {"pictures": self.pictures, "given": self.given, "taught": self.taught, "ignored": self.ignored}
        return {name: dict(sorted(counter.items())) for name, counter in parts.items()}


def prepare(recipe: Recipe, out: Path, weights: Path | None, photos: Path | None, renders: Path | None) -> Prepared:
    """Write the index of all pictures of the recipe's sources to `out`.

    photos: folder in ultralytics layout whose file names start with the source's name; pictures of other sources are
    left out. renders: folder in the same layout, source "renders".
    Raises TrainingSetupError when a folder, a picture, a label file or data.yaml is bad.
    """
    out.mkdir(parents=True, exist_ok=True)
    result = Prepared(Counter(), Counter(), Counter(), Counter())
    lines: list[str] = []
    if photos is not None:
        if weights is None:
            raise TrainingSetupError("photos need a teacher", remedy="give the YOLOv5n COCO weights")
        teacher = Teacher(weights, recipe.teacher_long_side)
        for line in _photo_lines(recipe, photos, out, teacher, result):
            lines.append(line)
    if renders is not None:
        lines += _render_lines(recipe, renders, out, result)
    (out / "index.jsonl").write_text("".join(lines), encoding="utf-8")
    header = {"version": 1, "classes": recipe.classes, **result.as_dict()}
    (out / "header.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
    return result


def _photo_lines(recipe: Recipe, root: Path, out: Path, teacher: Teacher, result: Prepared) -> Iterator[str]:
    names = read_names(root)
    sources = {source.name: source for source in recipe.sources}
    for split, path in _pictures(root):
        source = next((s for n, s in sources.items() if path.name.startswith(n + "_")), None)
        if source is None:
            result.pictures["left out"] += 1
            continue
        image = cv2.imread(str(path))
        if image is None:
            raise TrainingSetupError("not a readable picture", file=path, remedy="remove it from the data set")
        height, width = image.shape[:2]
        boxes = _given(root, split, path, names, recipe, width, height)
        taught: list[list[float]] = []
        ignore: list[list[float]] = []
        result.given.update(recipe.classes[int(b[0])] for b in boxes)
        if source.pseudo:
            taught, ignore = teach(recipe, source, teacher(np.asarray(image, np.uint8), recipe.teacher_ignore), boxes)
            result.taught.update(recipe.classes[int(b[0])] for b in taught)
            result.ignored.update(recipe.classes[int(b[0])] for b in ignore)
        result.pictures[f"{source.name} {split}"] += 1
        if sum(result.pictures.values()) % 100 == 0:
            LOG.info("%d pictures prepared", sum(result.pictures.values()))
        yield _line(out, path, source.name, split, (width, height), boxes, taught, ignore)


def teach(
    recipe: Recipe, source: Source, found: list[tuple[str, float, Boxes]], given: list[list[float]]
) -> tuple[list[list[float]], list[list[float]]]:
    """Split teacher boxes into labels and ignore boxes (rows: class, x1, y1, x2, y2).

    A box on an object that the source already labelled (same group, IoU or mostly inside) is dropped, and so is an
    unsure one on a sure one. An unsure box is ignored for every class of its group.
    """
    labels: list[list[float]] = []
    ignore: list[list[float]] = []
    for name, confidence, box in sorted(found, key=lambda item: -item[1]):
        if name not in source.pseudo:
            continue
        group = recipe.group_of(name)
        members = {recipe.classes.index(c) for c in group}
        near = [row[1:] for row in (*given, *labels) if int(row[0]) in members]
        if near and _same_object(box, np.asarray(near, np.float32)):
            continue
        row = [round(float(v), 1) for v in box]
        if confidence >= recipe.teacher_positive:
            labels.append([recipe.classes.index(name), *row])
        else:
            ignore += [[recipe.classes.index(c), *row] for c in group]
    return labels, ignore


def _same_object(box: Boxes, others: Boxes) -> bool:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inside = area(np.concatenate((low, high), axis=1)) / max(float(area(box)), 1e-6)
    return bool((iou(box[None], others) >= SAME_OBJECT_IOU).any() or (inside >= MOSTLY_INSIDE).any())


def _render_lines(recipe: Recipe, root: Path, out: Path, result: Prepared) -> list[str]:
    names = read_names(root)
    recipe.source("renders")
    lines = []
    for split, path in _pictures(root):
        image: npt.NDArray[np.uint8] | None = cv2.imread(str(path))  # type: ignore[assignment]
        if image is None:
            raise TrainingSetupError("not a readable picture", file=path, remedy="render it again")
        height, width = image.shape[:2]
        boxes = _given(root, split, path, names, recipe, width, height)
        result.given.update(recipe.classes[int(b[0])] for b in boxes)
        result.pictures[f"renders {split}"] += 1
        lines.append(_line(out, path, "renders", split, (width, height), boxes, [], []))
    return lines


def _pictures(root: Path) -> Iterator[tuple[str, Path]]:
    for split in SPLITS:
        folder = root / "images" / split
        if not folder.is_dir():
            raise TrainingSetupError("missing", file=folder, remedy="give a data set with images/train and images/val")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
                yield split, path


def _given(
    root: Path, split: str, path: Path, names: dict[int, str], recipe: Recipe, width: int, height: int
) -> list[list[float]]:
    label = root / "labels" / split / f"{path.stem}.txt"
    if not label.is_file():
        remedy = "write one; a picture without objects has an empty label file"
        raise TrainingSetupError("missing label file", file=label, remedy=remedy)
    rows = []
    for number, text in enumerate(label.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            index, cx, cy, w, h = (float(v) for v in text.split())
            name = names[int(index)]
        except (ValueError, KeyError) as error:
            problem, remedy = (
                f"{text!r} is no box",
                "write: class number of data.yaml, then centre x, y, width, height in 0..1",
            )
            raise TrainingSetupError(problem, file=label, line=number, remedy=remedy) from error
        if name not in recipe.classes:
            continue
        corners = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        rows.append([float(recipe.classes.index(name)), *(round(v, 1) for v in corners)])
    return rows


def _line(
    out: Path,
    path: Path,
    source: str,
    split: str,
    wh: tuple[int, int],
    given: list[list[float]],
    taught: list[list[float]],
    ignore: list[list[float]],
) -> str:
    entry = {
        "image": os.path.relpath(path, out),
        "source": source,
        "split": split,
        "wh": wh,
        "given": given,
        "taught": taught,
        "ignore": ignore,
    }
    return json.dumps(entry) + "\n"
