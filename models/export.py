"""From a checkpoint's moving average to an ONNX file with class names and stride in its metadata."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from models.errors import TrainingSetupError
from models.network import build_network, install_torchvision_shim, read_checkpoint
from models.predictor import STAGES_KEY
from models.recipe import Recipe


def export_onnx(recipe: Recipe, checkpoint: Path, out: Path) -> str:
    """Write `out` (float32, batch 1, fixed recipe.input_wh) and return its sha256 in hex.

    Raises TrainingSetupError when the checkpoint is missing or was trained for other classes.
    """
    if not checkpoint.is_file():
        raise TrainingSetupError("no such checkpoint", file=checkpoint, remedy="run the train command first")
    saved = read_checkpoint(checkpoint)
    if tuple(saved["classes"]) != recipe.classes:
        raise TrainingSetupError(
            f"trained for classes {saved['classes']}, the recipe has {list(recipe.classes)}",
            file=checkpoint,
            remedy="export with the recipe it was trained with",
        )
    install_torchvision_shim()
    from ultralytics import YOLO

    network = build_network(recipe.architecture, len(recipe.classes))
    network.load_state_dict(saved["ema"])
    network.eval()
    network.args = vars(network.args)
    network.task = "detect"
    network.names = dict(enumerate(recipe.classes))
    width, height = recipe.input_wh
    with tempfile.TemporaryDirectory() as folder:
        model = YOLO(recipe.architecture)
        network.pt_path = str(Path(folder) / f"{recipe.name}.pt")
        model.model = network
        model.ckpt = {"model": network}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every branch on a shape; the input size is fixed
            made = model.export(format="onnx", imgsz=[height, width], simplify=True, dynamic=False)
        _set_metadata(Path(made), saved.get("stages", []))
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, out)
    return sha256_of(out)


def sha256_of(path: Path) -> str:
    """Hash of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _set_metadata(path: Path, stages: list[dict[str, Any]]) -> None:
    """Drop the export's date and arguments, so that the same weights give the same bytes; add the training stages."""
    import onnx

    model = onnx.load(path)
    kept = [(p.key, p.value) for p in model.metadata_props if p.key not in {"date", "args", "docs"}]
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)
    model.metadata_props.add(key=STAGES_KEY, value=json.dumps(stages))
    onnx.save(model, path)
