"""References to hold an exported detector against: its own checkpoint in torch, and ultralytics' prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.network import build_network, install_torchvision_shim, read_checkpoint
from models.predictor import EVALUATION_NMS_IOU, FLOOR, network_input
from models.recipe import Recipe
from perception.boxes import nms
from perception.decode import DECODERS, Decoded
from perception.types import Image


def checkpoint_predictor(recipe: Recipe, checkpoint: Path, floor: float = FLOOR) -> Callable[[Image], Decoded]:
    """The checkpoint's moving average as a predictor: the same pictures in and the same boxes out as its ONNX file."""
    network: Any = build_network(recipe.architecture, len(recipe.classes))
    network.load_state_dict(read_checkpoint(checkpoint)["ema"])
    network.eval()

    def predict(image: Image) -> Decoded:
        blob, fit = network_input(image, recipe.input_wh)
        with torch.no_grad():
            output = network(torch.from_numpy(blob))
        raw = output[0] if isinstance(output, tuple) else output
        found = DECODERS["yolo"].decode(np.asarray(raw.numpy(), np.float32), recipe.input_wh, floor)
        kept = nms(found.xyxy, found.confidence, found.class_id, EVALUATION_NMS_IOU)
        return Decoded(fit.to_frame(found.xyxy[kept]), found.confidence[kept], found.class_id[kept])

    return predict


def ultralytics_boxes(
    onnx: Path, images: list[Image], input_wh: tuple[int, int], confidence: float, nms_iou: float
) -> list[npt.NDArray[np.float64]]:
    """What `ultralytics.YOLO(onnx).predict` says of BGR pictures: (N, 6) each, x1, y1, x2, y2 px, confidence, class."""
    install_torchvision_shim()
    from ultralytics import YOLO

    model = YOLO(str(onnx), task="detect")
    size = [input_wh[1], input_wh[0]]
    found = []
    for image in images:
        result = model.predict(image, imgsz=size, conf=confidence, iou=nms_iou, max_det=300, rect=False, verbose=False)[
            0
        ]
        found.append(np.asarray(result.boxes.data.numpy(), np.float64).reshape(-1, 6))
    return found
