"""The shipped detector: its card loads and tells the truth, and the runtime sees what ultralytics sees."""

from __future__ import annotations

import importlib
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import commands
from models.dataset import read_index
from models.evaluate import evaluate
from models.matching import look_at
from models.people import read_hand_boxes
from models.predictor import Predictor
from models.prepare import DataSet, prepare
from models.recipe import load_recipe
from perception.card import load_card
from perception.detector import OnnxDetector
from perception.types import Frame, Image
from tests.perception.cards import catalogue
from tests.perception.parity import agreement

FOLDER = Path(__file__).resolve().parents[2] / "models" / "qiji-street-n"
CARD = FOLDER / "model.toml"
NO_ORACLE = "NO ORACLE: install the train extra to compare with ultralytics"


def test_the_card_loads_and_offers_privacy() -> None:
    card = load_card(CARD, catalogue())
    assert card.classes == load_recipe(FOLDER / "recipe.toml").classes
    assert card.input_wh == (640, 384)
    assert card.privacy_classes.complete
    assert min(card.thresholds().values()) >= card.privacy


def test_the_card_states_licence_data_limits_and_training() -> None:
    table = tomllib.loads(CARD.read_text(encoding="utf-8"))
    assert table["licence"]["weights"].startswith("AGPL-3.0")
    assert [data["name"] for data in table["data"]] == [s.name for s in load_recipe(FOLDER / "recipe.toml").trained]
    assert all(data["licence"] and data["doubts"] and data["images"] > 0 for data in table["data"])
    assert len(table["limits"]) >= 3
    assert table["training"]["stage_1"]["start"] == "yolov5n_coco_state_dict.pt"
    scored = {name for per_class in table["metrics"].values() for name in per_class}
    assert scored == set(table["classes"])
    on_photos = table["metrics"]["photos"]
    assert all({"ap50", "low", "high", "strict", "boxes", "pictures"} <= set(row) for row in on_photos.values())
    assert set(table["render_validated"]).isdisjoint(on_photos)
    assert (
        max(row["ap50"] for row in table["metrics"]["manholes_web (report only)"].values() if row["boxes"] > 60) < 0.01
    )
    assert any("finds none" in limit for limit in table["limits"])


def test_people_were_counted_by_hand_too() -> None:
    hand = read_hand_boxes(FOLDER / "people.jsonl")
    stated = tomllib.loads(CARD.read_text(encoding="utf-8"))["training"]["people"]
    assert sum(map(len, hand.values())) == stated["hand-made boxes, all"]["people"]
    assert stated["the teacher, all"]["people"] > 100


def test_the_shipped_models_are_listed() -> None:
    listed = {model.name: model for model in commands.list_models(FOLDER.parent, catalogue())}
    assert listed["qiji-street-n"].problem == ""
    assert "manhole_open" in listed["qiji-street-n"].classes
    assert "ONNX file is missing" in listed["cards"].problem  # YOLOX's weights are not shipped
    assert commands.check_model(CARD, catalogue()).name == "qiji-street-n"


def photos(shared: Path, source: str, count: int) -> list[Path]:
    files = sorted((shared / "data" / "street-problems" / "images" / "val").glob(f"{source}_*.jpg"))
    if len(files) < count:
        pytest.skip(f"SHARED MATERIAL ABSENT: fewer than {count} val pictures of {source}")
    return files[:count]


@pytest.mark.slow
def test_the_scores_of_the_card_are_true(tmp_path: Path, shared: Path) -> None:
    """Scored anew on the garbage photos of the validation set, whose own labels are all this takes."""
    data, source = tmp_path / "data", "garbage_street_cn"
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (data / kind / split).mkdir(parents=True)
    shutil.copy(shared / "data" / "street-problems" / "data.yaml", data)
    for photo in photos(shared, source, 120):
        shutil.copy(photo, data / "images" / "val")
        shutil.copy(photo.parents[2] / "labels" / "val" / f"{photo.stem}.txt", data / "labels" / "val")
    recipe = load_recipe(FOLDER / "recipe.toml")
    prepare(recipe, [DataSet(data)], tmp_path / "out", lambda image, floor: [])
    pictures = read_index(tmp_path / "out", "val", recipe.classes)
    scores = evaluate(look_at(Predictor(FOLDER / "model.onnx"), pictures), recipe, 0)
    stated = tomllib.loads(CARD.read_text(encoding="utf-8"))["metrics"][source]
    assert scores[source].classes.keys() == stated.keys()
    for name, score in scores[source].classes.items():
        assert score.boxes == stated[name]["boxes"]
        assert score.ap50 == pytest.approx(stated[name]["ap50"], abs=0.005)


def test_the_runtime_sees_what_ultralytics_sees(shared: Path) -> None:
    pytest.importorskip("torch", reason=NO_ORACLE)
    pytest.importorskip("ultralytics", reason=NO_ORACLE)
    oracle = importlib.import_module("models.oracle")
    files = [f for s in ("garbage_street_cn", "vehicles_vn_cctv", "highway_br") for f in photos(shared, s, 10)]
    images: list[Image] = [np.asarray(cv2.imread(str(file)), np.uint8) for file in files]
    card = load_card(CARD, catalogue())
    detector = OnnxDetector(card, threads=2)
    theirs = oracle.ultralytics_boxes(card.onnx, images, card.input_wh, card.privacy, card.nms_iou)
    pairs = []
    for image, reference in zip(images, theirs, strict=True):
        found = detector.detect(Frame(0, "front", 0, image))
        ours = np.column_stack((found.xyxy, found.confidence, found.class_id)).astype(np.float64)
        pairs.append((ours, reference))
    share, boxes = agreement(pairs)
    print("PARITY", share, boxes)
    assert boxes > 150
    assert share >= 0.99, f"{share:.4f} of {boxes} boxes agree"


def test_images_side_by_side_give_the_bits_of_one_after_the_other() -> None:
    card = load_card(CARD, catalogue())
    rng = np.random.default_rng(5)
    images: list[Image] = [rng.integers(0, 255, (360 + 90 * (n % 2), 640, 3), dtype=np.uint8) for n in range(6)]
    whole, single = OnnxDetector(card, threads=2), OnnxDetector(card, threads=1)
    wanted = [whole.run(whole.preprocess(image)) for image in images]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda image: single.run(single.preprocess(image)), images))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
