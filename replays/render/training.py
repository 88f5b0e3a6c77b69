"""Training pictures: random streets rendered at 640x360 with YOLO labels; resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from replays.render.streets import VIEWS, training_street, views
from replays.render.truth import Box, Camera, Geometry

CLASSES = (
    "car",
    "truck",
    "bus",
    "motorcycle",
    "bicycle",
    "person",
    "street_stall",
    "garbage",
    "garbage_bin",
    "garbage_bin_overflow",
    "pothole",
    "manhole_open",
    "manhole_closed",
    "pole",
    "traffic_sign",
)
MIN_VISIBLE, MIN_SIDE_PX, MIN_THIN_PX = 0.3, 6.0, 3.5
THIN = ("pole", "pothole", "manhole_open", "manhole_closed")  # upright or flat things are thin by nature
BIG_SHARE = 0.01  # a thing cut by the border is still taught when it fills this much of the picture


def labelled(box: Box) -> bool:
    """Whether a box is taught: enough of the thing shows and it is not tiny."""
    width, height = box.xyxy[2] - box.xyxy[0], box.xyxy[3] - box.xyxy[1]
    side = MIN_THIN_PX if box.class_name in THIN else MIN_SIDE_PX
    enough = box.visible >= MIN_VISIBLE or (box.clear >= MIN_VISIBLE and box.picture >= BIG_SHARE)
    return enough and min(width, height) >= side


def yolo_lines(boxes: list[Box], camera: Camera) -> list[str]:
    """Label lines "class cx cy w h", normalised; pixel edges are half a pixel outside pixel centres."""
    lines = []
    for box in boxes:
        if not labelled(box):
            continue
        x1, y1, x2, y2 = box.xyxy
        w, h = camera.width, camera.height
        centre = f"{((x1 + x2) / 2 + 0.5) / w:.6f} {((y1 + y2) / 2 + 0.5) / h:.6f}"
        lines.append(f"{CLASSES.index(box.class_name)} {centre} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}")
    return lines


def write_data_yaml(folder: Path) -> None:
    """The data set's class order in the Ultralytics layout."""
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (folder / "data.yaml").write_text(
        f"train: images/train\nval: images/val\nnc: {len(CLASSES)}\nnames:\n{names}", encoding="utf-8"
    )


def render_training(
    folder: Path, seed: int, count: int, split: str, samples: int, threads: int, say: Callable[[str], None]
) -> int:
    """Render `count` pictures of streets seed, seed + 1, ... into images/<split>; finished ones are kept.

    Returns the number of pictures made by this call. Raises SetupError when bpy is absent.
    """
    from replays.render.scene import Scene

    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    write_data_yaml(folder)
    made = 0
    for street_seed in range(seed, seed + (count + VIEWS - 1) // VIEWS):
        names = [f"street{street_seed:05d}_{k}" for k in range(VIEWS)][: count - (street_seed - seed) * VIEWS]
        if all((images / f"{n}.jpg").exists() and (labels / f"{n}.txt").exists() for n in names):
            continue
        street = training_street(street_seed)
        geometry, scene = Geometry(street), None
        for name, (camera, place) in zip(names, views(street), strict=False):
            boxes = geometry.boxes(camera, place)
            if not (images / f"{name}.jpg").exists():
                scene = scene or Scene(street, 640, 360, samples, threads)
                scene.render(camera, place, images / f"{name}.jpg")
            (labels / f"{name}.txt").write_text("\n".join(yolo_lines(boxes, camera)) + "\n", encoding="utf-8")
            made += 1
            say(json.dumps({"picture": name, "split": split, "made": made, "boxes": len(boxes)}))
    return made
