"""From data sets to one index: given labels, teacher labels of what nobody labelled, and ignore boxes.

The index is `index.jsonl` (one picture a line) beside `header.json`; pictures stay where they are. Renders are labelled
exhaustively, so no teacher runs on them. Some of the training scenes become the split `calibration`: no training sees
them, so they can say what a confidence is worth; validation pictures stay untouched for that.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.dataset import read_names
from models.errors import TrainingSetupError
from models.pictures import SUFFIXES, BadExample, read_labels, read_picture
from models.recipe import Recipe, Source
from models.scenes import held_out, perceptual_hash, scene_key, scenes, upstream_paths
from perception.boxes import Boxes, area, iou
from perception.types import Image

LOG = logging.getLogger(__name__)
SPLITS = ("train", "val")
CALIBRATION = "calibration"
Rows = list[list[float]]
Found = list[tuple[str, float, Boxes]]
Teach = Callable[[Image, float], Found]
SAME_OBJECT_IOU = 0.45
MOSTLY_INSIDE = 0.7


@dataclass(frozen=True, slots=True)
class PrepareParams:
    """calibration_share: part of the training pictures held out to calibrate on, whole scenes, drawn by `seed`.

    skip_bad: leave broken pictures out and count them by reason, instead of stopping at the first.
    """

    calibration_share: float = 0.0
    seed: int = 1
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` made: pictures, given boxes, teacher boxes and ignore boxes, each per class or split.

    bad: pictures left out, per reason; unknown: labels of classes that the recipe does not know, per name.
    """

    pictures: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    taught: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Plain values for JSON, keys sorted."""
        parts = {name: getattr(self, name) for name in ("pictures", "given", "taught", "ignored", "bad", "unknown")}
        return {name: dict(sorted(counter.items())) for name, counter in parts.items()}


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder in ultralytics layout (images, labels, data.yaml).

    A picture belongs to source `only` if given, else to the source whose name its file name starts with; pictures of no
    source of the recipe are left out.
    """

    root: Path
    only: str | None = None


def prepare(
    recipe: Recipe,
    sets: Sequence[DataSet],
    out: Path,
    teacher: Teach | None,
    params: PrepareParams = PrepareParams(),
) -> Prepared:
    """Write one index of all data sets to the folder `out`; nothing is written when something is wrong.

    Raises TrainingSetupError when a folder or data.yaml is bad, a source wants a teacher and there is none, or (without
    `skip_bad`) a picture or a label line is broken.
    """
    result = Prepared()
    entries: list[_Entry] = []
    for data in sets:
        job = _Job(recipe, data.root, out, read_names(data.root), teacher, result, params.skip_bad)
        upstream = upstream_paths(data.root)
        for split, path in pictures_of(data.root):
            source = _source_of(recipe, path, data.only)
            if source is None:
                result.pictures["left out"] += 1
                continue
            entry = job.entry(source, split, path, upstream.get(path.name, path.name))
            if entry is not None:
                entries.append(entry)
                if len(entries) % 100 == 0:
                    LOG.info("%d pictures prepared", len(entries))
    _hold_out(recipe, entries, params)
    result.pictures.update(f"{entry.source.name} {entry.split}" for entry in entries)
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.jsonl").write_text("".join(entry.line() for entry in entries), encoding="utf-8")
    header = {"version": 1, "classes": recipe.classes, **result.as_dict()}
    (out / "header.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
    return result


@dataclass(slots=True)
class _Entry:
    """A picture on its way into the index."""

    source: Source
    split: str
    values: dict[str, object]
    bits: np.ndarray[tuple[int], np.dtype[np.bool_]]
    key: str

    def line(self) -> str:
        """Its line of index.jsonl."""
        return json.dumps({**self.values, "source": self.source.name, "split": self.split}) + "\n"


def _hold_out(recipe: Recipe, entries: Sequence[_Entry], params: PrepareParams) -> None:
    """Give `calibration_share` of every trained source's training pictures to the calibration split, by scenes."""
    if params.calibration_share <= 0:
        return
    for source in recipe.trained:
        mine = [entry for entry in entries if entry.source is source and entry.split == "train"]
        if mine:
            number = scenes(np.stack([entry.bits for entry in mine]), [entry.key for entry in mine])
            for index in held_out(number, params.calibration_share, params.seed):
                mine[index].split = CALIBRATION


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
    skip_bad: bool

    def entry(self, source: Source, split: str, path: Path, upstream: str) -> _Entry | None:
        """The index entry of a picture; counts its boxes. None when it is broken and broken ones are skipped."""
        label = self.root / "labels" / split / f"{path.stem}.txt"
        try:
            image = read_picture(path)
            height, width = image.shape[:2]
            given = self.given(label, width, height)
        except BadExample as bad:
            if not self.skip_bad:
                raise _setup_error(bad) from bad
            self.result.bad[bad.finding.reason.value] += 1
            return None
        taught, ignore = self.ask(source, image, given)
        parts = ((self.result.given, given), (self.result.taught, taught), (self.result.ignored, ignore))
        for counter, rows in parts:
            counter.update(self.recipe.classes[int(row[0])] for row in rows)
        values: dict[str, object] = {"image": os.path.relpath(path, self.out), "wh": [width, height]}
        values |= {"given": given, "taught": taught, "ignore": ignore}
        return _Entry(source, split, values, perceptual_hash(image), scene_key(source.scene, upstream))

    def given(self, label: Path, width: int, height: int) -> Rows:
        """Rows (class, x1, y1, x2, y2) of a label file, through the recipe's aliases; raises BadExample."""
        boxes, findings = read_labels(label, self.names, width, height)
        if findings:
            raise BadExample(findings[0])
        rows = []
        for box in boxes:
            name = self.recipe.own_name(box.name)
            if name is None:
                self.result.unknown[box.name] += 1
            else:
                rows.append([float(self.recipe.classes.index(name)), *(round(v, 1) for v in box.xyxy)])
        return rows

    def ask(self, source: Source, image: Image, given: Rows) -> tuple[Rows, Rows]:
        """Teacher labels and ignore boxes, none where the source wants no teacher."""
        if not source.pseudo:
            return [], []
        if self.teacher is None:
            problem = f"source {source.name!r} wants teacher labels"
            raise TrainingSetupError(problem, file=self.recipe.path, remedy="give the teacher's weights")
        return teach(self.recipe, source, self.teacher(image, self.recipe.teacher_ignore), given)


def _setup_error(bad: BadExample) -> TrainingSetupError:
    finding = bad.finding
    said = f"{finding.reason.value}: {finding.detail}" if finding.detail else finding.reason.value
    remedy = "mend or remove it (`qiji model data check` lists all such), or prepare with --skip-bad"
    return TrainingSetupError(said, file=finding.file, line=finding.line, remedy=remedy)


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


def pictures_of(root: Path) -> Iterator[tuple[str, Path]]:
    """(split, file) of every picture of a data set, in order of name; raises TrainingSetupError without its folders."""
    for split in SPLITS:
        folder = root / "images" / split
        if not folder.is_dir():
            raise TrainingSetupError("missing", file=folder, remedy="give a data set with images/train and images/val")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield split, path
