"""Runs an ONNX detector for evaluation: the runtime's letterbox and decoders, at a confidence floor near zero."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.errors import TrainingSetupError
from perception.boxes import Letterbox, letterbox, nms
from perception.decode import DECODERS, Decoded
from perception.types import Image

FLOOR = 0.003
EVALUATION_NMS_IOU = 0.6
STAGES_KEY = "qiji_stages"


class Predictor:
    """An ultralytics-head ONNX file with centred letterbox, RGB 0..1; boxes come back in picture pixels.

    `names` are the classes written into the file (empty: none are), `stages` what the export wrote about the training.
    With `classes` the class ids are those of that list, by name (`own_names` instead of the file's where given);
    detections of a class that is not in it are dropped.
    """

    def __init__(
        self,
        onnx: Path,
        threads: int = 2,
        floor: float = FLOOR,
        classes: Sequence[str] | None = None,
        own_names: Sequence[str] = (),
    ) -> None:
        if not onnx.is_file():
            raise TrainingSetupError("no such ONNX file", file=onnx, remedy="run the export command first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        inlet = self._session.get_inputs()[0]
        self._input = inlet.name
        self.input_wh = (int(inlet.shape[3]), int(inlet.shape[2]))
        written = self._session.get_modelmeta().custom_metadata_map
        self.stages: list[dict[str, Any]] = json.loads(written.get(STAGES_KEY, "[]"))
        self.names = _names(onnx, written.get("names"))
        self._floor = floor
        self._ids: np.ndarray[tuple[int], np.dtype[np.int32]] | None = None
        if classes is not None:
            listed = list(classes)
            self._ids = np.array([listed.index(n) if n in listed else -1 for n in own_names or self.names], np.int32)

    def __call__(self, image: Image) -> Decoded:
        """Boxes of a BGR picture (H, W, 3) after class-wise suppression."""
        blob, fit = network_input(image, self.input_wh)
        output = np.asarray(self._session.run(None, {self._input: blob})[0], np.float32)
        found = DECODERS["yolo"].decode(output, self.input_wh, self._floor)
        kept = nms(found.xyxy, found.confidence, found.class_id, EVALUATION_NMS_IOU)
        class_id = found.class_id[kept] if self._ids is None else self._ids[found.class_id[kept]]
        kept, class_id = kept[class_id >= 0], class_id[class_id >= 0]
        return Decoded(fit.to_frame(found.xyxy[kept]), found.confidence[kept], class_id)


def network_input(image: Image, input_wh: tuple[int, int]) -> tuple[npt.NDArray[np.float32], Letterbox]:
    """A BGR picture as these networks take it, float32 (1, 3, H, W) RGB 0..1, and how it lies in there."""
    fit = letterbox((image.shape[1], image.shape[0]), input_wh, "center")
    canvas = np.full((input_wh[1], input_wh[0], 3), 114, np.uint8)
    fit.place(image, canvas)
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255), fit


def _names(onnx: Path, written: str | None) -> tuple[str, ...]:
    """ultralytics writes a dict literal {0: 'person', ...} into its exports."""
    if written is None:
        return ()
    try:
        table = ast.literal_eval(written)
        return tuple(str(table[i]) for i in range(len(table)))
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        problem = "the class names inside the file cannot be read"
        raise TrainingSetupError(problem, file=onnx, remedy="export the model anew") from error


def sha256_of(path: Path) -> str:
    """Hash of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
