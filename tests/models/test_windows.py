"""Training windows: boxes stay on their pixels through scaling, cropping, mosaics and mirroring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.dataset import read_index
from models.errors import TrainingSetupError
from models.prepare import DataSet, prepare
from models.recipe import Recipe, load_recipe
from models.windows import Window, WindowSet, clip_boxes
from tests.models.worlds import COLOURS, write_data_set, write_recipe


@pytest.fixture
def made(tmp_path: Path) -> tuple[Recipe, WindowSet]:
    recipe = load_recipe(write_recipe(tmp_path))
    prepare(recipe, [DataSet(write_data_set(tmp_path / "data"))], tmp_path / "out", None)
    return recipe, WindowSet(read_index(tmp_path / "out", "train", recipe.classes), recipe, 64, 64, seed=5)


def hue_share(window: Window, row: np.ndarray[tuple[int], np.dtype[np.float32]], recipe: Recipe) -> float:
    """Share of pixels in a box whose strongest colour is its class's."""
    x1, y1, x2, y2 = (round(float(v)) for v in row[1:])
    channel = int(np.argmax(COLOURS[recipe.classes[int(row[0])]]))
    inside = window.image[y1:y2, x1:x2].astype(int)
    others = np.delete(inside, channel, axis=2).max(axis=2)
    return float((inside[..., channel] > others + 40).mean())


def test_boxes_lie_on_the_colour_of_their_class(made: tuple[Recipe, WindowSet]) -> None:
    recipe, windows = made
    checked = 0
    for epoch in range(6):
        for position, index in enumerate(windows.order(epoch)):
            window = windows.window(epoch, position, index)
            assert window.image.shape == (64, 64, 3)
            for row in window.boxes:
                assert hue_share(window, row, recipe) > 0.8, (epoch, position, row)
                checked += 1
    assert checked > 100


def test_an_epoch_repeats_sources_as_told_and_mirrors_the_seed(made: tuple[Recipe, WindowSet]) -> None:
    _, windows = made
    order = windows.order(0)
    assert len(order) == 6 * 1 + 6 * 2
    assert order == windows.order(0)
    assert order != windows.order(1)
    one, again = windows.window(0, 3, order[3]), windows.window(0, 3, order[3])
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.boxes, again.boxes)
    assert not np.array_equal(one.image, windows.window(1, 3, order[3]).image)


def test_a_window_carries_the_mask_of_its_source(made: tuple[Recipe, WindowSet]) -> None:
    _, windows = made
    weights = [windows.window(0, position, index).background for position, index in enumerate(windows.order(0))]
    masks = {tuple(round(float(weight), 3) for weight in row) for row in weights}
    assert masks == {(1.0, 1.0, 0.3), (0.0, 0.0, 1.0)}


def test_cut_and_tiny_boxes_are_ignored_not_forgotten() -> None:
    rows = np.array([[0, 10, 10, 30, 30], [1, -30, 10, 10, 30], [2, 50, 50, 53, 60], [0, 200, 0, 220, 20]], np.float32)
    kept, ignored = clip_boxes(rows, (0, 0, 100, 100))
    assert kept.tolist() == [[0, 10, 10, 30, 30]]
    assert ignored[:, 0].tolist() == [1, 2]  # mostly outside; too small. The last is not there at all.
    assert ignored[0].tolist() == [1, 0, 10, 10, 30]


def test_no_pictures_is_a_setup_mistake(made: tuple[Recipe, WindowSet]) -> None:
    with pytest.raises(TrainingSetupError, match="no training pictures"):
        WindowSet([], made[0], 64, 64, 0)
