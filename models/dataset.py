"""Reading data sets: names of a data.yaml, and the prepared index as typed records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import TrainingSetupError

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """One line of the index. given, taught, ignore: float32 (N, 5), rows class, x1, y1, x2, y2 in picture pixels.

    given boxes came with the data set, taught ones from the teacher; where an ignore box is, nobody knows.
    """

    path: Path
    source: str
    split: str
    width: int
    height: int
    given: Array
    taught: Array
    ignore: Array

    @property
    def boxes(self) -> Array:
        """All boxes to train on, given first."""
        return np.concatenate((self.given, self.taught))


def read_names(root: Path) -> dict[int, str]:
    """Class names of `root`/data.yaml.

    Only the two ways people write `names` are read (a list or numbered keys), so no YAML library is needed at run time.
    Raises TrainingSetupError when the file or its names are missing.
    """
    path = root / "data.yaml"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        remedy = "give a data set in ultralytics layout"
        raise TrainingSetupError("missing", file=path, remedy=remedy) from error
    start = next((i for i, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        raise TrainingSetupError("no `names:`", file=path, remedy="list the class names there")
    inline = lines[start].partition(":")[2].strip()
    if inline:
        parts = [p.strip().strip("'\"") for p in inline.strip("[]{}").split(",") if p.strip()]
        if inline.startswith("{"):
            return {int(k): v.strip().strip("'\"") for k, _, v in (p.partition(":") for p in parts)}
        return dict(enumerate(parts))
    names: dict[int, str] = {}
    for line in lines[start + 1 :]:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("- "):
            names[len(names)] = text[2:].strip().strip("'\"")
        elif line[0] in " \t" and text.partition(":")[0].isdigit():
            key, _, value = text.partition(":")
            names[int(key)] = value.strip().strip("'\"")
        else:
            break
    return names


def read_indices(folders: Sequence[Path], split: str, classes: tuple[str, ...]) -> list[Picture]:
    """Pictures of one split of several prepared folders, in the order given; raises as `read_index` does."""
    return [picture for folder in folders for picture in read_index(folder, split, classes)]


def read_index(folder: Path, split: str, classes: tuple[str, ...]) -> list[Picture]:
    """Pictures of one split of a prepared folder, in file order.

    Raises TrainingSetupError when the folder was not prepared, or was prepared with another class list.
    """
    header = folder / "header.json"
    if not header.is_file():
        raise TrainingSetupError("missing", file=header, remedy="run the prepare command first")
    prepared = tuple(json.loads(header.read_text(encoding="utf-8"))["classes"])
    if prepared != classes:
        problem = f"prepared for classes {prepared}, but the recipe has {classes}"
        raise TrainingSetupError(problem, file=header, remedy="prepare again")
    pictures = []
    for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["split"] != split:
            continue
        width, height = entry["wh"]
        pictures.append(
            Picture(
                path=(folder / entry["image"]).resolve(),
                source=entry["source"],
                split=split,
                width=width,
                height=height,
                given=_rows(entry["given"]),
                taught=_rows(entry["taught"]),
                ignore=_rows(entry["ignore"]),
            )
        )
    return pictures


def held_out_digest(pictures: Sequence[Picture]) -> str:
    """Which pictures these are, as a short hash: a training writes down what it held out. Empty for none."""
    if not pictures:
        return ""
    names = "\n".join(sorted(f"{picture.source}/{picture.path.name}" for picture in pictures))
    return hashlib.sha256(names.encode("utf-8")).hexdigest()[:16]


def _rows(values: list[list[float]]) -> Array:
    return np.asarray(values, np.float32).reshape(-1, 5)
