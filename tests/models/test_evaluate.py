"""Average precision worked out by hand, and detections on what nobody labelled counted neither way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.dataset import read_index
from models.evaluate import average_precision, best_thresholds, evaluate, match
from models.prepare import DataSet, prepare
from models.recipe import load_recipe
from perception.decode import Decoded
from perception.types import Image
from tests.models.worlds import COLOURS, write_data_set, write_recipe


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("hits", "count", "expected"),
    [
        ([True, True], 2, 1.0),
        ([True], 2, 51 / 101),  # recalls 0 .. 0.50 at precision 1
        ([False, True], 1, 0.5),
        ([True, False, True], 2, (51 + 50 * 2 / 3) / 101),
        ([False, False], 3, 0.0),
        ([], 3, 0.0),
    ],
)
def test_average_precision_by_hand(hits: list[bool], count: int, expected: float) -> None:
    assert average_precision(np.array(hits, bool), count) == pytest.approx(expected)


def test_a_truth_is_found_once_and_the_unknown_is_excused() -> None:
    truth = boxes((0, 0, 10, 10))
    found = boxes((0, 0, 10, 10), (0, 1, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90))
    verdict = match(found, truth, boxes((50, 50, 60, 61)), 0.5)
    assert verdict.tolist() == [1, 0, -1, 0]
    assert match(found[1:2], truth, boxes(), 0.95).tolist() == [0]


def see(image: Image) -> Decoded:
    """A perfect detector of the coloured rectangles, that also fires on an empty corner with low confidence."""
    corners, confidence, classes = [], [], []
    for number, name in enumerate(("car", "person", "garbage")):
        channel = int(np.argmax(COLOURS[name]))
        ys, xs = np.nonzero((image[..., channel] > 200) & (np.delete(image, channel, axis=2).max(axis=2) < 50))
        if len(xs):
            corners.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            confidence.append(0.9)
            classes.append(number)
    corners.append((90, 58, 95, 63))
    confidence.append(0.05)
    classes.append(0)
    return Decoded(boxes(*corners), np.array(confidence, np.float32), np.array(classes, np.int32))


def test_sets_are_scored_on_the_classes_they_label(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    prepare(recipe, [DataSet(write_data_set(tmp_path / "data"))], tmp_path / "out", None)
    scores = evaluate(see, read_index(tmp_path / "out", "val", recipe.classes), recipe)
    assert {name: sorted(per) for name, per in scores.items()} == {"heaps": ["garbage"], "streets": ["car", "person"]}
    assert scores["streets"]["car"].ap50 == pytest.approx(1.0)
    assert scores["streets"]["car"].ap50_95 == pytest.approx(1.0)
    assert scores["streets"]["car"].boxes == 2
    assert len(scores["streets"]["car"].hit) == 4  # two true ones, two in the empty corner
    thresholds = best_thresholds(scores, (*recipe.classes, "pothole"), 0.3)
    assert thresholds["car"] == pytest.approx(0.9)
    assert thresholds["pothole"] == 0.3


def test_teacher_labels_are_scored_apart(tmp_path: Path) -> None:
    recipe = load_recipe(
        write_recipe(tmp_path, (write_recipe(tmp_path).read_text()).replace("pseudo = []", 'pseudo = ["car"]'))
    )

    def teacher(image: Image, floor: float) -> list[tuple[str, float, np.ndarray[tuple[int], np.dtype[np.float32]]]]:
        del image, floor
        return [("car", 0.9, np.array([90, 58, 95, 63], np.float32))]

    prepare(recipe, [DataSet(write_data_set(tmp_path / "data"))], tmp_path / "out", teacher)
    scores = evaluate(see, read_index(tmp_path / "out", "val", recipe.classes), recipe)
    assert scores["heaps (agreement with the teacher)"]["car"].ap50 == pytest.approx(1.0)
    assert len(scores["streets"]["car"].hit) == 2  # the corner is a teacher's car there: excused, not false
