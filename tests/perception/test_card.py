"""Model cards: read strictly, and checked against the ONNX file; every mistake names file and remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.card import load_card
from perception.errors import ModelError
from tests.perception.cards import card_text, catalogue, constant_network, write_card, yolo_output, yolox_card


def test_a_good_card_is_read(tmp_path: Path) -> None:
    card = load_card(write_card(tmp_path, names="{0: 'car', 1: 'person'}"), catalogue())
    assert card.class_names == ("car", "person")
    assert card.class_ids == (0, 1)
    assert card.input_wh == (64, 32)
    assert card.thresholds() == {"car": 0.25, "person": 0.25}
    assert card.privacy_classes.complete
    assert card.notes["licence"] == {"weights": "none"}


def test_aliases_map_merge_and_drop(tmp_path: Path) -> None:
    output = np.zeros((1, 8, 4), np.float32)
    file = write_card(
        tmp_path,
        output,
        changes={
            "classes": '["van", "sedan", "dog", "human"]',
            "aliases": '{van = "car", sedan = "car", dog = "", human = "person"}',
            "thresholds": "{confidence = 0.4, privacy = 0.1, nms_iou = 0.5, class = {car = 0.3}}",
        },
    )
    card = load_card(file, catalogue())
    assert card.class_names == ("car", "person")
    assert card.class_ids == (0, 0, -1, 1)
    assert card.thresholds() == {"car": 0.3, "person": 0.4}


def test_two_wheelers_are_told_from_cars_by_their_width(tmp_path: Path) -> None:
    file = write_card(
        tmp_path,
        np.zeros((1, 7, 4), np.float32),
        changes={
            "classes": '["car", "person", "bicycle"]',
            "privacy": '{person = ["person"], vehicle = ["car", "bicycle"]}',
        },
    )
    privacy = load_card(file, catalogue()).privacy_classes
    assert (privacy.wide, privacy.narrow) == (frozenset({"car"}), frozenset({"bicycle"}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": '"rgb"'}, "unknown key 'colour'"),
        ({"scale": ""}, "'scale' is missing"),
        ({"version": "2"}, "`version` is 2"),
        ({"decoder": '"ssd"'}, "`decoder` is 'ssd'"),
        ({"color": '"grey"'}, "`color` is 'grey'"),
        ({"letterbox": '"squeeze"'}, "`letterbox` is 'squeeze'"),
        ({"input_wh": "[64]"}, "`input_wh` is [64]"),
        ({"input_wh": "[32, 64]"}, "the network takes [1, 3, 32, 64]"),
        ({"sha256": '"ab"'}, "`sha256` is ab"),
        ({"classes": '["car", "car"]'}, "names a class twice"),
        ({"classes": '["car", "unicorn"]'}, "class 'unicorn' has no catalogue class"),
        ({"aliases": '{van = "car"}'}, "[aliases] names 'van'"),
        ({"thresholds": "{confidence = 0.25, privacy = 0.3, nms_iou = 0.5}"}, "thresholds.privacy is 0.3"),
        ({"thresholds": "{confidence = 25, privacy = 0.3, nms_iou = 0.5}"}, "`confidence` is 25"),
        ({"thresholds": "{confidence = 0.2, privacy = 0.1, nms_iou = 0.5, class = {bus = 0.3}}"}, "names 'bus'"),
        ({"privacy": '{person = ["man"], vehicle = []}'}, "[privacy] names 'man'"),
        ({"licence": "{}"}, "[licence] lacks `weights`"),
        ({"classes": '["car"]', "privacy": ""}, "`classes` lists 1"),
        ({"decoder": '"yolox"'}, "`classes` lists 2"),
        ({"onnx": '"gone.onnx"'}, "the ONNX file is missing"),
    ],
)
def test_each_mistake_names_file_and_remedy(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    file = write_card(tmp_path, changes=changes)
    with pytest.raises(ModelError) as caught:
        load_card(file, catalogue())
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "Remedy: " in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a network", b"version https://git-lfs.github.com/spec/v1\n"])
def test_an_onnx_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.onnx").write_bytes(content)
    (tmp_path / "card.toml").write_text(card_text(tmp_path / "tiny.onnx"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"tiny\.onnx: is not an ONNX file .* Remedy: fetch the file again"):
        load_card(tmp_path / "card.toml", catalogue())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("{0: 'person', 1: 'car'}", "output 0 is 'car' in `classes` but 'person' inside"),
        ("{0: 'car', 1: 'truck'}", "output 1 is 'person' in `classes` but 'truck' inside"),
        ("{0: 'car'}", "output 1 is 'person' in `classes` but None inside"),
        ("car, person", "cannot be read"),
    ],
)
def test_names_inside_the_onnx_must_agree(tmp_path: Path, names: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_card(write_card(tmp_path, names=names), catalogue())
    assert words in str(caught.value)


def test_a_card_that_is_absent_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.toml: the model card cannot be read"):
        load_card(tmp_path / "none.toml", catalogue())
    (tmp_path / "bad.toml").write_text("version = = 1", encoding="utf-8")
    with pytest.raises(ModelError, match=r"bad\.toml: the model card is not TOML .*line 1"):
        load_card(tmp_path / "bad.toml", catalogue())


def test_onnx_may_be_absolute(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    constant_network(tmp_path / "elsewhere" / "net.onnx", yolo_output(), (64, 32), None)
    network = tmp_path / "elsewhere" / "net.onnx"
    text = card_text(network, {"onnx": f'"{network.as_posix()}"'})
    (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    assert load_card(tmp_path / "card.toml", catalogue()).onnx == tmp_path / "elsewhere" / "net.onnx"


def test_the_shipped_yolox_card_fits_the_weights(tmp_path: Path, shared: Path) -> None:
    card = load_card(yolox_card(tmp_path, shared), catalogue())
    assert len(card.classes) == 80
    assert set(card.class_names) == {
        "person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic_light", "traffic_sign"
    }  # fmt: skip
    assert card.privacy_classes.complete
