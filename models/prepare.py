"""From data sets to one index: given labels, teacher labels of what nobody labelled, and ignore boxes.

The index is `index.jsonl` (one picture a line) beside `header.json`; pictures stay where they are. Renders are labelled
exhaustively, so no teacher runs on them.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.dataset import read_names
from models.errors import TrainingSetupError
from models.recipe import Recipe, Source
from perception.boxes import Boxes, area, iou
from perception.types import Image

LOG = logging.getLogger(__name__)
SPLITS = ("train", "val")
Rows = list[list[float]]
Found = list[tuple[str, float, Boxes]]
Teach = Callable[[Image, float], Found]
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


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder in ultralytics layout (images, labels, data.yaml).

    A picture belongs to source `only` if given, else to the source whose name its file name starts with; pictures of no
    source of the recipe are left out.
    """

    root: Path
    only: str | None = None


def prepare(recipe: Recipe, sets: Sequence[DataSet], out: Path, teacher: Teach | None) -> Prepared:
    """Write one index of all data sets to the folder `out`; nothing is written when something is wrong.

    Raises TrainingSetupError when a folder, a picture, a label file or data.yaml is
    bad, or a source wants a teacher and there is none.
    """
    result = Prepared(Counter(), Counter(), Counter(), Counter())
    lines: list[str] = []
    for data in sets:
        job = _Job(recipe, data.root, out, read_names(data.root), teacher, result)
        for split, path in _pictures(data.root):
            source = _source_of(recipe, path, data.only)
            if source is None:
                result.pictures["left out"] += 1
                continue
            lines.append(job.line(source, split, path))
            if len(lines) % 100 == 0:
                LOG.info("%d pictures prepared", len(lines))
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.jsonl").write_text("".join(lines), encoding="utf-8")
    header = {"version": 1, "classes": recipe.classes, **result.as_dict()}
    (out / "header.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
    return result


def _source_of(recipe: Recipe, path: Path, only: str | None) -> Source | None:
    if only is not None:
        return recipe.source(only)
    return next((source for source in recipe.sources if path.name.startswith(f"{source.name}_")), None)


@dataclass(frozen=True, slots=True)
class _Job:
    """One data set on its way into an index."""

    recipe: Recipe
    root: Path
    out: Path
    names: dict[int, str]
    teacher: Teach | None
    result: Prepared

    def line(self, source: Source, split: str, path: Path) -> str:
        """The index line of a picture; counts it and its boxes."""
        image = cv2.imread(str(path))
        if image is None:
            raise TrainingSetupError("not a readable picture", file=path, remedy="remove it from the data set")
        height, width = image.shape[:2]
        label = self.root / "labels" / split / f"{path.stem}.txt"
        given = _given(label, self.names, self.recipe, width, height)
        taught, ignore = self.ask(source, np.asarray(image, np.uint8), given)
        self.result.pictures[f"{source.name} {split}"] += 1
        parts = ((self.result.given, given), (self.result.taught, taught), (self.result.ignored, ignore))
        for counter, rows in parts:
            counter.update(self.recipe.classes[int(row[0])] for row in rows)
        entry = {"image": os.path.relpath(path, self.out), "source": source.name, "split": split, "wh": [width, height]}
        return json.dumps({**entry, "given": given, "taught": taught, "ignore": ignore}) + "\n"

    def ask(self, source: Source, image: Image, given: Rows) -> tuple[Rows, Rows]:
        """Teacher labels and ignore boxes, none where the source wants no teacher."""
        if not source.pseudo:
            return [], []
        if self.teacher is None:
            problem = f"source {source.name!r} wants teacher labels"
            raise TrainingSetupError(problem, file=self.recipe.path, remedy="give the teacher's weights")
        return teach(self.recipe, source, self.teacher(image, self.recipe.teacher_ignore), given)


def teach(recipe: Recipe, source: Source, found: Found, given: Rows) -> tuple[Rows, Rows]:
    """Split teacher boxes into labels and ignore boxes (rows: class, x1, y1, x2, y2).

    A box on an object that the source already labelled (same group, IoU or mostly inside) is dropped, and so is an
    unsure one on a sure one. An unsure box is ignored for every class of its group.
    """
    labels: Rows = []
    ignore: Rows = []
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


def _pictures(root: Path) -> Iterator[tuple[str, Path]]:
    for split in SPLITS:
        folder = root / "images" / split
        if not folder.is_dir():
            raise TrainingSetupError("missing", file=folder, remedy="give a data set with images/train and images/val")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
                yield split, path


def _given(label: Path, names: dict[int, str], recipe: Recipe, width: int, height: int) -> Rows:
    if not label.is_file():
        remedy = "write one; a picture without objects has an empty label file"
        raise TrainingSetupError("missing label file", file=label, remedy=remedy)
    rows = []
    for number, text in enumerate(label.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            index, cx, cy, w, h = (float(v) for v in text.split())
            name = names[int(index)]
        except (ValueError, KeyError) as error:
            remedy = "write the class number of data.yaml, then centre x, y, width, height in 0..1"
            raise TrainingSetupError(f"{text!r} is no box", file=label, line=number, remedy=remedy) from error
        if name not in recipe.classes:
            continue
        corners = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        rows.append([float(recipe.classes.index(name)), *(round(v, 1) for v in corners)])
    return rows
