"""COCO YOLOv5n as a teacher: its boxes label cars, people and two-wheelers that a data set left unlabelled.

The original anchor-based head is rebuilt from the state dict: xy = (2 p - 0.5 + grid) stride, wh = (2 p)^2 anchor
stride (YOLOv5 v6, anchors stored in stride units), confidence = objectness x class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.errors import TrainingSetupError
from models.network import build_network, load_matching
from perception.boxes import Boxes, nms

COCO_TO_OWN = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
STRIDES = (8, 16, 32)
TEACHER_NMS_IOU = 0.5


class Teacher:
    """Runs COCO YOLOv5n at `long_side` pixels; gives boxes in source pixels with the names of COCO_TO_OWN."""

    def __init__(self, weights: Path, long_side: int) -> None:
        if not weights.is_file():
            raise TrainingSetupError("no such weights", file=weights, remedy="give the YOLOv5n COCO state dict")
        state: dict[str, torch.Tensor] = torch.load(weights, weights_only=True)["state_dict"]
        self._net: Any = build_network("yolov5n.yaml", 80)
        load_matching(self._net, state)
        self._net.eval()
        self._anchors = state["model.24.anchors"].float()
        self._convs = []
        for level in range(3):
            weight = state[f"model.24.m.{level}.weight"].float()
            conv = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 1)
            conv.load_state_dict({"weight": weight, "bias": state[f"model.24.m.{level}.bias"].float()})
            self._convs.append(conv.eval())
        self._long_side = long_side

    def __call__(self, image: npt.NDArray[np.uint8], floor: float) -> list[tuple[str, float, Boxes]]:
        """(name, confidence, xyxy px float32 (4,)) of every mapped COCO object with confidence >= floor."""
        height, width = image.shape[:2]
        ratio = self._long_side / max(height, width)
        new_w, new_h = round(width * ratio), round(height * ratio)
        pad_w, pad_h = -new_w % 32, -new_h % 32
        left, top = pad_w // 2, pad_h // 2
        canvas = np.full((new_h + pad_h, new_w + pad_w, 3), 114, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
        blob = torch.from_numpy(np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1))).float()[None] / 255
        with torch.no_grad():
            rows = self._decode(self._features(blob)).numpy()
        confidence = rows[:, 4:5] * rows[:, 5:]
        found: list[tuple[str, float, Boxes]] = []
        for coco, name in COCO_TO_OWN.items():
            keep = confidence[:, coco] >= floor
            boxes = rows[keep, :4].copy()
            boxes[:, [0, 2]] = ((boxes[:, [0, 2]] - left) / ratio).clip(0, width)
            boxes[:, [1, 3]] = ((boxes[:, [1, 3]] - top) / ratio).clip(0, height)
            scores = confidence[keep, coco]
            kept = nms(boxes, scores, np.zeros(len(boxes), np.int32), TEACHER_NMS_IOU)
            found += [(name, float(scores[i]), boxes[i]) for i in kept]
        return found

    def _features(self, blob: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        x: Any = blob
        for layer in list(self._net.model)[:-1]:
            if layer.f != -1:
                x = outputs[layer.f] if isinstance(layer.f, int) else [x if j == -1 else outputs[j] for j in layer.f]
            x = layer(x)
            outputs.append(x)
        return [outputs[j] for j in (17, 20, 23)]

    def _decode(self, features: list[torch.Tensor]) -> torch.Tensor:
        rows = []
        for level, (feature, stride) in enumerate(zip(features, STRIDES, strict=True)):
            raw = self._convs[level](feature)
            _, _, ny, nx = raw.shape
            p = raw.view(3, 85, ny, nx).permute(0, 2, 3, 1).sigmoid()
            gy, gx = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
            xy = (p[..., :2] * 2 - 0.5 + torch.stack((gx, gy), -1)) * stride
            wh = (p[..., 2:4] * 2) ** 2 * self._anchors[level].view(3, 1, 1, 2) * stride
            rows.append(torch.cat((xy - wh / 2, xy + wh / 2, p[..., 4:]), -1).reshape(-1, 85))
        return torch.cat(rows)
