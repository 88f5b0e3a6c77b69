"""A tiny data set of coloured rectangles, and a recipe for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

RECIPE = """
version = 1
name = "tiny"
architecture = "yolov5n.yaml"
input_wh = [96, 64]
classes = ["car", "person", "garbage"]
groups = [["car"], ["person"]]
weights_licence = "none"
command = "in a test"
limits = ["it knows rectangles only"]
[privacy]
person = ["person"]
vehicle = ["car"]
[teacher]
positive = 0.35
ignore = 0.10
long_side = 64
[[source]]
name = "streets"
exhaustive = ["car", "person"]
partial = []
pseudo = []
absent = ["garbage"]
repeat = 1
scale = [0.8, 1.2]
mosaic = 0.5
licence = "made here"
doubts = ""
[[source]]
name = "heaps"
exhaustive = ["garbage"]
partial = []
pseudo = []
absent = []
repeat = 2
scale = [1.0, 1.0]
mosaic = 0.0
licence = "made here"
doubts = ""
"""
NAMES = ("person", "car", "garbage")
COLOURS = {"car": (255, 0, 0), "person": (0, 255, 0), "garbage": (0, 0, 255)}


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    """Write the recipe."""
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def draw(boxes: list[tuple[str, int, int, int, int]], width: int, height: int) -> npt.NDArray[np.uint8]:
    """A grey picture with one coloured rectangle per (name, x1, y1, x2, y2)."""
    image = np.full((height, width, 3), 90, np.uint8)
    for name, x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = COLOURS[name]
    return image


def write_data_set(folder: Path, pictures: int = 6) -> Path:
    """Write `pictures` train and 2 val pictures of each source, 96 x 64 px, with data.yaml; always the same."""
    rng = np.random.default_rng(3)
    for split, count in (("train", pictures), ("val", 2)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for source, names in (("streets", ("car", "person")), ("heaps", ("garbage",)), ("others", ("car",))):
            for number in range(count):
                _write_picture(folder, split, f"{source}_{number}", names, rng)
    lines = "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{lines}", encoding="utf-8")
    return folder


def _write_picture(folder: Path, split: str, stem: str, names: tuple[str, ...], rng: np.random.Generator) -> None:
    boxes, rows = [], []
    for place, name in enumerate(names):
        x1, y1 = int(rng.integers(2, 12)) + 44 * place, int(rng.integers(4, 20))
        x2, y2 = x1 + int(rng.integers(20, 30)), y1 + int(rng.integers(20, 36))
        boxes.append((name, x1, y1, x2, y2))
        centre = ((x1 + x2) / 2 / 96, (y1 + y2) / 2 / 64, (x2 - x1) / 96, (y2 - y1) / 64)
        rows.append(f"{NAMES.index(name)} " + " ".join(f"{v:.6f}" for v in centre))
    cv2.imwrite(str(folder / "images" / split / f"{stem}.png"), draw(boxes, 96, 64))
    (folder / "labels" / split / f"{stem}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
