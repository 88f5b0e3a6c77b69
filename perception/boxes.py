"""Boxes: overlap, greedy class-wise suppression, and the letterbox with its exact inverse. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.types import Image

Boxes = NDArray[np.float32]
PLACEMENTS = ("center", "top_left", "stretch")
_TABLE_MOST = 512
"""Boxes of which all pairs are compared at once; of more, that would take more memory than time."""


def area(xyxy: Boxes) -> NDArray[np.float32]:
    """Area of each box in px2, (N, 4) -> (N,); boxes turned inside out have none."""
    sides = np.maximum(xyxy[..., 2:] - xyxy[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of every pair, (N, 4) and (M, 4) -> (N, M); empty boxes overlap nothing."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    inter = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0), np.float32)


def nms(xyxy: Boxes, confidence: NDArray[np.float32], class_id: NDArray[np.int32], limit: float) -> NDArray[np.intp]:
    """Indices kept by greedy class-wise suppression, highest confidence first; ties keep their input order.

    A box falls when its IoU with a kept box of its class exceeds `limit`: the rule of `torchvision.ops.nms`.
    """
    order = np.argsort(-confidence, kind="stable")
    if len(order) > _TABLE_MOST:
        return _nms_one_by_one(xyxy, class_id, order, limit)
    x1, y1, x2, y2 = np.ascontiguousarray(xyxy[order].T)
    inter = np.maximum(np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1), 0)
    inter *= np.maximum(np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1), 0)
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    union = areas[:, None] + areas - inter
    own = class_id[order]
    falls = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0) > limit
    falls &= own[:, None] == own
    fallen = np.zeros(len(order), np.bool_)
    kept = []
    for i in range(len(order)):
        if not fallen[i]:
            kept.append(i)
            fallen |= falls[i]
    return order[np.array(kept, np.intp)]


def _nms_one_by_one(xyxy: Boxes, class_id: NDArray[np.int32], left: NDArray[np.intp], limit: float) -> NDArray[np.intp]:
    """The same for many boxes, `left` in order of confidence: each kept box is compared with what is left."""
    kept: list[np.intp] = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        overlap = iou(xyxy[first : first + 1], xyxy[left])[0]
        left = left[(overlap <= limit) | (class_id[left] != class_id[first])]
    return np.array(kept, np.intp)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame of `frame_wh` px lies in a network input of `input_wh` px.

    The frame is resized to `inner_wh` and its corner is put at (`left`, `top`); `gain_x` and `gain_y` are the
    factors that the rounded `inner_wh` really has, so the inverse is exact.
    """

    frame_wh: tuple[int, int]
    input_wh: tuple[int, int]
    inner_wh: tuple[int, int]
    left: int
    top: int
    gain_x: float
    gain_y: float

    def place(self, image: Image, canvas: Image) -> None:
        """Resize `image` (H, W, 3) into its rectangle of `canvas` (height, width, 3); padding stays as it is."""
        width, height = self.inner_wh
        inner = canvas[self.top : self.top + height, self.left : self.left + width]
        if self.inner_wh == self.frame_wh:
            inner[:] = image
        else:
            cv2.resize(image, self.inner_wh, dst=inner, interpolation=cv2.INTER_LINEAR)

    def to_input(self, xyxy: Boxes) -> Boxes:
        """Boxes (N, 4) in frame px -> network input px."""
        gain, shift = self._terms()
        return np.asarray(xyxy * gain + shift, np.float32)

    def to_frame(self, xyxy: Boxes) -> Boxes:
        """Boxes (N, 4) in network input px -> frame px, clipped to the frame."""
        gain, shift = self._terms()
        boxes = (xyxy - shift) / gain
        width, height = self.frame_wh
        return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], np.float32)), np.float32)

    def _terms(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        gain = np.array([self.gain_x, self.gain_y, self.gain_x, self.gain_y], np.float32)
        return gain, np.array([self.left, self.top, self.left, self.top], np.float32)


def letterbox(frame_wh: tuple[int, int], input_wh: tuple[int, int], placement: str) -> Letterbox:
    """Fit a frame into a network input, keeping its aspect ratio; raises ValueError on an unknown placement.

    `center` rounds as ultralytics' LetterBox and scale_boxes do; `top_left` resizes, truncates and scales back by the
    one unrounded ratio, as YOLOX's preproc does; `stretch` fills the input whatever its aspect ratio, as the networks
    of the DETR family want it.
    """
    (frame_w, frame_h), (input_w, input_h) = frame_wh, input_wh
    ratio = min(input_h / frame_h, input_w / frame_w)
    if placement == "stretch":
        return Letterbox(frame_wh, input_wh, input_wh, 0, 0, input_w / frame_w, input_h / frame_h)
    if placement == "center":
        inner = (max(round(frame_w * ratio), 1), max(round(frame_h * ratio), 1))
        left = round((input_w - inner[0]) / 2 - 0.1)
        top = round((input_h - inner[1]) / 2 - 0.1)
        return Letterbox(frame_wh, input_wh, inner, left, top, inner[0] / frame_w, inner[1] / frame_h)
    if placement == "top_left":
        inner = (max(int(frame_w * ratio), 1), max(int(frame_h * ratio), 1))
        return Letterbox(frame_wh, input_wh, inner, 0, 0, ratio, ratio)
    raise ValueError(f"letterbox placement {placement!r} is none of {PLACEMENTS}")
