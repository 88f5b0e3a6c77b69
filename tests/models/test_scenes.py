"""Look-alikes are one scene, scenes are never torn apart, and what is held out is not trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from models.dataset import held_out_digest, read_index
from models.prepare import CALIBRATION, DataSet, PrepareParams, prepare
from models.recipe import load_recipe
from models.scenes import SAME_PICTURE, distances, held_out, perceptual_hash, scene_key, scenes
from perception.types import Image
from tests.models.worlds import write_data_set, write_recipe


def picture(seed: int) -> Image:
    """A smooth random picture: four by four colours, enlarged."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


def spoiled(image: Image) -> Image:
    """The same picture, smaller, darker and compressed hard."""
    small = cv2.resize(image, (200, 150))
    _, jpeg = cv2.imencode(".jpg", (small * 0.8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 30])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def test_a_copy_is_near_and_another_picture_is_far() -> None:
    hashes = np.stack([perceptual_hash(picture(seed)) for seed in range(12)])
    copies = np.stack([perceptual_hash(spoiled(picture(seed))) for seed in range(12)])
    table = distances(hashes, copies)
    assert table.diagonal().max() <= 10
    assert np.median(table.diagonal()) <= SAME_PICTURE
    off = table[~np.eye(12, dtype=bool)]
    assert off.min() > SAME_PICTURE
    assert np.median(off) > 24
    by_hand: npt.NDArray[np.int64] = (hashes[:, None] != copies[None]).sum(axis=2)
    assert np.array_equal(table, by_hand)


def test_scenes_join_look_alikes_and_keys() -> None:
    images = [picture(0), spoiled(picture(0)), picture(2), picture(3)]
    hashes = np.stack([perceptual_hash(image) for image in images])
    assert len(set(scenes(hashes, ["", "", "", ""]))) == 3
    number = scenes(hashes, ["a", "b", "b", "c"])
    assert number[0] == number[1] == number[2] != number[3]


def test_whole_scenes_are_held_out_and_the_choice_repeats() -> None:
    number = [index // 5 for index in range(100)]
    chosen = held_out(number, 0.2, 3)
    assert chosen == held_out(number, 0.2, 3)
    assert len(chosen) == 20
    assert {number[i] for i in chosen}.isdisjoint(number[j] for j in set(range(100)) - chosen)
    assert chosen != held_out(number, 0.2, 4)
    assert held_out([7] * 50, 0.1, 1) == set()  # one scene of fifty is too much for a tenth


@pytest.mark.parametrize(
    ("pattern", "text", "key"),
    [(None, "a", ""), (r"_([A-Z]{2}_\d{3})_", "x_DF_060_1.jpg", "DF_060"), (r"\d+", "img12", "12"), ("q", "a", "")],
)
def test_a_scene_may_be_read_from_a_name(pattern: str | None, text: str, key: str) -> None:
    assert scene_key(pattern, text) == key


def test_the_calibration_split_comes_from_training_pictures_only(tmp_path: Path) -> None:
    text = write_recipe(tmp_path).read_text(encoding="utf-8").replace('doubts = ""', 'doubts = ""\nscene = "_\\\\d+"')
    recipe = load_recipe(write_recipe(tmp_path, text))
    data = write_data_set(tmp_path / "data", pictures=20)
    made = prepare(recipe, [DataSet(data)], tmp_path / "out", None, PrepareParams(calibration_share=0.2))
    held = read_index(tmp_path / "out", CALIBRATION, recipe.classes)
    trained = read_index(tmp_path / "out", "train", recipe.classes)
    assert len(held) + len(trained) == 40
    assert 4 <= len(held) <= 8
    assert made.pictures["streets val"] == made.pictures["heaps val"] == 2
    assert not {p.path for p in held} & {p.path for p in trained}
    assert all(p.path.parent.name == "train" for p in held)
    assert len(held_out_digest(held)) == 16
    assert held_out_digest(held) == held_out_digest(held[::-1]) != held_out_digest(held[1:])
    assert held_out_digest([]) == ""
