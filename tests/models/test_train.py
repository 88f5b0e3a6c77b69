"""From a data set to a shipped card: prepare, train, resume, export, evaluate, load as the runtime does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="NO TRAIN EXTRA: training needs torch")
pytest.importorskip("ultralytics", reason="NO TRAIN EXTRA: training needs ultralytics")
pytest.importorskip("onnx", reason="NO TRAIN EXTRA: the export needs onnx")

import torch

from models import commands
from models.dataset import read_index
from models.errors import TrainingSetupError
from models.evaluate import evaluate
from models.matching import look_at
from models.network import build_network, read_checkpoint
from models.oracle import checkpoint_predictor
from models.predictor import Predictor
from models.recipe import load_recipe
from models.train import TrainParams, learning_rate, train
from perception.card import load_card
from perception.detector import OnnxDetector
from perception.types import Frame
from tests.models.worlds import write_data_set, write_recipe
from tests.perception.cards import catalogue

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(recipe, prepared, checkpoint) of one epoch on a few rectangles."""
    folder = tmp_path_factory.mktemp("world")
    recipe = write_recipe(folder)
    commands.prepare_data(recipe, folder / "prepared", None, [write_data_set(folder / "data")], None)
    checkpoint = commands.train_model(recipe, params(folder / "prepared", folder / "run"))
    return recipe, folder / "prepared", checkpoint


def params(prepared: Path, out: Path, **changes: Any) -> TrainParams:
    small = {"epochs": 1, "batch": 6, "height": 64, "width": 64, "threads": 1, "bf16": False, "warmup_steps": 2}
    return TrainParams(prepared=(prepared,), out=out, **{**small, **changes})


def test_training_teaches_something(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, prepared, first = world
    longer = train(load_recipe(recipe), params(prepared, tmp_path, weights=first, epochs=10, lr=0.003))
    assert sum(read_checkpoint(longer)["losses"]) < 0.8 * sum(read_checkpoint(first)["losses"])


def test_a_checkpoint_records_its_stages(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, prepared, first = world
    second = train(load_recipe(recipe), params(prepared, tmp_path, weights=first, frozen_layers=4, seed=8))
    stages = read_checkpoint(second)["stages"]
    assert [stage["start"] for stage in stages] == ["random", "last.pt"]
    assert stages[1]["seed"] == 8
    assert stages[1]["pictures"] == {"heaps": 6, "streets": 6}


def test_frozen_layers_stay_as_they_were(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, prepared, first = world
    second = train(load_recipe(recipe), params(prepared, tmp_path, weights=first, frozen_layers=4, lr=0.01))
    before, after = read_checkpoint(first)["ema"], read_checkpoint(second)["network"]
    same = {key: torch.equal(before[key], after[key]) for key in before if not key.endswith("num_batches_tracked")}
    frozen = [key for key in same if int(key.split(".")[1]) < 4]
    assert all(same[key] for key in frozen)
    assert not any(same[key] for key in same if key.startswith("model.9.") and key.endswith("conv.weight"))


def test_a_resumed_run_equals_an_uninterrupted_one(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, prepared, _ = world
    plan = load_recipe(recipe)
    whole = train(plan, params(prepared, tmp_path / "whole", epochs=2))
    Interrupted = type("Interrupted", (Exception,), {})

    def stop(path: Path, payload: dict[str, Any]) -> None:
        torch.save(payload, path)
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.train.save_checkpoint", stop)
        with pytest.raises(Interrupted):
            train(plan, params(prepared, tmp_path / "cut", epochs=2))
    cut = train(plan, params(prepared, tmp_path / "cut", epochs=2, resume=True))
    one, two = read_checkpoint(whole)["ema"], read_checkpoint(cut)["ema"]
    assert all(torch.allclose(one[key].float(), two[key].float(), atol=1e-5) for key in one)


def test_the_exported_file_equals_the_checkpoint_and_loads_as_a_detector(
    world: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    recipe, prepared, checkpoint = world
    onnx, card_file = tmp_path / "model.onnx", tmp_path / "model.toml"
    digest = commands.export_model(recipe, checkpoint, onnx)
    result = commands.evaluate_model(recipe, onnx, [prepared], card_file)
    card = load_card(card_file, catalogue())  # checks hash, input, class count and names
    assert card.sha256 == digest
    assert card.input_wh == (96, 64)
    table = tomllib.loads(card_file.read_text(encoding="utf-8"))
    assert table["metrics"]["streets"]["car"]["boxes"] == 2
    assert table["training"]["stage_1"]["start"] == "random"
    assert table["data"][0]["images"] == 6
    assert json.loads(json.dumps(result.as_dict()))["engine"]["sha256"] == digest
    assert result.calibration is None
    assert "no pictures were held out" in result.why_raw

    plan = load_recipe(recipe)
    pictures = read_index(prepared, "val", plan.classes)
    image = np.asarray(cv2.imread(str(pictures[0].path)), np.uint8)
    ours, reference = Predictor(onnx, 1, 0.0005)(image), checkpoint_predictor(plan, checkpoint, 0.0005)(image)
    assert len(ours.xyxy) == len(reference.xyxy) > 0
    assert np.abs(ours.xyxy - reference.xyxy).max() < 0.1
    assert np.abs(ours.confidence - reference.confidence).max() < 1e-3
    by_torch = evaluate(look_at(checkpoint_predictor(plan, checkpoint), pictures), plan, 0)
    for name, one in result.scores.items():
        for label, score in one.classes.items():
            assert score.ap50 == pytest.approx(by_torch[name].classes[label].ap50, abs=0.005)
    OnnxDetector(card, threads=1).detect(Frame(0, "front", 0, image))


def test_the_same_checkpoint_exports_to_the_same_bytes(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, _, checkpoint = world
    assert commands.export_model(recipe, checkpoint, tmp_path / "a.onnx") == commands.export_model(
        recipe, checkpoint, tmp_path / "b.onnx"
    )


def test_weights_that_do_not_fit_are_refused(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    recipe, prepared, checkpoint = world
    plan = load_recipe(recipe)
    strange = tmp_path / "strange.pt"
    torch.save({"state_dict": {"a": torch.zeros(3)}}, strange)
    for weights, said in ((strange, "no tensor fits"), (tmp_path / "none.pt", "no such weights")):
        with pytest.raises(TrainingSetupError, match=said):
            train(plan, params(prepared, tmp_path, weights=weights))
    other = write_recipe(tmp_path, recipe.read_text(encoding="utf-8").replace('"garbage"', '"pothole"'))
    with pytest.raises(TrainingSetupError, match="trained for classes"):
        commands.export_model(other, checkpoint, tmp_path / "x.onnx")


def test_the_coco_backbone_is_taken_over_whole(shared: Path) -> None:
    from models.network import load_matching

    state = torch.load(shared / "weights" / "yolov5n_coco_state_dict.pt", weights_only=True)["state_dict"]
    network = build_network("yolov5n.yaml", 16)
    assert load_matching(network, state) == 342
    assert torch.equal(network.model[0].conv.weight, state["model.0.conv.weight"].float())


def test_the_teacher_finds_the_cars_of_a_street(shared: Path) -> None:
    from models.teacher import Teacher

    teacher = Teacher(shared / "weights" / "yolov5n_coco_state_dict.pt", 640)
    files = sorted((shared / "data" / "street-problems" / "images" / "val").glob("vehicles_vn*"))
    photo = np.asarray(cv2.imread(str(files[0])), np.uint8)
    found = teacher(photo, 0.35)
    assert {"car"} <= {name for name, _, _ in found}
    for _, confidence, box in found:
        assert 0.35 <= confidence <= 1
        assert 0 <= box[0] < box[2] <= photo.shape[1]


def test_the_rate_warms_up_and_falls() -> None:
    plan = TrainParams(prepared=(), out=Path(), lr=1.0, warmup_steps=10, final_lr_share=0.1)
    rates = [learning_rate(step, 100, plan) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, abs=1e-3)
    assert max(rates) == rates[9]
    assert rates[100] == pytest.approx(0.1)
