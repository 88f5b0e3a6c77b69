"""From the raw output of a network family to boxes in input px: one pure function and one table entry per family.

A family of several outputs also has a function that joins them into one array, so that `decode` always reads one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from perception.boxes import Boxes

YOLOX_STRIDES = (8, 16, 32)

Output = NDArray[np.float32]
_BOXES = ("boxes", "pred_boxes", "dets")


class Decoded(NamedTuple):
    """`xyxy` float32 (N, 4) in input px, `confidence` (N,), `class_id` int32 (N,): the best class of each box."""

    xyxy: Boxes
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


def first(outputs: Sequence[Output]) -> Output:
    """The only output of most families."""
    return outputs[0]


@dataclass(frozen=True, slots=True)
class Decoder:
    """A network family. `decode(output, input_wh, floor)` keeps boxes with confidence above `floor`.

    `class_count` reads the number of classes off the shape of the (joined) output, or None where the shape does not
    tell it; `suppress` says whether the boxes still need non-maximum suppression. `outputs` are the names that each
    output it reads is known by, in the order that `join` takes them; empty: the first of the file. `ranks` are their
    numbers of dimensions. `sized`: the network has a second input, (1, 2) int64, the width and height that its boxes
    are to be scaled to. `join` raises ValueError on shapes that it cannot join.
    """

    decode: Callable[[Output, tuple[int, int], float], Decoded]
    class_count: Callable[[tuple[int, ...]], int | None]
    layout: str
    suppress: bool = True
    outputs: tuple[tuple[str, ...], ...] = ()
    ranks: tuple[int, ...] = (3,)
    join: Callable[[Sequence[Output]], Output] = first
    sized: bool = False


def decode_yolo(output: Output, input_wh: tuple[int, int], floor: float) -> Decoded:
    """Ultralytics head (v5u, v8, 11): (1, 4 + classes, N), x and y of the centre, width, height, class confidences."""
    del input_wh  # this head writes pixels
    rows = output[0]
    best = rows[4:].max(axis=0)
    chosen = np.flatnonzero(best > floor)
    centre, half = rows[:2, chosen].T, rows[2:4, chosen].T / 2
    xyxy = np.concatenate((centre - half, centre + half), axis=1)
    class_id = rows[4:, chosen].argmax(axis=0)
    return Decoded(xyxy.astype(np.float32), best[chosen].astype(np.float32), class_id.astype(np.int32))


def decode_yolox(output: Output, input_wh: tuple[int, int], floor: float) -> Decoded:
    """YOLOX head: (1, N, 5 + classes) raw offsets per grid cell of strides 8, 16, 32; confidence = objectness x class.

    xy = (offset + cell) * stride, wh = exp(size) * stride (Ge et al. 2021, demo_postprocess of the authors' code).
    """
    rows = output[0]
    candidates = np.flatnonzero(rows[:, 4] > floor)  # a class confidence never exceeds 1
    scores = rows[candidates, 5:] * rows[candidates, 4:5]
    best = scores.max(axis=1, initial=0.0)
    keep = best > floor
    chosen, best = candidates[keep], best[keep]
    cells, strides = _grid(input_wh)
    centre = (rows[chosen, :2] + cells[chosen]) * strides[chosen]
    half = np.exp(rows[chosen, 2:4]) * strides[chosen] / 2
    xyxy = np.concatenate((centre - half, centre + half), axis=1)
    class_id = scores[keep].argmax(axis=1)
    return Decoded(xyxy.astype(np.float32), best.astype(np.float32), class_id.astype(np.int32))


def decode_yolo_end2end(output: Output, input_wh: tuple[int, int], floor: float) -> Decoded:
    """Head without suppression (YOLOv10, YOLO26): (1, N, 6), x1, y1, x2, y2 in input px, confidence, class."""
    del input_wh
    rows = output[0]
    rows = rows[rows[:, 4] > floor]
    return Decoded(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int32))


def join_detr(outputs: Sequence[Output]) -> Output:
    """Boxes (1, N, 4) beside class logits (1, N, classes): (1, N, 4 + classes); ValueError on other shapes."""
    if outputs[0].shape[-1] != 4:
        raise ValueError(f"boxes of {outputs[0].shape[-1]} numbers")
    return np.concatenate(outputs, axis=2)


def decode_detr(output: Output, input_wh: tuple[int, int], floor: float) -> Decoded:
    """Set prediction (RF-DETR, D-FINE, RT-DETR): centre, width, height as shares of the input, then class logits.

    Confidence = sigmoid of the best logit (Zhu et al. 2021, Deformable DETR, whose focal loss all of them kept). The
    authors take the best pairs of query and class; here, as in every other family, a query is one box of one class.
    """
    rows = output[0]
    confidence = expit(rows[:, 4:].max(axis=1))
    chosen = np.flatnonzero(confidence > floor)
    scale = np.array(input_wh, np.float32)
    centre, half = rows[chosen, :2] * scale, rows[chosen, 2:4] * (scale / 2)
    xyxy = np.concatenate((centre - half, centre + half), axis=1)
    class_id = rows[chosen, 4:].argmax(axis=1)
    return Decoded(xyxy.astype(np.float32), confidence[chosen].astype(np.float32), class_id.astype(np.int32))


def join_detr_end2end(outputs: Sequence[Output]) -> Output:
    """Boxes (1, N, 4), confidences (1, N), classes (1, N): (1, N, 6) as an end-to-end YOLO; or ValueError."""
    boxes, confidence, own = outputs
    return np.concatenate((boxes, confidence[..., None], own[..., None]), axis=2)


@lru_cache(maxsize=8)
def _grid(input_wh: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell (N, 2) and stride (N, 1) of every prediction, strides ascending, row by row."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        across, down = input_wh[0] // stride, input_wh[1] // stride
        x, y = np.meshgrid(np.arange(across), np.arange(down))
        cells.append(np.stack((x, y), axis=-1).reshape(-1, 2))
        strides.append(np.full((across * down, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


DECODERS: Mapping[str, Decoder] = {
    "yolo": Decoder(decode_yolo, lambda shape: shape[1] - 4, "(1, 4 + classes, N)"),
    "yolox": Decoder(decode_yolox, lambda shape: shape[2] - 5, "(1, N, 5 + classes)"),
    "yolo_end2end": Decoder(decode_yolo_end2end, lambda shape: None, "(1, N, 6)", suppress=False),
    "detr": Decoder(
        decode_detr,
        lambda shape: shape[2] - 4,
        "boxes (1, N, 4) and logits (1, N, classes)",
        suppress=False,
        outputs=(_BOXES, ("logits", "pred_logits", "labels")),
        ranks=(3, 3),
        join=join_detr,
    ),
    # What the authors of RT-DETR, D-FINE and DEIM export: their own decoding is inside.
    "detr_end2end": Decoder(
        decode_yolo_end2end,
        lambda shape: None,
        "boxes (1, N, 4), scores (1, N) and labels (1, N)",
        suppress=False,
        outputs=(_BOXES, ("scores",), ("labels",)),
        ranks=(3, 2, 2),
        join=join_detr_end2end,
        sized=True,
    ),
}
