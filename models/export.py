"""From a checkpoint's moving average to an ONNX file with class names and stride in its metadata."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import TrainingSetupError
from models.network import build_network, install_torchvision_shim, read_checkpoint
from models.predictor import STAGES_KEY, sha256_of
from models.recipe import Recipe

SMALLEST_HALVED = 1024


def export_onnx(recipe: Recipe, checkpoint: Path, out: Path) -> str:
    """Write `out` (computing in float32, batch 1, fixed recipe.input_wh) and return its sha256 in hex.

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
        _finish(Path(made), saved.get("stages", []))
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, out)
    return sha256_of(out)


def _finish(path: Path, stages: list[dict[str, Any]]) -> None:
    """Store weights in half the bytes, drop the export's date and arguments, add the training stages.

    Weights become float16 behind a Cast to float32, which the runtime folds away when it opens the file: half the size,
    the same speed, and a rounding of 0.05 % per weight. Without the date the same weights give the same bytes.
    """
    import onnx

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < SMALLEST_HALVED:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [(p.key, p.value) for p in model.metadata_props if p.key not in {"date", "args", "docs"}]
    del model.metadata_props[:]
    for key, value in [*kept, (STAGES_KEY, json.dumps(stages))]:
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, path)
