"""Runs an ONNX detector for evaluation: the runtime's letterbox and decoders, at a confidence floor near zero."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from models.errors import TrainingSetupError
from perception.boxes import letterbox, nms
from perception.decode import DECODERS, Decoded
from perception.types import Image

FLOOR = 0.003
EVALUATION_NMS_IOU = 0.6
STAGES_KEY = "qiji_stages"


class Predictor:
    """An ultralytics-head ONNX file with centred letterbox, RGB 0..1; boxes come back in picture pixels.

    `stages` is what the export wrote about the training, empty for a file of other origin.
    """

    def __init__(self, onnx: Path, threads: int = 2, floor: float = FLOOR) -> None:
        if not onnx.is_file():
            raise TrainingSetupError("no such ONNX file", file=onnx, remedy="run the export command first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        inlet = self._session.get_inputs()[0]
        self._input = inlet.name
        self.input_wh = (int(inlet.shape[3]), int(inlet.shape[2]))
        written = self._session.get_modelmeta().custom_metadata_map.get(STAGES_KEY, "[]")
        self.stages: list[dict[str, Any]] = json.loads(written)
        self._floor = floor

    def __call__(self, image: Image) -> Decoded:
        """Boxes of a BGR picture (H, W, 3) after class-wise suppression."""
        height, width = image.shape[:2]
        fit = letterbox((width, height), self.input_wh, "center")
        canvas = np.full((self.input_wh[1], self.input_wh[0], 3), 114, np.uint8)
        fit.place(image, canvas)
        blob = np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)
        output = np.asarray(self._session.run(None, {self._input: blob})[0], np.float32)
        found = DECODERS["yolo"].decode(output, self.input_wh, self._floor)
        kept = nms(found.xyxy, found.confidence, found.class_id, EVALUATION_NMS_IOU)
        return Decoded(fit.to_frame(found.xyxy[kept]), found.confidence[kept], found.class_id[kept])


def sha256_of(path: Path) -> str:
    """Hash of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
