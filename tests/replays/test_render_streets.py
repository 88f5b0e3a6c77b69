"""Random training streets and their labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from replays.render.layout import HOLES
from replays.render.scene import fixed_meshes
from replays.render.streets import VIEWS, training_street, views
from replays.render.training import CLASSES, labelled, render_training, write_data_yaml, yolo_lines
from replays.render.truth import Box, Camera, Geometry

CAMERA = Camera(640, 360, 400.0, 400.0, 319.5, 179.5)


def _box(xyxy: tuple[float, float, float, float], visible: float, clear: float, name: str = "car") -> Box:
    return Box("x", name, xyxy, visible, clear, (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1]) / (640 * 360), 10.0)


def test_a_seed_decides_a_street_and_its_views() -> None:
    assert repr(training_street(11)) == repr(training_street(11))
    assert repr(training_street(11)) != repr(training_street(12))
    assert views(training_street(11)) == views(training_street(11))
    assert len(views(training_street(11))) == VIEWS


def test_every_class_occurs_and_ids_are_unique() -> None:
    seen: set[str] = set()
    for seed in range(12):
        things = training_street(seed).things
        assert len({t.id for t in things}) == len(things)
        seen |= {t.class_name for t in things if t.class_name}
    assert seen == set(CLASSES)


@pytest.mark.parametrize("seed", [1000, 1001, 5000])
def test_the_road_can_be_cut_for_every_hole(seed: int) -> None:
    street = training_street(seed)
    assert any(t.model in HOLES for t in street.things)
    names = [name for name, _ in fixed_meshes(street)]
    assert names[:3] == ["road", "pavement", "stripes"]


def test_labels_are_inside_the_picture_and_of_known_classes() -> None:
    street = training_street(21)
    camera, place = views(street)[1]
    lines = yolo_lines(Geometry(street).boxes(camera, place), camera)
    assert len(lines) > 5
    for line in lines:
        number, *values = line.split()
        cx, cy, w, h = map(float, values)
        assert 0 <= int(number) < len(CLASSES)
        assert 0.0 <= cx - w / 2 <= cx + w / 2 <= 1.0
        assert 0.0 <= cy - h / 2 <= cy + h / 2 <= 1.0


def test_a_label_lies_half_a_pixel_beside_the_pixel_centres() -> None:
    (line,) = yolo_lines([_box((-0.5, -0.5, 319.5, 179.5), 1.0, 1.0)], CAMERA)
    assert line == "0 0.250000 0.250000 0.500000 0.500000"


@pytest.mark.parametrize(
    ("box", "taught"),
    [
        (_box((10, 10, 60, 40), 0.9, 0.9), True),
        (_box((10, 10, 60, 40), 0.2, 0.2), False),
        (_box((10, 10, 15, 40), 0.9, 0.9), False),
        (_box((10, 10, 14, 80), 0.9, 0.9, "pole"), True),
        (_box((0, 100, 150, 300), 0.15, 1.0), True),
        (_box((0, 100, 20, 130), 0.15, 1.0), False),
        (_box((0, 100, 150, 300), 0.15, 0.2), False),
    ],
)
def test_what_is_taught(box: Box, taught: bool) -> None:
    assert labelled(box) is taught


def test_data_yaml_lists_the_classes_in_order(tmp_path: Path) -> None:
    write_data_yaml(tmp_path)
    text = (tmp_path / "data.yaml").read_text(encoding="utf-8")
    assert [line.split(": ")[1] for line in text.splitlines() if line.startswith("  ")] == list(CLASSES)


def test_missing_labels_are_written_without_rendering_again(tmp_path: Path) -> None:
    images = tmp_path / "images" / "train"
    images.mkdir(parents=True)
    for k in range(2):
        (images / f"street00031_{k}.jpg").write_bytes(b"already rendered")
    said: list[str] = []
    assert render_training(tmp_path, 31, 2, "train", 1, 1, said.append) == 2
    assert len(said) == 2
    assert (images / "street00031_0.jpg").read_bytes() == b"already rendered"
    assert (tmp_path / "labels" / "train" / "street00031_1.txt").read_text(encoding="utf-8").strip()
    assert render_training(tmp_path, 31, 2, "train", 1, 1, said.append) == 0
