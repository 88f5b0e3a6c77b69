"""Preparing data: labels by name, teacher labels only where nobody labelled, unsure boxes ignored, mistakes named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.dataset import read_index, read_names
from models.errors import TrainingSetupError
from models.prepare import DataSet, Found, prepare, teach
from models.recipe import load_recipe
from perception.types import Image
from tests.models.test_recipe import SHIPPED
from tests.models.worlds import RECIPE, write_data_set, write_recipe


def box(*corners: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(corners, np.float32)


def test_labels_are_mapped_by_name_and_strange_sources_left_out(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    made = prepare(recipe, [DataSet(write_data_set(tmp_path / "data"))], tmp_path / "out", None)
    assert made.pictures == {"streets train": 6, "heaps train": 6, "streets val": 2, "heaps val": 2, "left out": 8}
    assert made.given == {"car": 8, "person": 8, "garbage": 8}
    pictures = read_index(tmp_path / "out", "train", recipe.classes)
    heap = next(p for p in pictures if p.source == "heaps")
    assert heap.path.is_file()
    assert heap.given[:, 0].tolist() == [2.0]  # data.yaml's 2 and the recipe's 2 differ for the others
    street = next(p for p in pictures if p.source == "streets")
    assert street.given[:, 0].tolist() == [0.0, 1.0]  # data.yaml has person 0, car 1; cars were drawn first
    assert street.given[0, 3] - street.given[0, 1] >= 20


def test_a_named_source_takes_all_pictures(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    made = prepare(recipe, [DataSet(write_data_set(tmp_path / "data"), "heaps")], tmp_path / "out", None)
    assert made.pictures == {"heaps train": 18, "heaps val": 6}


def test_teacher_labels_fill_only_what_is_not_labelled() -> None:
    recipe = load_recipe(SHIPPED)
    car, motorcycle = recipe.classes.index("car"), recipe.classes.index("motorcycle")
    given = [[float(motorcycle), 10.0, 10.0, 50.0, 90.0]]
    found: Found = [
        ("motorcycle", 0.9, box(11, 40, 49, 90)),  # the machine under the labelled rider: already there
        ("person", 0.8, box(15, 10, 45, 60)),  # the rider is a person all the same
        ("car", 0.6, box(100, 100, 200, 160)),
        ("truck", 0.5, box(102, 101, 199, 161)),  # the same vehicle once more
        ("bus", 0.2, box(300, 100, 400, 200)),  # unsure
        ("dog", 0.9, box(0, 0, 9, 9)),
    ]
    labels, ignore = teach(recipe, recipe.source("vehicles_vn_cctv"), found, given)
    assert [recipe.classes[int(row[0])] for row in labels] == ["person", "car"]
    assert labels[1] == [car, 100.0, 100.0, 200.0, 160.0]
    assert {recipe.classes[int(row[0])] for row in ignore} == {"car", "truck", "bus"}
    assert all(row[1:] == [300.0, 100.0, 400.0, 200.0] for row in ignore)


def test_the_teacher_is_asked_on_photos_of_sources_that_want_it(tmp_path: Path) -> None:
    text = RECIPE.replace(
        'exhaustive = ["garbage"]\npartial = []\npseudo = []',
        'exhaustive = ["garbage"]\npartial = []\npseudo = ["car"]',
    )
    recipe = load_recipe(write_recipe(tmp_path, text))
    asked = []

    def teacher(image: Image, floor: float) -> Found:
        asked.append((image.shape, floor))
        return [("car", 0.5, box(0, 0, 9, 9)), ("person", 0.9, box(20, 20, 30, 30))]

    data = write_data_set(tmp_path / "data")
    made = prepare(recipe, [DataSet(data)], tmp_path / "out", teacher)
    assert asked == [((64, 96, 3), 0.10)] * 8  # heaps only
    assert made.taught == {"car": 8}
    with pytest.raises(TrainingSetupError, match="'heaps' wants teacher labels"):
        prepare(recipe, [DataSet(data)], tmp_path / "none", None)
    assert not (tmp_path / "none").exists()  # nothing half-written


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("labels/train/streets_0.txt=1 0.5 0.5 0.1", "streets_0.txt:1"),
        ("labels/train/streets_0.txt=9 0.5 0.5 0.1 0.1", "streets_0.txt:1"),
        ("labels/train/streets_0.txt", "no label file"),
        ("images/val/heaps_0.png=no picture", "not a picture"),
        ("data.yaml", "data.yaml: missing"),
        ("data.yaml=train: images", "no `names:`"),
    ],
)
def test_bad_data_is_named_with_its_file(tmp_path: Path, spoil: str, said: str) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    data = write_data_set(tmp_path / "data")
    name, _, text = spoil.partition("=")
    (data / name).unlink()
    if text:
        (data / name).write_text(text + "\n", encoding="utf-8")
    with pytest.raises(TrainingSetupError, match="Remedy") as caught:
        prepare(recipe, [DataSet(data)], tmp_path / "out", None)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", ["[a, 'b']", "{0: a, 1: b}", "\n  0: a\n  1: b\nother: 2", "\n- a\n- b"])
def test_names_are_read_however_they_are_written(tmp_path: Path, names: str) -> None:
    (tmp_path / "data.yaml").write_text(f"nc: 2\nnames: {names}\n", encoding="utf-8")
    assert read_names(tmp_path) == {0: "a", 1: "b"}


def test_an_index_for_other_classes_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    prepare(recipe, [DataSet(write_data_set(tmp_path / "data"))], tmp_path / "out", None)
    with pytest.raises(TrainingSetupError, match="prepare again"):
        read_index(tmp_path / "out", "train", ("car",))
    with pytest.raises(TrainingSetupError, match="run the prepare command"):
        read_index(tmp_path, "train", recipe.classes)
