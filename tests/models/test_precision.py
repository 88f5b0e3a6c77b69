"""Other number formats of an exported file: they run, keep its metadata, and are set against the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="NO TRAIN EXTRA: the export needs torch")
pytest.importorskip("ultralytics", reason="NO TRAIN EXTRA: the export needs ultralytics")
pytest.importorskip("onnx", reason="NO TRAIN EXTRA: the export needs onnx")

import onnx

from models import commands
from models.dataset import read_index
from models.errors import TrainingSetupError
from models.precision import PRECISION_KEY, to_int8
from models.predictor import Predictor
from models.recipe import load_recipe
from perception.types import Image
from tests.models.test_shipped_model import CARD
from tests.models.test_train import params
from tests.models.worlds import write_data_set, write_recipe
from vehicle.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipe.toml, prepared, run/last.pt and fp32, fp16 and int8 files of it."""
    folder = tmp_path_factory.mktemp("precision")
    recipe = write_recipe(folder)
    commands.prepare_data(recipe, folder / "prepared", None, [write_data_set(folder / "data")], None)
    checkpoint = commands.train_model(recipe, params(folder / "prepared", folder / "run", epochs=3, lr=0.003))
    for precision in ("fp32", "fp16", "int8"):
        commands.export_model(recipe, checkpoint, folder / f"{precision}.onnx", precision, [folder / "prepared"])
    return folder


def test_metadata_and_boxes_survive(made: Path) -> None:
    whole = Predictor(made / "fp32.onnx", 1, 0.0005)
    picture: Image = np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    reference = whole(picture)
    for precision, tolerance in (("fp16", 0.01), ("int8", 0.1)):
        twin = Predictor(made / f"{precision}.onnx", 1, 0.0005)
        assert twin.names == whole.names == load_recipe(made / "recipe.toml").classes
        assert twin.stages == whole.stages
        assert twin.input_wh == (96, 64)
        found = twin(picture)
        best = max(reference.confidence, default=0.0), max(found.confidence, default=0.0)
        assert best[0] == pytest.approx(best[1], abs=tolerance)
        keys = {p.key: p.value for p in onnx.load(made / f"{precision}.onnx").metadata_props}
        assert precision in keys[PRECISION_KEY]


def test_only_convolutions_are_8_bit_and_not_the_last(made: Path) -> None:
    model = onnx.load(made / "int8.onnx")
    scaled = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert weights
    plain = [n.name for n in model.graph.node if n.op_type == "Conv" and not scaled & set(n.input)]
    assert len(plain) == 7  # two outputs on three levels, and the mean of a box's sides


def test_value_ranges_never_come_from_validation_pictures(made: Path, tmp_path: Path) -> None:
    pictures = read_index(made / "prepared", "val", load_recipe(made / "recipe.toml").classes)
    with pytest.raises(TrainingSetupError, match="validation pictures"):
        to_int8(made / "fp32.onnx", tmp_path / "x.onnx", pictures)
    with pytest.raises(TrainingSetupError, match="no pictures"):
        to_int8(made / "fp32.onnx", tmp_path / "x.onnx", [])
    assert not (tmp_path / "x.onnx").exists()


def test_an_engine_is_set_against_its_checkpoint(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, prepared = made / "recipe.toml", made / "prepared"
    twins = commands.compare_model(recipe, made / "fp32.onnx", made / "run" / "last.pt", [prepared], 1)
    assert twins.by_map
    assert twins.agree
    assert {row.name for row in twins.rows} == {"car", "person", "garbage"}
    commands.evaluate_model(recipe, made / "fp32.onnx", [prepared], made / "model.toml")
    against = ["--against", str(made / "run" / "last.pt"), "--data", str(prepared)]
    assert main(["model", "check", str(made / "model.toml"), *against]) == 0
    assert "agree" in capsys.readouterr().out
    assert main(["model", "check", str(CARD), *against, "--recipe", str(recipe)]) == 2  # another model's checkpoint
